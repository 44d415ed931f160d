"""Text to fairseq's mmap format: SentencePiece ids straight into ``<data-bin>/<tag>/{train,valid}.{bin,idx}``."""

from __future__ import annotations

import csv
import json
import multiprocessing
import shutil
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
from tqdm import tqdm

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.data.corpus import corpus_files, read_lines
from langsamp_plugin.data.token_buffer import best_dtype, buffer_path, index_path, write_index
from langsamp_plugin.data.tokenizer import FILENAME, UNK, Tokenizer
from langsamp_plugin.lang_script import LangScript, LanguageTable, Tables

BATCH = 10_000  # lines encoded at a time: bounds memory, large enough to hide the overhead of a call
STATS = ("tag", "split", "lines", "tokens", "unknown")


class Job(NamedTuple):
    """One language to binarize.

    Args:
        tag: its tag.
        train: its text.
        valid: held-out text of its own, or ``None`` to hold out lines of ``train``.
        valid_lines: how many lines to hold out then.
        model: the SentencePiece model.
        out: the data folder.
    """

    tag: LangScript
    train: Path
    valid: Optional[Path]
    valid_lines: int
    model: Path
    out: Path

    def fingerprint(self) -> str:
        """Return what the result depends on; a finished language with the same is not done again."""
        parts = [self.valid_lines, Tokenizer(self.model).digest()]
        for path in (self.train, self.valid):
            parts.append(None if path is None else [path.name, path.stat().st_size, path.stat().st_mtime_ns])
        return blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


