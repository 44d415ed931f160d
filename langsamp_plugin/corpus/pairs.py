"""Parallel text to one file per language, ``id<tab>text`` a line: one part to train on, one held out."""

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
    """What :func:`write_pairs` wrote.

    Args:
        rows: per language the numbers of ``counts.tsv``: sentences to train on and held out; and left out because
            they are empty, stand in a test set, or are the same text as a held-out one.
        messages: per split how many messages at least two languages have.
        alone: languages without any sentence that another language has, too.
        omitted: what the source's reader left out.
    """

    rows: list[dict[str, Any]]
    messages: dict[str, int]
    alone: list[str]
    omitted: list[str]


class TestText(NamedTuple):
    """What must not be trained on.

    Args:
        ids: of test messages, where ids mean the same in both sources.
        texts: per language hashes of test sentences.
    """

    ids: set[str]
    texts: dict[LangScript, set[int]]

    @classmethod
    def read(cls, folders: Iterable[PathLike], layout: str) -> TestText:
        """Read test sets, in the layouts that parallel text comes in.

        Args:
            folders: the sets.
            layout: of the text to train on.
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

    A message is held out in all languages or in none. A sentence that is the same text as a held-out one of its
    language is left out of the training part, so that no pair to train on has a held-out text on either side.

    Args:
        found: the source's languages, where they are known already.
        source, layout, tags: see :func:`~langsamp_plugin.corpus.pair_layouts.find_parallel`.
        out: the folder to write.
        langs: the languages to take; empty takes all.
        without: languages to leave out.
        held_out: one message in this many is held out, by a hash of its id; 0 holds out none. A source that holds
            out messages itself (``django``) is left as it is.
        exclude: test sets; their messages (by id where both have ids) and sentences (by text) are left out.
        overwrite: replace a folder of pairs to which somebody added something.

    Raises:
        ValueError: no message is there in two languages, ``out`` is something else, or the source is malformed.
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
                f"{source} has no message in two languages to train on: ids must be the same in all of its files"
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
    """Return the 64-bit hash of a message's id that stands for it in numpy."""
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
            if split not in streams:
                streams[split] = stack.enter_context(atomic_write(folder / split / f"{tag}.txt", sync=False))
            streams[split].write(f"{message.id}\t{message.text}\n")
            row[split] += 1
            ids[split].append(id_hash(message.id))
    return row, ids


def _in_two(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return, sorted, the numbers that at least two of several arrays of different numbers have."""
    numbers, counts = np.unique(np.concatenate([*parts, np.empty(0, np.uint64)]), return_counts=True)
    return numbers[counts > 1]
