"""Writes parallel text as one file per language, one ``id<tab>text`` per line, split into training and held-out
parts."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_folder, atomic_write
from langsamp_plugin.corpus.duplicates import text_hash
from langsamp_plugin.corpus.pair_layouts import WITH_IDS, Message, ParallelText, find_parallel
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.progress import progress

TRAIN, VALID = "train", "valid"
COUNTS_FILE = "counts.tsv"
COUNTS = ("tag", "train", "valid", "empty", "tests", "same_text")


class WrittenPairs(NamedTuple):
    """Result of :func:`write_pairs`.

    Args:
        rows: the numbers of ``counts.tsv`` per language: training and held-out sentences, and sentences left out
            because they are empty, occur in a test set, or equal a held-out sentence.
        messages: per split, the number of messages in at least two languages.
        alone: languages that share no message with another language.
        omitted: what the source's reader left out.
    """

    rows: list[dict[str, Any]]
    messages: dict[str, int]
    alone: list[str]
    omitted: list[str]


class TestText(NamedTuple):
    """Test sentences, which must not be trained on.

    Args:
        ids: ids of test messages, if ids have the same meaning in both sources.
        texts: hashes of test sentences per language.
    """

    ids: set[str]
    texts: dict[LangScript, set[int]]

    @classmethod
    def read(cls, folders: Iterable[PathLike], layout: str) -> TestText:
        """Read test sets in the layouts of parallel text.

        Args:
            folders: the test sets.
            layout: layout of the training text.
        """
        found = cls(set(), {})
        for folder in folders:
            tests = find_parallel(folder)
            for tag in tests.streams:
                for message in tests.messages(tag):
                    if message.text:
                        found.texts.setdefault(tag, set()).add(text_hash(message.text))
                        if layout in WITH_IDS and tests.layout in WITH_IDS:
                            found.ids.add(message.id)
        return found


def write_pairs(
    source: PathLike,
    out: PathLike,
    *,
    found: Optional[ParallelText] = None,
    layout: str = "auto",
    tags: Sequence[str] = (),
    langs: Iterable[str] = (),
    without: Iterable[str] = (),
    held_out: int = 100,
    exclude: Iterable[PathLike] = (),
    overwrite: bool = False,
) -> WrittenPairs:
    """Write ``<out>/{train,valid}/<tag>.txt`` and ``counts.tsv``.

    A message is held out in all languages or in none. A sentence that equals a held-out sentence of its language is
    dropped from the training part, so that no training pair contains held-out text.

    Args:
        found: the source's languages, if already known.
        source, layout, tags: see :func:`~langsamp_plugin.corpus.pair_layouts.find_parallel`.
        out: the folder to write.
        langs: the languages to use; empty means all.
        without: languages to leave out.
        held_out: one out of this many messages is held out, by a hash of its id; 0 holds out none. A source with its
            own held-out messages (``django``) keeps them.
        exclude: test sets; their messages (by id if both have ids) and sentences (by text) are dropped.
        overwrite: also replace a folder of pairs to which files were added.

    Raises:
        ValueError: no message exists in two languages, an id occurs twice in a language, ``out`` is another kind of
            folder, or the source is malformed.
        FileNotFoundError: the source, a test set or one of ``langs`` is missing.
    """
    found = found if found is not None else find_parallel(source, layout, tags)
    wanted = _select(found, langs, without)
    tests = TestText.read(exclude, found.layout)
    rows, ids = [], {TRAIN: [], VALID: []}  # type: ignore[var-annotated]
    with atomic_folder(out, marker=COUNTS_FILE, overwrite=overwrite) as folder:
        for tag in progress(wanted, desc="pairs", unit="language"):
            row, written = _write_language(found, tag, folder, held_out, tests)
            rows.append(row)
            for split, hashes in written.items():
                ids[split].append(np.unique(np.array(hashes, dtype=np.uint64)))
        messages = {split: _in_two(parts) for split, parts in ids.items()}
        if not len(messages[TRAIN]):
            raise ValueError(
                f"{source} must have training messages in two languages, but has none: ids must be equal across its "
                "files"
            )
        alone = [
            str(tag)
            for tag, train, valid in zip(wanted, ids[TRAIN], ids[VALID])
            if not np.isin(train, messages[TRAIN]).any() and not np.isin(valid, messages[VALID]).any()
        ]
        with atomic_write(folder / COUNTS_FILE) as stream:
            writer = csv.DictWriter(stream, COUNTS, delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return WrittenPairs(rows, {split: len(numbers) for split, numbers in messages.items()}, alone, found.omitted)


def id_hash(name: str) -> int:
    """Return the 64-bit hash that represents a message's id in numpy."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _select(found: ParallelText, langs: Iterable[str], without: Iterable[str]) -> list[LangScript]:
    wanted = {LangScript.from_spelling(lang) for lang in langs} or set(found.streams)
    unwanted = {LangScript.from_spelling(lang) for lang in without}
    missing = sorted(map(str, (wanted | unwanted) - set(found.streams)))
    if missing:
        raise FileNotFoundError(f"the source has no {missing[0]}; it has {' '.join(map(str, sorted(found.streams)))}")
    return sorted(wanted - unwanted)


def _is_held_out(message: Message, one_in: int) -> bool:
    if message.held_out is not None:
        return message.held_out
    return one_in > 0 and id_hash(message.id) % one_in == 0


def _write_language(
    found: ParallelText, tag: LangScript, folder: Path, held_out: int, tests: TestText
) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Write one language; return its row of counts and the hashes of the ids that were written."""
    row: dict[str, Any] = {"tag": str(tag), **dict.fromkeys(COUNTS[1:], 0)}
    test_texts = tests.texts.get(tag, set())

    def is_test(message: Message) -> bool:
        return message.id in tests.ids or text_hash(message.text) in test_texts

    held_texts = {
        text_hash(message.text)
        for message in found.messages(tag)
        if message.text and _is_held_out(message, held_out) and not is_test(message)
    }
    ids: dict[str, list[int]] = {TRAIN: [], VALID: []}
    seen: set[int] = set()
    with ExitStack() as stack:
        streams: dict[str, Any] = {}
        for message in found.messages(tag):
            if not message.text:
                row["empty"] += 1
                continue
            if is_test(message):
                row["tests"] += 1
                continue
            split = VALID if _is_held_out(message, held_out) else TRAIN
            if split == TRAIN and text_hash(message.text) in held_texts:
                row["same_text"] += 1
                continue
            number = id_hash(message.id)
            if number in seen:
                raise ValueError(f"id {message.id!r} must occur once in {tag}, but occurs twice: correct the ids")
            seen.add(number)
            if split not in streams:
                streams[split] = stack.enter_context(atomic_write(folder / split / f"{tag}.txt", sync=False))
            streams[split].write(f"{message.id}\t{message.text}\n")
            row[split] += 1
            ids[split].append(number)
    return row, ids


def _in_two(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the sorted numbers that occur in at least two of several arrays of unique numbers."""
    numbers, counts = np.unique(np.concatenate([*parts, np.empty(0, np.uint64)]), return_counts=True)
    return numbers[counts > 1]
