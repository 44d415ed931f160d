"""Binarized parallel text: ``<data-bin>/pairs/<tag>/<split>.{bin,idx,messages}`` and lists of sentences per message.

Each language has its sentences in fairseq's mmap format, as for blocks, and in ``.messages`` the message number of each
sentence (int64). ``<split>.offsets`` (int64, messages + 1) and ``<split>.entries`` (uint64, language in the upper 24
bits and row in the lower 40) list the sentences of each message. Opening a split reads a few bytes per language;
sentences are read on demand.
"""

from __future__ import annotations

import json
import os
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Optional

import numpy as np

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.data.token_buffer import HEADER, TokenBuffer, index_path
from langsamp_plugin.lang_script import LangScript

PAIRS_FOLDER = "pairs"
PAIRS_RECORD = "pairs.json"
ROW_BITS = 40


class PairSplit:
    """One split of the parallel text.

    Args:
        folder: ``<data-bin>/pairs``.
        split: ``train`` or ``valid``.
        types: token ids of the dictionary, ``<mask>`` included.
        dictionary: its digest; ``None`` compares only the number of token ids.

    Attributes:
        languages: the tags with sentences, in the order of ``entries``.
        counts: number of sentences of each language, int64 ``(languages,)``.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the folder is damaged or was made with another dictionary.
    """

    def __init__(self, folder: PathLike, split: str, types: int, dictionary: Optional[str] = None):
        self.folder, self.split = Path(folder), split
        self.types = types
        splits = read_record(self.folder, types, dictionary)["splits"]
        record = splits.get(split, {"languages": [], "messages": 0, "sentences": 0})
        self.languages = [LangScript.parse(tag) for tag in record["languages"]]
        self.num_messages = int(record["messages"])
        self.buffers = [TokenBuffer(self.folder / str(tag) / split) for tag in self.languages]
        self.counts = np.array([buffer.num_sentences for buffer in self.buffers], dtype=np.int64)
        sizes = {f"{tag}/{split}.messages": 8 * count for tag, count in zip(self.languages, self.counts.tolist())}
        if self.languages:
            sizes.update(
                {f"{split}.offsets": 8 * (self.num_messages + 1), f"{split}.entries": 8 * int(self.counts.sum())}
            )
        for name, size in sizes.items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != size:
                raise ValueError(
                    f"{path} must have {size:,} bytes, but is missing or cut off: binarize the pairs again"
                )

    def __len__(self) -> int:
        """Return the number of sentences."""
        return int(self.counts.sum())

    def message(self, language: int, row: int) -> int:
        """Return the message number of a sentence."""
        return int(self._read(self.folder / str(self.languages[language]) / f"{self.split}.messages", "<i8", row, 1)[0])

    def sentences(self, message: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(languages, rows)`` of all sentences of a message, both int64, sorted by language."""
        first, last = self._read(self.folder / f"{self.split}.offsets", "<i8", message, 2).tolist()
        entries = self._read(self.folder / f"{self.split}.entries", "<u8", first, last - first)
        languages = (entries >> np.uint64(ROW_BITS)).astype(np.int64)
        return languages, (entries & np.uint64(2**ROW_BITS - 1)).astype(np.int64)

    def tokens(self, language: int, row: int) -> np.ndarray:
        """Return the tokens of a sentence with ``</s>``, int64.

        Raises:
            ValueError: an id is not in the dictionary, or a file was cut off.
        """
        buffer = self.buffers[language]
        index = index_path(buffer.prefix)
        (size,) = struct.unpack("<i", _pread(index, 4, HEADER.size + 4 * row))
        (offset,) = struct.unpack("<q", _pread(index, 8, HEADER.size + 4 * buffer.num_sentences + 8 * row))
        start = offset // buffer.dtype.itemsize
        tokens = buffer.read(start, start + size).astype(np.int64)
        if tokens.size and (tokens.max() >= self.types or tokens.min() < 0):
            raise ValueError(
                f"{buffer.prefix}.bin has token id {tokens.max()} in sentence {row:,}: binarize the pairs again"
            )
        return tokens

    @staticmethod
    def _read(path: Path, dtype: str, start: int, count: int) -> np.ndarray:
        return np.frombuffer(_pread(path, 8 * count, 8 * start), dtype=dtype)


def read_record(folder: Path, types: int, dictionary: Optional[str] = None) -> dict[str, Any]:
    """Read the record that ``langsamp binarize --pairs`` wrote for a folder of pairs.

    Raises:
        FileNotFoundError: the folder has no record.
        ValueError: the record is damaged, or another dictionary was used.
    """
    path = folder / PAIRS_RECORD
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: make pairs with `langsamp pairs` and `langsamp binarize --pairs`")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        valid = isinstance(record["types"], int) and all(
            isinstance(split["messages"], int) and all(isinstance(tag, str) for tag in split["languages"])
            for split in record["splits"].values()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        valid = False
    if not valid:
        raise ValueError(f"{path} is damaged: binarize the pairs again")
    if record["types"] != types:
        raise ValueError(
            f"{folder} was binarized with a vocabulary of {record['types']:,} token ids, but dict.txt has {types:,}: "
            "binarize the pairs again"
        )
    if dictionary is not None and record.get("dictionary", dictionary) != dictionary:
        raise ValueError(
            f"{folder} was binarized with another vocabulary of {types:,} token ids than dict.txt: binarize the pairs "
            "again"
        )
    return dict(record)


def _pread(path: Path, size: int, offset: int) -> bytes:
    data = os.pread(_open(path).fileno(), size, offset)
    if len(data) != size:
        raise ValueError(f"{path} was cut off while in use: binarize the pairs again")
    return data


@lru_cache(maxsize=256)
def _open(path: Path) -> BinaryIO:
    """Cache open files, fewer than the usual limit of 1,024 per process; evicted files are closed."""
    return open(path, "rb", buffering=0)
