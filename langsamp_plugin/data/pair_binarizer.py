"""Binarizes parallel text of ``langsamp pairs`` to the files of :mod:`langsamp_plugin.data.pair_data`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, Optional

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_folder, atomic_write, read_record
from langsamp_plugin.corpus.duplicates import text_hash
from langsamp_plugin.corpus.pairs import TRAIN, VALID, id_hash
from langsamp_plugin.corpus.text import corpus_files, read_lines
from langsamp_plugin.data.pair_data import PAIRS_FOLDER, PAIRS_RECORD, ROW_BITS
from langsamp_plugin.data.token_buffer import best_dtype, buffer_path, write_index
from langsamp_plugin.lang_script import LangScript, Tables
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.dictionary import dictionary_digest
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

BATCH = 10_000  # sentences encoded at a time
HELD_OUT = f"{VALID}.hashes"
"""Hashes (uint64) of a language's held-out sentences, with which text that is added later is compared."""
REMOVE = "remove these lines and binarize again, or hold out nothing with `langsamp pairs --held-out 0`"


def binarize_pairs(
    pairs: PathLike, model: PathLike, out: PathLike, corpus: Optional[PathLike] = None
) -> dict[str, Any]:
    """Write ``<out>/pairs``, and append the pairs' codes to the tables in ``out``.

    Sentences without a counterpart in another language are dropped.

    Args:
        pairs: a folder with ``train/<tag>.txt`` and possibly ``valid/<tag>.txt``, lines ``id<tab>text``.
        model: the SentencePiece model.
        out: the finished data folder.
        corpus: the text of ``out``, to check that no held-out sentence is in it.

    Returns:
        The record of the folder: the languages, messages and sentences of each split.

    Raises:
        ValueError: a held-out message or sentence is in the training data (a leak), a file is malformed, or nothing
            remains.
        FileNotFoundError: a folder is missing.
    """
    pairs, out = Path(pairs), Path(out)
    files = {TRAIN: corpus_files(pairs / TRAIN)}
    files[VALID] = corpus_files(pairs / VALID) if (pairs / VALID).is_dir() else {}
    tokenizer = Tokenizer(model)
    stats = [
        (split, path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for split in files
        for path in files[split].values()
    ]
    fingerprint = blake2b(repr((stats, tokenizer.digest)).encode(), digest_size=8).hexdigest()
    finished = read_record(out / PAIRS_FOLDER / PAIRS_RECORD, ("fingerprint", "types", "splits"))
    check_leaks(files[TRAIN], files[VALID], corpus)
    if finished is None or finished["fingerprint"] != fingerprint:
        with atomic_folder(out / PAIRS_FOLDER, marker=PAIRS_RECORD) as folder:
            splits = {split: _write_split(files[split], split, folder, tokenizer) for split in files if files[split]}
            if not splits[TRAIN]["messages"]:
                raise ValueError(
                    f"{pairs / TRAIN} must have messages in two languages, but has none: ids must be equal across files"
                )
            _write_held_out(files[VALID], folder)
            finished = {
                "fingerprint": fingerprint, "types": tokenizer.vocab_size,
                "dictionary": dictionary_digest(tokenizer.pieces), "splits": splits,
            }  # fmt: skip
            with atomic_write(folder / PAIRS_RECORD) as stream:
                json.dump(finished, stream)
    tags = {LangScript.parse(tag) for split in finished["splits"].values() for tag in split["languages"]}
    Tables.load(out).extended(tags).save(out)
    return dict(finished)


def check_leaks(
    train: dict[LangScript, Path], valid: dict[LangScript, Path], corpus: Optional[PathLike] = None
) -> None:
    """Check that no held-out text is in the training data.

    Args:
        train, valid: the files of both splits.
        corpus: the folder of text for the masked-LM loss.

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
    texts = corpus_files(corpus) if corpus is not None else {}
    for tag, path in valid.items():
        held = {text_hash(text) for _, text in read_messages(path)}
        if tag in train:
            remedy = "write the folder again with `langsamp pairs`, which drops such sentences"
            _check_lines(train[tag], _texts(train[tag]), held, path, remedy)
        if tag in texts:
            _check_lines(texts[tag], read_lines(texts[tag]), held, path, REMOVE)


def check_text(out: PathLike, corpus: PathLike) -> None:
    """Check that no held-out sentence of the pairs in a data folder is in text that was added without ``--pairs``.

    Args:
        out: the data folder.
        corpus: the text.

    Raises:
        ValueError: a held-out sentence is in the text of its language.
    """
    for tag, path in corpus_files(corpus).items():
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


def _write_held_out(files: dict[LangScript, Path], folder: Path) -> None:
    for tag, path in files.items():
        hashes = np.array([text_hash(text) for text in _texts(path)], "<u8")
        with atomic_write(folder / str(tag) / HELD_OUT, "wb", sync=False) as stream:
            stream.write(hashes.tobytes())


def _write_split(files: dict[LangScript, Path], split: str, folder: Path, tokenizer: Tokenizer) -> dict[str, Any]:
    """Write the sentences with a counterpart in another language, and the lists of sentences per message."""
    ids = {tag: np.array([id_hash(name) for name, _ in read_messages(path)], np.uint64) for tag, path in files.items()}
    for tag, numbers in ids.items():
        if len(np.unique(numbers)) < len(numbers):
            raise ValueError(f"{files[tag]} must have unique ids, but an id occurs twice")
    every, counts = np.unique(np.concatenate(list(ids.values())), return_counts=True)
    messages = every[counts > 1]
    languages: list[str] = []
    entries: list[np.ndarray] = []
    for tag, path in progress(files.items(), total=len(files), desc=f"pairs, {split}", unit="language"):
        kept = np.isin(ids[tag], messages)
        if not kept.any():
            continue
        message_numbers = np.searchsorted(messages, ids[tag][kept])
        _write_language(path, kept, folder / str(tag) / split, tokenizer)
        with atomic_write(folder / str(tag) / f"{split}.messages", "wb", sync=False) as stream:
            stream.write(message_numbers.astype("<i8").tobytes())
        rows = np.arange(len(message_numbers), dtype=np.uint64)
        entries.append(np.stack([message_numbers.astype(np.uint64), np.uint64(len(languages) << ROW_BITS) | rows]))
        languages.append(str(tag))
    if languages:
        message, entry = np.asarray(np.concatenate(entries, axis=1), np.uint64)
        order = np.argsort(message, kind="stable")
        offsets = np.searchsorted(np.sort(message), np.arange(len(messages) + 1, dtype=np.uint64))
        for name, values in (("offsets", offsets.astype("<i8")), ("entries", entry[order].astype("<u8"))):
            with atomic_write(folder / f"{split}.{name}", "wb", sync=False) as stream:
                stream.write(values.tobytes())
    sentences = sum(part.shape[1] for part in entries)
    return {"languages": languages, "messages": len(messages), "sentences": sentences}


def _write_language(path: Path, kept: np.ndarray, prefix: Path, tokenizer: Tokenizer) -> None:
    dtype = best_dtype(tokenizer.vocab_size)
    sizes = []
    texts = (text for (_, text), keep in zip(read_messages(path), kept.tolist()) if keep)
    with atomic_write(buffer_path(prefix), "wb", sync=False) as stream:
        while batch := list(islice(texts, BATCH)):
            tokens, lengths = tokenizer.encode(batch)
            stream.write(tokens.astype(dtype).tobytes())
            sizes.append(lengths)
    write_index(f"{prefix}.idx", sizes, dtype)
