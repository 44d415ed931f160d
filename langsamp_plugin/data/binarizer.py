"""Binarizes text to fairseq's mmap format: SentencePiece ids in ``<data-bin>/<tag>/{train,valid}.{bin,idx}``.

The unit of work is a piece: some megabytes of one language's text. Pieces are distributed over worker processes and the
jobs of an array (shards). A killed run resumes after the last finished piece. Once all pieces of a language exist, they
are joined. The output is byte-identical for any number of workers and shards.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Optional

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write, read_record
from langsamp_plugin.corpus.text import corpus_files, read_lines
from langsamp_plugin.data import text_pieces
from langsamp_plugin.data.data_folder import LANGUAGE_STATS
from langsamp_plugin.data.earlier_languages import earlier_languages, remove_languages
from langsamp_plugin.data.held_out import SHARE, choose_held_out
from langsamp_plugin.data.text_pieces import STATS_FIELDS, Language, Piece, is_finished, piece_prefix
from langsamp_plugin.data.token_buffer import StoredSizes, best_dtype, buffer_path, index_path, write_index
from langsamp_plugin.lang_script import LanguageTable, Tables
from langsamp_plugin.lock import hold
from langsamp_plugin.progress import parallel, progress
from langsamp_plugin.source_files import FIELD, describe
from langsamp_plugin.vocabulary.dictionary import read_dictionary
from langsamp_plugin.vocabulary.folder_tokenizer import (
    IDS_FILENAME,
    AnyTokenizer,
    FolderTokenizer,
    read_token_ids,
)
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

BATCH = 10_000  # lines encoded at a time: limits memory, but hides the overhead of a call
STATS = ("tag", "split", "lines", "tokens", "unknown")


def binarize(
    corpus: PathLike,
    model: PathLike,
    out: PathLike,
    *,
    valid: Optional[PathLike] = None,
    valid_lines: int = 100,
    workers: int = 1,
    tables: str = "auto",
    langs: Iterable[str] = (),
    shard: tuple[int, int] = (1, 1),
    strict: bool = False,
    prune: bool = False,
) -> list[dict[str, Any]]:
    """Binarize a corpus; another call resumes after the last finished piece.

    Args:
        corpus: folder of ``<tag>.txt``.
        model: the SentencePiece model.
        out: the data folder; also gets ``dict.txt``, the model, the tables and ``stats.tsv``.
        valid: folder of ``<tag>.txt`` with held-out text. Without it, the lines of the corpus with the lowest hashes
            are held out, so that equal lines stay together and the choice is the same on every machine.
        valid_lines: lines held out per language, at most a tenth; approximate for a text larger than a piece, whose
            number of lines is estimated from the first piece.
        workers: number of processes.
        tables: ``auto`` or ``data`` (the codes of the corpus, after those already in ``out``), ``glot500``, or a folder
            with both tables; missing codes are appended.
        langs: the tags to use; empty means all.
        shard: ``(i, n)`` processes the i-th of n shares of the pieces, i from 1. The last job to end finishes the
            folder; all jobs must see the same files.
        strict: raise for a corpus file that would otherwise be skipped.
        prune: remove languages of earlier runs that are no longer in the corpus.

    Returns:
        One row of statistics per language and split; empty while other shards are unfinished.

    Raises:
        ValueError: a file is empty, not UTF-8, or not named after a tag; or ``out`` has another vocabulary; or
            ``valid`` has none of the languages; or no language has text to hold out.
    """
    out = Path(out)
    files = corpus_files(corpus, langs, strict=strict)
    valid_files = corpus_files(valid, strict=strict) if valid is not None else {}
    if prune and langs:
        raise ValueError("--prune needs all languages of the corpus: leave out --langs")
    if valid is not None and not files.keys() & valid_files.keys():
        raise ValueError(
            f"{valid} must have held-out text of the {len(files)} languages of {corpus}, but has none: name a folder "
            "with files of the same tags, or leave out --valid"
        )
    tokenizer = _load_tokenizer(Path(model))  # the workers inherit it, as forks of this process
    _check_dictionary(out, tokenizer)
    start = _starting_tables(tables, out)
    for path in out.glob(f"*/{LANGUAGE_STATS}"):
        if path.parent.name not in map(str, files):
            _stats_rows(path)  # from an earlier run, needed at the end
    out.mkdir(parents=True, exist_ok=True)
    languages = [
        Language.of(tag, path, valid_files.get(tag), 0 if valid is not None else valid_lines, out, tokenizer)
        for tag, path in files.items()
    ]
    if valid is None and valid_lines:
        _check_held_out(corpus, languages, valid_lines)
    everything = [(language, piece) for language in languages for piece in language.pieces()]
    # Shares are cut before finished pieces are skipped, so that all shards cut alike.
    mine = [
        (language, piece)
        for language, piece in everything[shard[0] - 1 :: shard[1]]
        if language.rows() is None and not is_finished(language, piece)
    ]
    # Large pieces first, so that no worker processes one alone at the end.
    mine.sort(key=lambda task: task[1].start - task[1].end)
    with parallel(workers) as run:
        total = sum(piece.end - piece.start for _, piece in mine)
        with progress(total=total, desc="binarizing", unit="B", unit_scale=True) as bar:
            for done in run(_encode_piece, mine):
                bar.update(done)
        with hold(out / ".lock-joining", out, wait_s=math.inf):  # only one share at a time may finish the folder
            if not all(language.rows() is not None or is_finished(language, piece) for language, piece in everything):
                return []
            rows = [
                row
                for rows in progress(run(_join, languages), total=len(languages), desc="joining", unit="language")
                for row in rows
            ]
            if prune:
                remove_languages(out, earlier_languages(out, files))
            # The description comes last, so that a folder with a dictionary is complete.
            start.extended(files).save(out)
            _save_stats(out)
            tokenizer.save_beside(out)
    return sorted(rows, key=lambda row: (row["tag"], row["split"]))


def _check_held_out(corpus: PathLike, languages: Sequence[Language], lines: int) -> None:
    """Raise ``ValueError`` if no language has text to hold out."""
    if any(choose_held_out(language.train, lines, text_pieces.PIECE).limit >= 0 for language in languages):
        return
    raise ValueError(
        f"{corpus} must have a language with text to hold out (one line in {SHARE}), but none of {len(languages)} has: "
        "name held-out text with --valid, or use --valid-lines 0 and train with --disable-validation"
    )


def _starting_tables(tables: str, out: Path) -> Tables:
    """Return the tables to append the corpus's codes to; a folder with tables keeps its numbering."""
    if tables == "glot500":
        return Tables.glot500()
    if tables not in ("auto", "data"):
        return Tables.load(tables)
    return Tables.load(out) if (out / LanguageTable.filename).is_file() else Tables.of([], "the data")


