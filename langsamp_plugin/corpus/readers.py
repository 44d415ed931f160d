"""Reads text from plain lines, JSON lines, Parquet and Arrow files, compressed or not, through one interface.

Every reader streams: a file of any size, even a single line, needs a few megabytes of memory.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Optional

from langsamp_plugin.corpus.left_out import LeftOut
from langsamp_plugin.corpus.lines import LONGEST_LINE, bounded_lines
from langsamp_plugin.corpus.splits import SPLITS

COMPRESSED = (".gz", ".xz", ".bz2", ".zst")
LINES, JSON_LINES, PARQUET, ARROW = ".txt", ".jsonl", ".parquet", ".arrow"
KINDS = {LINES: LINES, JSON_LINES: JSON_LINES, ".ndjson": JSON_LINES, PARQUET: PARQUET, ARROW: ARROW}
IN_ARCHIVES = {".json": JSON_LINES}  # as in mC4; a plain .json describes a data set and is not one
ROWS = 1000  # rows of Parquet and Arrow converted to Python strings at a time
RECORD = 64  # a JSON record holds a document of many lines: it may be this many times as long
LISTED = 1000  # maximum number of bad lines listed per language


class Undecodable(str):
    """A line that was not UTF-8, with U+FFFD in place of invalid bytes."""


def kind(path: Path) -> str:
    """Return the reader for a file, one of the values of ``KINDS``; empty if there is none.

    FLORES stores plain lines in ``eng_Latn.dev``.
    """
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in COMPRESSED:
        inner = (KINDS | IN_ARCHIVES).get(suffixes[-2], "") if len(suffixes) > 1 else ""
        return inner if inner in (LINES, JSON_LINES) else ""
    return LINES if path.suffix[1:] in SPLITS else KINDS.get(path.suffix, "")


def read_texts(
    path: Path,
    column: str = "text",
    *,
    undecodable: bool = False,
    longest: int = LONGEST_LINE,
    left_out: Optional[list[LeftOut]] = None,
) -> Iterator[str]:
    """Yield the unmodified lines of a file, including empty ones; a text of several lines counts as several.

    Args:
        path: a file with a reader, see :func:`kind`.
        column: the field or column with the text, except for plain lines.
        undecodable: also yield plain lines that are not UTF-8, as :class:`Undecodable`.
        longest: maximum length of a line in bytes.
        left_out: receives lines that are too long, not UTF-8 or not JSON, and reading continues; without it they are
            errors.

    Raises:
        ValueError: the file is cut off or lacks the column; or a line is bad and ``left_out`` is not given.
    """
    path = Path(path)
    what = kind(path)
    bad = _BadLines(path, left_out)
    try:
        if what == LINES:
            lines = _plain_lines(path, undecodable, longest, bad)
        elif what == JSON_LINES:
            lines = _json_lines(path, column, longest, bad)
        else:
            lines = _table_rows(path, column, what)
        for number, line in lines:
            if len(line) > longest or (len(line) * 4 > longest and len(line.encode("utf-8", "replace")) > longest):
                bad.add(number, f"is longer than {longest:,} bytes", "raise --longest-line, or break it into lines")
            elif not line.isascii() and _has_surrogate(line):  # possible in JSON, but not in a file
                bad.add(number, f"is not Unicode: {line[:50]!a}", "correct it in the source")
            else:
                yield line
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is cut off or damaged, download it again: {error}") from error
    except OSError as error:
        # pyarrow and bz2 report damaged data as an OSError without a number.
        if error.errno is None:
            raise ValueError(f"{path} is cut off or damaged, download it again: {error}") from error
        raise


def _has_surrogate(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:
        return True
    return False


class _BadLines:
    """Lists unreadable lines, or raises for the first."""

    def __init__(self, path: Path, left_out: Optional[list[LeftOut]]):
        self.path, self.left_out = path, left_out

    def add(self, number: int, reason: str, remedy: str) -> None:
        entry = LeftOut(f"{self.path}, line {number}", reason, remedy)
        if self.left_out is None:
            raise ValueError(str(entry))
        if len(self.left_out) < LISTED:
            self.left_out.append(entry)


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


def _plain_lines(path: Path, undecodable: bool, longest: int, bad: _BadLines) -> Iterator[tuple[int, str]]:
    with _open(path) as stream:
        for number, (raw, size) in enumerate(bounded_lines(stream, longest), 1):
            if raw is None:
                reason = f"is longer than {longest:,} bytes ({size:,})"
                bad.add(number, reason, "raise --longest-line, or break it into lines")
                continue
            try:
                yield number, raw.decode("utf-8").rstrip("\n")
            except UnicodeDecodeError as error:
                bad.add(number, f"not UTF-8 (byte {raw[error.start]:#04x})", "convert the file, e.g. with iconv")
                if undecodable:
                    yield number, Undecodable(raw.decode("utf-8", "replace").rstrip("\n"))


def plain_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file of any name, compressed or not, without a byte order mark.

    Raises:
        ValueError: a line is not UTF-8; the message names file and line.
    """
    with _open(path) as stream:
        for number, raw in enumerate(stream, 1):
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            try:
                yield raw.decode("utf-8").rstrip("\n")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {number}: not UTF-8 (byte {raw[error.start]:#04x}): convert it"
                ) from error


def _json_lines(path: Path, column: str, longest: int, bad: _BadLines) -> Iterator[tuple[int, str]]:
    with _open(path) as stream:
        for number, (raw, size) in enumerate(bounded_lines(stream, RECORD * longest), 1):
            if raw is None:
                bad.add(number, f"the record has {size:,} bytes", "raise --longest-line")
                continue
            if not raw.strip():
                continue
            try:
                record = json.loads(raw)
            except (ValueError, RecursionError) as error:
                if not raw.endswith(b"\n"):
                    raise ValueError(f"{path} is cut off in line {number}, download it again: {error}") from error
                bad.add(number, f"not JSON: {error}", "correct or remove the line")
                continue
            value = record.get(column) if isinstance(record, dict) else record
            for line in _split(value, path, number, column, record):
                yield number, line


def _table_rows(path: Path, column: str, what: str) -> Iterator[tuple[int, str]]:
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
                    batches = arrow.ipc.open_stream(stream)  # as written by the datasets library
                except arrow.ArrowInvalid:
                    reader = arrow.ipc.open_file(stream)
                    batches = map(reader.get_batch, range(reader.num_record_batches))
                    _check_column(path, column, reader.schema.names)
                else:
                    _check_column(path, column, batches.schema.names)
                yield from _columns(batches, path, column)
    except arrow.ArrowException as error:
        raise ValueError(f"{path} must be a complete {what[1:]} file, but does not load: {error}") from error


def _columns(batches: Iterable[Any], path: Path, column: str) -> Iterator[tuple[int, str]]:
    row = 0
    for batch in batches:
        values = batch.column(column)
        for start in range(0, len(values), ROWS):
            for value in values.slice(start, ROWS).to_pylist():
                row += 1
                for line in _split(value, path, row, column, value):
                    yield row, line


def _check_column(path: Path, column: str, names: list[str]) -> None:
    if column not in names:
        raise ValueError(
            f"{path} has no column {column!r}; it has {' '.join(names)}: name the one with the text by --column"
        )


def _split(value: Any, path: Path, number: int, column: str, record: Any) -> list[str]:
    if value is None and isinstance(record, dict) and column not in record:
        raise ValueError(
            f"{path}, line {number}: no field {column!r}; it has {' '.join(record)}: name the one with the text by "
            "--column"
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
