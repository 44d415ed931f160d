"""Reads lines of a binary file with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Optional

LONGEST_LINE = 1_000_000
"""Maximum length of a line in bytes; a longer one indicates a file without line ends, or binary data."""

SKIP = 1 << 20  # bytes of a longer line to read at a time


def bounded_lines(stream: IO[bytes], longest: int) -> Iterator[tuple[Optional[bytes], int]]:
    """Yield each line with its line end, and its length in bytes; a line that is too long is ``None``, its length
    without line end."""
    while raw := stream.readline(longest + 2):
        size = len(raw)
        if size <= longest + 1 and (raw.endswith(b"\n") or size <= longest):
            yield raw, size
            continue
        while not raw.endswith(b"\n") and (raw := stream.readline(SKIP)):
            size += len(raw)
        yield None, size - raw.endswith(b"\n")


def not_utf8(path: object, line: int, byte: int) -> str:
    """Return the message for a line that is not UTF-8."""
    return f"{path}, line {line}: not UTF-8 (byte {byte:#04x}); convert the file, e.g. with iconv"
