"""Finds exact duplicates among more lines than fit into memory: hashes are stored on disk and read one share at a
time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice

import numpy as np

BATCH = 10_000
SHARE = 1 << 22  # hashes that are sorted at a time: 64 MB


def text_hash(line: str) -> int:
    """Return 64 bits of BLAKE2b; the probability of any collision among 100 million lines is 0.03 %."""
    return int.from_bytes(blake2b(line.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def repeated(lines: Iterable[str], share: int = SHARE) -> np.ndarray:
    """Return which lines repeat an earlier one.

    Args:
        lines: lines, read once and not kept in memory.
        share: number of hashes in memory at a time.

    Returns:
        bool of shape ``(number of lines,)``: whether an equal line occurs earlier.
    """
    lines = iter(lines)
    with tempfile.TemporaryFile() as stream:
        while batch := list(islice(lines, BATCH)):
            stream.write(np.fromiter(map(text_hash, batch), dtype=np.uint64, count=len(batch)).tobytes())
        count = stream.tell() // 8
        if not count:
            return np.zeros(0, dtype=bool)
        stream.flush()
        return _repeated(np.memmap(stream, dtype=np.uint64, mode="r"), share)


def _repeated(hashes: np.ndarray, share: int) -> np.ndarray:
    result = np.zeros(len(hashes), dtype=bool)
    shares = np.uint64(1 + len(hashes) // share)
    for number in range(int(shares)):
        # Equal hashes are in the same share; a stable sort keeps the order of lines within it.
        places = np.concatenate(list(_places(hashes, shares, number, share)))
        order = np.argsort(hashes[places], kind="stable")
        ordered = hashes[places[order]]
        result[places[order[1:][ordered[1:] == ordered[:-1]]]] = True
    return result


def _places(hashes: np.ndarray, shares: np.uint64, number: int, step: int) -> Iterator[np.ndarray]:
    for start in range(0, len(hashes), step):
        yield start + np.flatnonzero(hashes[start : start + step] % shares == number)
