"""Text as people have it: ``<tag>.txt``, JSON lines, Parquet and Arrow files, compressed or not, one reader for all.

Every reader streams: a file of any size costs a few megabytes of memory.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.corpus.text import not_utf8
from langsamp_plugin.lang_script import LangScript

COMPRESSED = (".gz", ".xz", ".bz2", ".zst")
LINES, JSON_LINES, PARQUET, ARROW = ".txt", ".jsonl", ".parquet", ".arrow"
KINDS = {LINES: LINES, JSON_LINES: JSON_LINES, ".ndjson": JSON_LINES, PARQUET: PARQUET, ARROW: ARROW}
ROWS = 1000  # rows of Parquet and Arrow that become Python strings at a time


def find_sources(folder: PathLike, langs: Iterable[str] = (), split: str = "train") -> dict[LangScript, list[Path]]:
    """Find the files of each language in a folder of files or of folders named by tag.

    Args:
        folder: has ``<tag>.txt``, ``<tag>.jsonl``, ``<tag>.parquet``, ``<tag>.arrow`` (also ``.gz``, ``.xz``, ``.bz2``,
            ``.zst`` of the first two), or folders ``<tag>/`` with such files at any depth, such as the ``datasets``
            library saves. Tags in any spelling that :meth:`LangScript.from_spelling` reads.
        langs: the tags to take; empty takes all.
        split: where a language's folder has several splits, by folder (``train/``) or file (``train-00000-of-00001``),
            the one to take.

    Returns:
        The files of each tag in the order of their names; tags sorted.

    Raises:
        FileNotFoundError: the folder is missing, has no text, or lacks one of ``langs``.
        ValueError: a file or folder with text has a name that is no tag.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"corpus folder {folder} is missing")
    found: dict[LangScript, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        files = _files_of(path, split) if path.is_dir() else [path] if kind(path) else []
        if not files:
            continue
        try:
            tag = LangScript.from_spelling(path.name if path.is_dir() else _stem(path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}; rename it, e.g. to eng_Latn") from error
        found.setdefault(tag, []).extend(files)
    if not found:
        raise FileNotFoundError(
            f"{folder} has no text in it: expected files such as eng_Latn.txt or folders such as eng_Latn/ with "
            f"{', '.join(KINDS)} (text and JSON lines also {', '.join(COMPRESSED)})"
        )
    wanted = [LangScript.from_spelling(lang) for lang in langs]
    for tag in wanted:
        if tag not in found:
            raise FileNotFoundError(f"{folder} has no {tag}; it has {' '.join(map(str, sorted(found)))}")
    return {tag: found[tag] for tag in sorted(set(wanted) if wanted else found)}


def kind(path: Path) -> str:
    """Return which reader a file needs, one of the values of ``KINDS``; empty if none can read it."""
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in COMPRESSED:
        inner = KINDS.get(suffixes[-2], "") if len(suffixes) > 1 else ""
        return inner if inner in (LINES, JSON_LINES) else ""
    return KINDS.get(path.suffix, "")


def read_texts(path: PathLike, column: str = "text", errors: str = "strict") -> Iterator[str]:
    """Yield the lines of a file as they stand in it, empty ones too; a text of several lines counts as several.

    Args:
        path: a file that :func:`kind` knows.
        column: the field or column that holds the text, for everything but plain lines.
        errors: ``replace`` puts U+FFFD where plain lines are not UTF-8.

    Raises:
        ValueError: the file is cut off, not UTF-8, or has no such column; the message names file and line.
    """
    path = Path(path)
    what = kind(path)
    try:
        if what == LINES:
            yield from _plain_lines(path, errors)
        elif what == JSON_LINES:
            yield from _json_lines(path, column)
        else:
            yield from _table_rows(path, column, what)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is cut off or damaged, get it again: {error}") from error
    except OSError as error:
        # pyarrow and bz2 report damaged data as an OSError without a number.
        if error.errno is None:
            raise ValueError(f"{path} is cut off or damaged, get it again: {error}") from error
        raise


def _files_of(folder: Path, split: str) -> list[Path]:
    """Return the text files below a folder, of one split where it has several."""
    files = sorted(
        path
        for path in folder.rglob("*")
        # The datasets library leaves the results of map and filter beside the data.
        if path.is_file() and kind(path) and not path.name.startswith((".", "cache-"))
    )
    of_split = [
        path
        for path in files
        if split in path.relative_to(folder).parts[:-1] or path.name.startswith((f"{split}-", f"{split}."))
    ]
    return of_split or files


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (*COMPRESSED, *KINDS):
        name = name.removesuffix(suffix)
    return name


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".xz":
        return lzma.open(path, "rb")
    if path.suffix == ".bz2":
        return bz2.open(path, "rb")
    if path.suffix == ".zst":
        return io.BufferedReader(_pyarrow(path).input_stream(str(path), compression="zstd"))
    return open(path, "rb")


def _plain_lines(path: Path, errors: str) -> Iterator[str]:
    with _open(path) as stream:
        for number, raw in enumerate(stream, 1):
            try:
                yield raw.decode("utf-8", errors).rstrip("\n")
            except UnicodeDecodeError as error:
                raise ValueError(not_utf8(path, number, raw[error.start])) from error


def _json_lines(path: Path, column: str) -> Iterator[str]:
    with _open(path) as stream:
        for number, raw in enumerate(stream, 1):
            if not raw.strip():
                continue
            try:
                record = json.loads(raw)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
            yield from _split(record.get(column) if isinstance(record, dict) else record, path, number, column, record)


def _table_rows(path: Path, column: str, what: str) -> Iterator[str]:
    arrow = _pyarrow(path)
    try:
        if what == PARQUET:
            import pyarrow.parquet

            with pyarrow.parquet.ParquetFile(path) as table:
                _check_column(path, column, table.schema_arrow.names)
                yield from _columns(table.iter_batches(ROWS, columns=[column]), path, column)
        else:
            with arrow.memory_map(str(path)) as stream:
                try:
                    batches = arrow.ipc.open_stream(stream)  # what the datasets library writes
                except arrow.ArrowInvalid:
                    reader = arrow.ipc.open_file(stream)
                    batches = map(reader.get_batch, range(reader.num_record_batches))
                    _check_column(path, column, reader.schema.names)
                else:
                    _check_column(path, column, batches.schema.names)
                yield from _columns(batches, path, column)
    except arrow.ArrowException as error:
        raise ValueError(f"{path} is no {what[1:]} file, or cut off: {error}") from error


def _columns(batches: Iterable[Any], path: Path, column: str) -> Iterator[str]:
    row = 0
    for batch in batches:
        values = batch.column(column)
        for start in range(0, len(values), ROWS):
            for value in values.slice(start, ROWS).to_pylist():
                row += 1
                yield from _split(value, path, row, column, value)


def _check_column(path: Path, column: str, names: list[str]) -> None:
    if column not in names:
        raise ValueError(
            f"{path} has no column {column!r}; it has {' '.join(names)}: name the one with the text by --column"
        )


def _split(value: Any, path: Path, number: int, column: str, record: Any) -> list[str]:
    if value is None and isinstance(record, dict) and column not in record:
        raise ValueError(
            f"{path}, line {number}: no field {column!r}; it has {' '.join(record)}: name the one with the text by --column"
        )
    if value is None:
        return [""]
    if not isinstance(value, str):
        raise ValueError(f"{path}, row {number}: {column!r} must be text, but is {type(value).__name__}")
    return value.split("\n")


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"reading {path} needs pyarrow: pip install 'langsamp-plugin[data]'") from error
    return pyarrow