def binarize(
    corpus: PathLike,
    model: PathLike,
    out: PathLike,
    valid: Optional[PathLike] = None,
    valid_lines: int = 100,
    workers: int = 1,
    tables: str = "data",
    langs: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """Binarize a corpus; called again it goes on after the last language that was finished.

    Args:
        corpus: folder of ``<tag>.txt``.
        model: the SentencePiece model.
        out: the data folder; also gets ``dict.txt``, the model, the tables and ``stats.tsv``.
        valid: folder of ``<tag>.txt`` with held-out text. Without it, lines of the corpus are held out: those with the
            lowest hash, so that equal lines stay together and the choice is the same on any machine.
        valid_lines: lines held out per language, at most a tenth of them.
        workers: processes; the output is the same bytes for any number.
        tables: ``data`` (the codes of the corpus, after those that ``out`` has already), ``glot500``, or a folder with
            both tables; missing codes are appended.
        langs: the tags to take; empty takes all.

    Returns:
        A row of statistics per language and split.

    Raises:
        ValueError: a file is empty, not UTF-8, or has a name that is no tag; or ``out`` has another vocabulary.
    """
    out = Path(out)
    files = corpus_files(corpus, langs)
    valid_files = corpus_files(valid) if valid is not None else {}
    tokenizer = Tokenizer(model)
    _check_dictionary(out, tokenizer)
    start = _starting_tables(tables, out)
    out.mkdir(parents=True, exist_ok=True)
    jobs = [
        Job(tag, path, valid_files.get(tag), 0 if valid is not None else valid_lines, Path(model), out)
        for tag, path in files.items()
    ]
    # Large files first, so that no worker is left with one at the end.
    jobs.sort(key=lambda job: -job.train.stat().st_size)
    rows: list[dict[str, Any]] = []
    pool = multiprocessing.get_context("fork").Pool(workers) if workers > 1 else _Serial()
    with pool:
        done = pool.imap_unordered(_binarize_language, jobs)
        for stats in tqdm(done, total=len(jobs), desc="binarizing", unit="language", disable=None):
            rows += stats
    # What describes the folder comes last, so that a folder with a dictionary is a whole one.
    start.extended(files).save(out)
    shutil.copyfile(tokenizer.path, out / f".{FILENAME}.tmp")
    (out / f".{FILENAME}.tmp").replace(out / FILENAME)
    rows.sort(key=lambda row: (row["tag"], row["split"]))
    with atomic_write(out / "stats.tsv") as stream:
        writer = csv.DictWriter(stream, STATS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    tokenizer.save_dictionary(out / "dict.txt")
    return rows


def _starting_tables(tables: str, out: Path) -> Tables:
    """Return the tables that the corpus's codes are appended to; a folder that has some keeps its numbering."""
    if tables == "glot500":
        return Tables.glot500()
    if tables != "data":
        return Tables.load(tables)
    return Tables.load(out) if (out / LanguageTable.filename).is_file() else Tables.of([], "the data")


def _check_dictionary(out: Path, tokenizer: Tokenizer) -> None:
    """Refuse to add languages to a folder whose other languages were made with another model."""
    path = out / "dict.txt"
    if not path.is_file():
        return
    pieces = [line.rsplit(" ", 1)[0] for line in path.read_text(encoding="utf-8").split("\n") if line]
    if pieces != tokenizer.pieces:
        raise ValueError(
            f"{path} has {len(pieces):,} pieces of another model than {tokenizer.path}, which has "
            f"{len(tokenizer.pieces):,}: choose another --out, or remove the folder"
        )


class _Serial:
    """The part of a pool that is used here, in this process: errors keep their place and a debugger works."""

    imap_unordered = staticmethod(map)

    def __enter__(self) -> _Serial:
        return self

    def __exit__(self, *error: object) -> None:
        return None


def _binarize_language(job: Job) -> list[dict[str, Any]]:
    folder = job.out / str(job.tag)
    record = folder / "stats.json"
    fingerprint = job.fingerprint()
    if record.is_file():
        finished = json.loads(record.read_text(encoding="utf-8"))
        if finished["fingerprint"] == fingerprint:
            return list(finished["rows"])
    tokenizer = Tokenizer(job.model)
    limit = _hash_limit(job.train, job.valid_lines)
    rows = []
    splits: list[tuple[str, Iterator[str]]] = [
        ("train", (line for line in read_lines(job.train) if _hash(line) > limit))
    ]
    if limit >= 0:
        splits.append(("valid", (line for line in read_lines(job.train) if _hash(line) <= limit)))
    elif job.valid is not None:
        splits.append(("valid", read_lines(job.valid)))
    folder.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    for split, lines in splits:
        rows.append({"tag": str(job.tag), "split": split, **_write_split(folder / split, lines, tokenizer)})
    with atomic_write(record) as stream:
        json.dump({"fingerprint": fingerprint, "rows": rows}, stream)
    return rows


def _hash(line: str) -> int:
    return int.from_bytes(blake2b(line.encode(), digest_size=8).digest(), "big")


def _hash_limit(path: Path, wanted: int) -> int:
    """Return the highest hash of a held-out line, or -1 to hold out none."""
    if wanted <= 0:
        return -1
    # The lowest hashes so far; a line can stand in a file often, but is held out or not as a whole.
    lowest = np.empty(0, dtype=np.uint64)
    total = 0
    lines = read_lines(path)
    while batch := list(islice(lines, BATCH)):
        total += len(batch)
        hashes = np.fromiter(map(_hash, batch), dtype=np.uint64, count=len(batch))
        lowest = np.sort(np.concatenate([lowest, hashes]))[:wanted]
    count = min(wanted, total // 10)
    return int(lowest[count - 1]) if count else -1


def _write_split(prefix: Path, lines: Iterator[str], tokenizer: Tokenizer) -> dict[str, int]:
    dtype = best_dtype(tokenizer.vocab_size)
    all_sizes = [np.empty(0, dtype=np.int64)]
    unknown = 0
    with atomic_write(buffer_path(prefix), "wb") as stream:
        while batch := list(islice(lines, BATCH)):
            tokens, sizes = tokenizer.encode(batch)
            unknown += int((tokens == UNK).sum())
            stream.write(tokens.astype(dtype).tobytes())
            all_sizes.append(sizes)
    sizes = np.concatenate(all_sizes)
    write_index(index_path(prefix), sizes, dtype)
    return {"lines": len(sizes), "tokens": int(sizes.sum()), "unknown": unknown}
