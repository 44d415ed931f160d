"""Finds held-out sentences of parallel text in the text that a model trains on.

Text files are compared line by line before they are binarized. A finished data folder may also have text of other runs,
and sentences that differ only before the tokenizer normalises them, so it is compared token by token, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Optional

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.corpus.duplicates import text_hash
from langsamp_plugin.corpus.pairs import TRAIN, VALID, id_hash
from langsamp_plugin.corpus.text import corpus_files, find_corpus, read_lines
from langsamp_plugin.data.pair_data import PAIRS_FOLDER
from langsamp_plugin.data.token_buffer import HEADER, TokenBuffer, index_path
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.vocabulary.tokenizer import UNK

HELD_OUT = f"{VALID}.hashes"
"""Hashes (uint64) of a language's held-out sentences, with which text that is added later is compared."""
BATCH = 1 << 16  # sentences in memory at a time
REMOVE = "remove these lines and binarize again, or hold out nothing with `langsamp pairs --held-out 0`"


def pair_files(pairs: PathLike) -> dict[str, dict[LangScript, Path]]:
    """Return the files of both splits of a folder of ``langsamp pairs``.

    Raises:
        FileNotFoundError: the folder has no training part.
    """
    pairs = Path(pairs)
    return {
        TRAIN: corpus_files(pairs / TRAIN),
        VALID: corpus_files(pairs / VALID) if (pairs / VALID).is_dir() else {},
    }


def check_leaks(
    train: dict[LangScript, Path],
    valid: dict[LangScript, Path],
    corpus: Optional[PathLike] = None,
    langs: Iterable[str] = (),
) -> None:
    """Check that no held-out text is in the training data.

    Args:
        train, valid: the files of both splits.
        corpus: the folder of text for the masked-LM loss.
        langs: the tags to use of ``corpus``; empty means all.

    Raises:
        ValueError: a held-out message is in the training part in any language, or a held-out sentence in the training
            part or the corpus of its language.
    """
    held_ids = {id_hash(name) for path in valid.values() for name, _ in read_messages(path)}
    for path in train.values() if held_ids else ():
        for name, _ in read_messages(path):
            if id_hash(name) in held_ids:
                raise ValueError(
                    f"{path} has message {name!r}, which is held out in {VALID}/: remove one of the two, or write the "
                    "folder again with `langsamp pairs`"
                )
    texts = _quiet_files(corpus, langs) if corpus is not None else {}
    for tag, path in valid.items():
        held = {text_hash(text) for _, text in read_messages(path)}
        if tag in train:
            remedy = "write the folder again with `langsamp pairs`, which drops such sentences"
            _check_lines(train[tag], _texts(train[tag]), held, path, remedy)
        if tag in texts:
            _check_lines(texts[tag], read_lines(texts[tag]), held, path, REMOVE)


def check_text(out: PathLike, corpus: PathLike, langs: Iterable[str] = ()) -> None:
    """Check that no held-out sentence of the pairs in a data folder is in text that is added without ``--pairs``.

    Args:
        out: the data folder.
        corpus: the text.
        langs: the tags to use; empty means all.

    Raises:
        ValueError: a held-out sentence is in the text of its language.
    """
    for tag, path in _quiet_files(corpus, langs).items():
        held_out = Path(out) / PAIRS_FOLDER / str(tag) / HELD_OUT
        if held_out.is_file():
            held = set(np.fromfile(held_out, "<u8").tolist())
            _check_lines(path, read_lines(path), held, held_out.parent, REMOVE)


def _check_lines(path: Path, lines: Iterable[str], held: set[int], source: Path, remedy: str) -> None:
    leaks = [line for line in lines if text_hash(line) in held]
    if leaks:
        raise ValueError(
            f"{path} has {len(leaks):,} lines that are held-out sentences of {source}, such as "
            f"{leaks[0][:60]!r}: {remedy}"
        )


def read_messages(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ``(id, text)`` of a file of pairs.

    Raises:
        ValueError: a line lacks one of the two; the message names file and line.
    """
    for number, line in enumerate(read_lines(path), 1):
        name, _, text = line.partition("\t")
        if not name.strip() or not text.strip():
            raise ValueError(f"{path}, line {number}: must be ID<tab>TEXT, but is {line[:60]!r}")
        yield name, text.strip()


def _texts(path: Path) -> Iterator[str]:
    return (text for _, text in read_messages(path))


def has_held_out(files: Iterable[LangScript], folder: Path) -> bool:
    """Return whether a folder of binarized pairs has what :func:`write_held_out` writes."""
    return all((folder / str(tag) / HELD_OUT).is_file() for tag in files)


def write_held_out(files: dict[LangScript, Path], folder: Path) -> None:
    """Write the hashes of the held-out sentences to a folder of binarized pairs."""
    for tag, path in files.items():
        hashes = np.array([text_hash(text) for text in _texts(path)], "<u8")
        with atomic_write(folder / str(tag) / HELD_OUT, "wb", sync=False) as stream:
            stream.write(hashes.tobytes())


def _quiet_files(corpus: PathLike, langs: Iterable[str]) -> dict[LangScript, Path]:
    """Return the files of a corpus; ``binarize`` logs those that were left out."""
    return find_corpus(corpus, langs).files


def leaked_sentences(out: PathLike) -> dict[str, int]:
    """Count the training sentences of a data folder that have the tokens of a held-out sentence of its pairs.

    Sentences with unknown tokens are not counted, because different texts may have the same ones.

    Args:
        out: the data folder.

    Returns:
        The number of sentences per tag, without those that have none.
    """
    out = Path(out)
    found: dict[str, int] = {}
    for index in sorted((out / PAIRS_FOLDER).glob(f"*/{VALID}.idx")):
        train = out / index.parent.name / TRAIN
        if not index_path(train).is_file():
            continue
        # Another run may be replacing this language; it counts the sentences when it is done.
        with suppress(FileNotFoundError, ValueError):
            held = {row.tobytes() for row in _sentences(index.with_suffix("")) if not (row == UNK).any()}
            count = sum(row.tobytes() in held for row in _sentences(train, held))
            if count:
                found[index.parent.name] = count
    return found


def _sentences(prefix: Path, like: Optional[set[bytes]] = None) -> Iterator[np.ndarray]:
    """Yield the tokens of a split's sentences; with ``like`` only those as long as one of these int64 sentences."""
    buffer = TokenBuffer(prefix)
    lengths = np.array(sorted({len(tokens) // 8 for tokens in like or ()}))
    start = 0
    for first in range(0, buffer.num_sentences, BATCH):
        count = min(BATCH, buffer.num_sentences - first)
        sizes = np.fromfile(index_path(prefix), np.int32, count, offset=HEADER.size + 4 * first).astype(np.int64)
        ends = np.cumsum(sizes)
        tokens = buffer.read(start, start + int(ends[-1])).astype(np.int64)
        wanted = np.arange(count) if like is None else np.flatnonzero(np.isin(sizes, lengths))
        for end, size in zip(ends[wanted].tolist(), sizes[wanted].tolist()):
            yield tokens[end - size : end]
        start += int(ends[-1])