def _check_dictionary(out: Path, tokenizer: AnyTokenizer) -> None:
    """Refuse to add languages to a folder that was made with another model."""
    path = out / "dict.txt"
    numbering = out / IDS_FILENAME
    if numbering.is_file() and read_token_ids(numbering).digest != tokenizer.digest:
        raise ValueError(f"{out} was made with another tokenizer than {tokenizer.path}: choose another --out")
    if not path.is_file():
        return
    if isinstance(tokenizer, FolderTokenizer):
        raise ValueError(f"{out} was made with a SentencePiece model, not with {tokenizer.path}: choose another --out")
    pieces = read_dictionary(path)
    if pieces != tokenizer.pieces:
        raise ValueError(
            f"{path} has {len(pieces):,} pieces of another model than {tokenizer.path}, which has "
            f"{len(tokenizer.pieces):,}: choose another --out, or remove the folder"
        )


@lru_cache(maxsize=1)
def _load_tokenizer(path: Path) -> AnyTokenizer:
    """Load the model once per process."""
    return FolderTokenizer(path) if path.is_dir() else Tokenizer(path)


def _encode_piece(task: tuple[Language, Piece]) -> int:
    """Write the tokens and sentence sizes of a piece, then its record; return the size of its text in bytes."""
    language, piece = task
    tokenizer = _load_tokenizer(language.model)
    dtype = best_dtype(tokenizer.vocab_size)
    held_out = choose_held_out(language.train, 0 if piece.held_out else language.valid_lines, text_pieces.PIECE)
    splits = ["valid"] if piece.held_out else ["train", "valid"] if held_out.limit >= 0 else ["train"]
    counts: dict[str, Any] = {"lines": 0, "tokens": 0, "unknown": 0, "bin": 0, "sizes": 0}
    rows = {split: {"split": split, **counts} for split in splits}
    with ExitStack() as stack:
        streams = {
            (split, kind): stack.enter_context(
                atomic_write(f"{piece_prefix(language, piece, split)}.{kind}", "wb", sync=False)
            )
            for split in splits
            for kind in ("bin", "sizes")
        }
        lines = read_lines(piece.path, piece.start, piece.end)
        while batch := list(islice(lines, BATCH)):
            parts = {splits[0]: batch}
            if held_out.limit >= 0:
                parts = {"train": [], "valid": []}
                for line in batch:
                    parts["valid" if held_out.takes(line) else "train"].append(line)
            for split, part in parts.items():
                tokens, sizes = tokenizer.encode(part)
                row = rows[split]
                row["lines"] += len(sizes)
                row["tokens"] += len(tokens)
                row["unknown"] += int((tokens == tokenizer.unk_id).sum())
                row["bin"] += streams[split, "bin"].write(tokens.astype(dtype).tobytes())
                row["sizes"] += streams[split, "sizes"].write(sizes.astype(np.int32).tobytes())
    with atomic_write(language.work / f"{piece.number:05}.json", sync=False) as stream:
        json.dump({"rows": list(rows.values())}, stream)
    return piece.end - piece.start


