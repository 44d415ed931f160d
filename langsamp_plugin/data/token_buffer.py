"""Fairseq's mmap format without its per-sentence index: a ``.bin`` of token ids and the header of its ``.idx``.

Stock fairseq maps the index of every sentence and copies its sizes, so memory and start-up time grow with the number of
sentences. Blocks of a fixed number of tokens need only the length of the buffer.

Layout of ``.idx``: 9 bytes magic, uint64 version (1), uint8 dtype code, uint64 number of sentences n,
n x int32 sizes in tokens, n x int64 byte offsets into ``.bin``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Union

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQ")

PIECE = 1 << 20  # sentences of an index in memory at a time

# The codes of fairseq.data.indexed_dataset; 6 is a float type and cannot store tokens.
DTYPES: dict[int, Any] = {
    1: np.uint8,
    2: np.int8,
    3: np.int16,
    4: np.int32,
    5: np.int64,
    8: np.uint16,
    9: np.uint32,
    10: np.uint64,
}
CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items()}


def best_dtype(vocab_size: int) -> Any:
    """Return the dtype that fairseq-preprocess picks: uint16 below 65,500 types, else uint32."""
    return np.uint16 if vocab_size < 65500 else np.uint32


def index_path(prefix: PathLike) -> Path:
    """``train`` -> ``train.idx``."""
    return Path(f"{prefix}.idx")


def buffer_path(prefix: PathLike) -> Path:
    """``train`` -> ``train.bin``."""
    return Path(f"{prefix}.bin")


class TokenBuffer:
    """One binarized split: its concatenated tokens, with ``</s>`` after each sentence.

    Opening it reads a few bytes.

    Args:
        prefix: path without extension, e.g. ``data-bin/eng_Latn/train``.

    Attributes:
        dtype: numpy dtype of a stored token.
        num_sentences: sentences according to the index.
        num_tokens: tokens in the buffer, ``</s>`` included.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: the files are damaged or do not belong together.
    """

    def __init__(self, prefix: PathLike):
        self.prefix = Path(prefix)
        index, buffer = index_path(prefix), buffer_path(prefix)
        for path in (index, buffer):
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing; binarize this language again")
        remedy = "binarize this language again"
        with open(index, "rb") as stream:
            header = stream.read(HEADER.size)
            if len(header) < HEADER.size or header[:9] != MAGIC:
                raise ValueError(f"{index} is not an index of fairseq's mmap format; {remedy} (--dataset-impl mmap)")
            _, version, code, self.num_sentences = HEADER.unpack(header)
            if version != 1 or code not in DTYPES:
                raise ValueError(
                    f"{index} has version {version} and dtype code {code}, which fairseq never writes; {remedy}"
                )
            expected = HEADER.size + 12 * self.num_sentences
            if index.stat().st_size != expected:
                raise ValueError(
                    f"{index} must have {expected:,} bytes for {self.num_sentences:,} sentences, but has "
                    f"{index.stat().st_size:,}: it was cut off; {remedy}"
                )
            self.dtype = np.dtype(DTYPES[code])
            end = 0
            if self.num_sentences:
                stream.seek(HEADER.size + 4 * (self.num_sentences - 1))
                (last_size,) = struct.unpack("<i", stream.read(4))
                stream.seek(-8, 2)
                (last_offset,) = struct.unpack("<q", stream.read(8))
                end = last_offset + last_size * self.dtype.itemsize
        if buffer.stat().st_size != end:
            raise ValueError(
                f"{buffer} must have {end:,} bytes according to {index.name}, but has {buffer.stat().st_size:,}: one "
                f"of them is cut off or of another run; {remedy}"
            )
        self.num_tokens = end // self.dtype.itemsize

    def read(self, start: int, end: int) -> np.ndarray:
        """Return the tokens in a range, of shape ``(end - start,)`` and :attr:`dtype`.

        The file is read, not mapped: mapped pages would count as the process's memory, and a missing page (a file
        truncated during the run, a failing network file system) would kill the process without a message.

        Raises:
            ValueError: the file has become shorter.
        """
        size = (end - start) * self.dtype.itemsize
        # The name keeps the file open: between fileno() and pread() another thread may drop it from the cache, and its
        # number could then be that of another language's file.
        stream = _open(self)
        data = os.pread(stream.fileno(), size, start * self.dtype.itemsize)
        if len(data) != size:
            raise ValueError(f"{buffer_path(self.prefix)} was cut off while in use; binarize this language again")
        return np.frombuffer(data, dtype=self.dtype)

    def sizes(self) -> np.ndarray:
        """Sentence sizes in tokens, int32 of shape ``(num_sentences,)``; grows with the corpus."""
        return np.fromfile(index_path(self.prefix), dtype=np.int32, count=self.num_sentences, offset=HEADER.size)

    def check(self) -> None:
        """Read the complete index in pieces, and check that sentences are contiguous in the buffer.

        Raises:
            ValueError: they are not; the message names the file and the sentence.
        """
        if not self.num_sentences:
            return
        path = index_path(self.prefix)
        sizes = np.memmap(path, np.int32, "r", HEADER.size, (self.num_sentences,))
        offsets = np.memmap(path, np.int64, "r", HEADER.size + 4 * self.num_sentences, (self.num_sentences,))
        place = 0
        for start, piece in zip(range(0, self.num_sentences, PIECE), _pieces([sizes])):
            ends = place + np.cumsum(piece, dtype=np.int64) * self.dtype.itemsize
            wrong = np.flatnonzero(
                (offsets[start : start + PIECE] != np.concatenate([[place], ends[:-1]])) | (piece < 0)
            )
            if len(wrong):
                raise ValueError(
                    f"{path}: sentence {start + wrong[0] + 1:,} does not begin at the end of the previous one: the "
                    "index is damaged; binarize this language again"
                )
            place = int(ends[-1])


@lru_cache(maxsize=512)
def _open(buffer: TokenBuffer) -> BinaryIO:
    """Cache open files, fewer than the usual limit of 1,024 per process; evicted files are closed."""
    return open(buffer_path(buffer.prefix), "rb", buffering=0)


class StoredSizes:
    """Sentence sizes in a file, read in slices; no file stays open.

    Args:
        path: int32 numbers.
        count: number of sizes.
    """

    def __init__(self, path: PathLike, count: int):
        self.path, self.count = Path(path), count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, part: slice) -> np.ndarray:
        start, end, _ = part.indices(self.count)
        return np.fromfile(self.path, np.int32, end - start, offset=4 * start)


def write_index(path: PathLike, sizes: Sequence[Union[np.ndarray, StoredSizes]], dtype: Any) -> None:
    """Write a ``.idx`` file.

    Args:
        path: the file to write.
        sizes: tokens per sentence, in order, in one or more arrays; memory maps are read in pieces.
        dtype: numpy dtype of the tokens in the corresponding ``.bin`` file.
    """
    itemsize = np.dtype(dtype).itemsize
    with atomic_write(path, "wb") as stream:
        stream.write(HEADER.pack(MAGIC, 1, CODES[np.dtype(dtype)], sum(map(len, sizes))))
        for piece in _pieces(sizes):
            stream.write(piece.astype(np.int32).tobytes())
        offset = 0
        for piece in _pieces(sizes):
            ends = offset + np.cumsum(piece, dtype=np.int64) * itemsize
            stream.write(np.concatenate([[offset], ends[:-1]]).astype(np.int64).tobytes())
            offset = int(ends[-1])


def _pieces(arrays: Sequence[Union[np.ndarray, StoredSizes]]) -> Iterator[np.ndarray]:
    for array in arrays:
        for start in range(0, len(array), PIECE):
            yield array[start : start + PIECE]
