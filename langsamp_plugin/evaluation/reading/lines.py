"""Reads lines and columns of evaluation files: UTF-8, optional byte-order mark, lines ending in LF or CRLF only."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from langsamp_plugin.atomic import PathLike

LARGEST_FIELD = 1 << 27


def all_lines(path: PathLike) -> list[str]:
    """Return the lines of a file; empty lines are kept, a byte-order mark is removed, and a bare CR is part of its
    line.

    Raises:
        ValueError: the file is not UTF-8.
    """
    lines = read_text(path).split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    return lines[:-1] if not lines[-1] else lines


def read_text(path: PathLike) -> str:
    """Return the text of a file without a byte-order mark; line ends are unchanged.

    Raises:
        ValueError: the file is not UTF-8.
    """
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); convert the file, e.g. with iconv") from error


def read_columns(path: PathLike, wanted: Sequence[str]) -> list[dict[str, str]]:
    """Read a TSV with a header line and without quoting.

    Args:
        path: the file.
        wanted: required columns.

    Returns:
        One row per line, at least one.

    Raises:
        ValueError: the file is not UTF-8, lacks a column or lines, or a line has too few fields; the message names
            file and line.
    """
    lines = all_lines(path)
    header = lines[0].split("\t") if lines else []
    if not set(wanted) <= set(header) or len(lines) < 2:
        raise ValueError(f"{path} must be a TSV with the columns {' and '.join(wanted)} and at least one line")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) < len(header):
            raise ValueError(
                f"{path}, line {number}: must have {len(header)} fields as the header, but has {len(fields)}"
            )
        rows.append(dict(zip(header, fields)))
    return rows


def quoted_rows(path: PathLike) -> list[tuple[int, list[str]]]:
    """Read a TSV with CSV quoting, as pandas writes it.

    ``"He said ""no""."`` is read as ``He said "no".`` A field is quoted only if its quotes close before the next tab or
    line end. Any other quotation mark is text, so files written without quoting keep theirs.

    Returns:
        The line number at which each row begins, and its fields; rows without text are omitted.
    """
    rows = []
    for number, line in enumerate(all_lines(path), 1):
        if line.strip():
            rows.append((number, [unquoted(field) for field in line.split("\t")]))
    return rows


def unquoted(field: str) -> str:
    """Return a field without CSV quotes if it is enclosed in them and inner quotes are doubled."""
    if len(field) < 2 or field[0] != '"' or field[-1] != '"':
        return field
    inside = field[1:-1]
    return inside.replace('""', '"') if '"' not in inside.replace('""', "") else field


def csv_rows(path: PathLike) -> list[tuple[int, list[str]]]:
    """Read a comma-separated CSV; line numbers and fields as in :func:`quoted_rows`."""
    previous = csv.field_size_limit(LARGEST_FIELD)
    try:
        reader = csv.reader(io.StringIO(read_text(path), newline=""))
        return [(reader.line_num, row) for row in reader if any(row)]
    except csv.Error as error:
        raise ValueError(f"{path}: {error}") from error
    finally:
        csv.field_size_limit(previous)
