"""Binarizes parallel text of ``langsamp pairs`` to the files of :mod:`langsamp_plugin.data.pair_data`."""

from __future__ import annotations

import json
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, Optional

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_folder, atomic_write, read_record
from langsamp_plugin.corpus.pairs import TRAIN, VALID, id_hash
from langsamp_plugin.data.pair_data import PAIRS_FOLDER, PAIRS_RECORD, ROW_BITS
from langsamp_plugin.data.pair_leaks import check_leaks, has_held_out, pair_files, read_messages, write_held_out
from langsamp_plugin.data.token_buffer import best_dtype, buffer_path, write_index
from langsamp_plugin.lang_script import LangScript, Tables
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.dictionary import dictionary_digest
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

BATCH = 10_000  # sentences encoded at a time


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
    files = pair_files(pairs)
    tokenizer = Tokenizer(model)
    stats = [
        (split, path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for split in files
        for path in files[split].values()
    ]
    fingerprint = blake2b(repr((stats, tokenizer.digest)).encode(), digest_size=8).hexdigest()
    finished = read_record(out / PAIRS_FOLDER / PAIRS_RECORD, ("fingerprint", "types", "splits"))
    check_leaks(files[TRAIN], files[VALID], corpus)
    comparable = has_held_out(files[VALID], out / PAIRS_FOLDER)  # folders of earlier versions are not
    if finished is None or finished["fingerprint"] != fingerprint or not comparable:
        with atomic_folder(out / PAIRS_FOLDER, marker=PAIRS_RECORD) as folder:
            splits = {split: _write_split(files[split], split, folder, tokenizer) for split in files if files[split]}
            if not splits[TRAIN]["messages"]:
                raise ValueError(
                    f"{pairs / TRAIN} must have messages in two languages, but has none: ids must be equal across files"
                )
            write_held_out(files[VALID], folder)
            finished = {
                "fingerprint": fingerprint, "types": tokenizer.vocab_size,
                "dictionary": dictionary_digest(tokenizer.pieces), "splits": splits,
            }  # fmt: skip
            with atomic_write(folder / PAIRS_RECORD) as stream:
                json.dump(finished, stream)
    tags = {LangScript.parse(tag) for split in finished["splits"].values() for tag in split["languages"]}
    Tables.load(out).extended(tags).save(out)
    return dict(finished)


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