def _join(language: Language) -> list[dict[str, Any]]:
    """Join a language's pieces into its files, remove the pieces, and return its statistics."""
    finished = language.rows()
    if finished is not None:
        _remove_pieces(language)  # begun by another share after it was finished, or left over from a kill
        return finished
    tokenizer = _load_tokenizer(language.model)
    dtype = best_dtype(tokenizer.vocab_size)
    pieces = language.pieces()
    records = [read_record(language.work / f"{piece.number:05}.json", ("rows",)) or {} for piece in pieces]
    rows = []
    (language.folder / LANGUAGE_STATS).unlink(missing_ok=True)
    for split in ("train", "valid"):
        parts = [
            (piece_prefix(language, piece, split), row)
            for piece, record in zip(pieces, records)
            for row in record["rows"]
            if row["split"] == split
        ]
        prefix = language.folder / split
        if not parts:  # left over from an earlier run with other settings
            buffer_path(prefix).unlink(missing_ok=True)
            index_path(prefix).unlink(missing_ok=True)
            continue
        sums = {name: sum(row[name] for _, row in parts) for name in ("lines", "tokens", "unknown")}
        if not sums["lines"]:
            path = language.valid if split == "valid" and language.valid is not None else language.train
            raise ValueError(f"{path} has no line of text: add text or remove it")
        with atomic_write(buffer_path(prefix), "wb") as stream:
            for part, _ in parts:
                with open(f"{part}.bin", "rb") as source:
                    shutil.copyfileobj(source, stream, 1 << 22)
        sizes = [StoredSizes(f"{part}.sizes", row["lines"]) for part, row in parts if row["lines"]]
        write_index(index_path(prefix), sizes, dtype)
        rows.append({"tag": str(language.tag), "split": split, **sums})
    with atomic_write(language.folder / LANGUAGE_STATS) as stream:
        record = {"fingerprint": language.fingerprint, "types": tokenizer.vocab_size, "rows": rows}
        json.dump({**record, FIELD: describe(language.sources)}, stream)
    _remove_pieces(language)
    return rows


def _remove_pieces(language: Language) -> None:
    for old in language.folder.glob(".pieces-*"):
        shutil.rmtree(old, ignore_errors=True)


def _save_stats(out: Path) -> None:
    """Write ``stats.tsv`` for every language in the folder, including those of earlier runs."""
    with atomic_write(out / "stats.tsv") as stream:
        writer = csv.DictWriter(stream, STATS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for path in sorted(out.glob(f"*/{LANGUAGE_STATS}")):
            writer.writerows(_stats_rows(path))


def _stats_rows(path: Path) -> list[dict[str, Any]]:
    """Return a finished language's statistics.

    Raises:
        ValueError: the file is damaged.
    """
    record = read_record(path, STATS_FIELDS)
    if record is None:
        raise ValueError(f"{path} is damaged: remove it and binarize this language again")
    return list(record["rows"])
