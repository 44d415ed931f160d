"""The replacement rules with which a SentencePiece model normalises text.

They are stored as a double-array trie: its size, its units, then the replacements, each terminated by a zero byte. At
each position of a text the longest matching key is replaced; a character that starts no key is kept.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterator

import numpy as np

JOINERS = "\u200c\u200d\uff9e\uff9f"
"""Characters that attach to the preceding one although they are not combining marks: joiners, halfwidth voicing
marks."""


def is_mark(character: str) -> bool:
    """Return whether a character can attach to the one before it."""
    return unicodedata.category(character)[0] == "M" or character in JOINERS


def read_rules(charsmap: bytes) -> dict[str, str]:
    """Return key -> replacement, for keys of one character and keys whose other characters are marks.

    The 200,000 sequences of Hangul letters are omitted because Unicode's composition covers all of them.

    Args:
        charsmap: ``precompiled_charsmap`` of a model; empty if the model replaces nothing.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return dict(_walk(charsmap)) if charsmap else {}
    except (struct.error, IndexError, ValueError) as error:
        raise ValueError(f"the normaliser of the SentencePiece model is damaged: {error}") from error


def _walk(charsmap: bytes) -> Iterator[tuple[str, str]]:
    (size,) = struct.unpack("<I", charsmap[:4])
    units = np.frombuffer(charsmap[4 : 4 + size], "<u4").astype(np.int64)
    texts = charsmap[4 + size :]
    labels = units & ((1 << 31) | 0xFF)
    letters = np.arange(1, 256)
    prefixes = _mark_prefixes()
    level = [(0, b"", b"")]  # node, the characters that are complete, the bytes of the next one
    while level:
        deeper = []
        for node, done, part in level:
            base = node ^ _offset(int(units[node]))
            targets = base ^ letters
            there = targets < len(units)
            for letter in letters[there][labels[targets[there]] == letters[there]].tolist():
                child, longer = int(base ^ letter), part + bytes([letter])
                if done and longer not in prefixes:
                    continue
                unit = int(units[child])
                complete = len(longer) == _length(longer[0])
                if unit >> 8 & 1:
                    start = int(units[child ^ _offset(unit)]) & 0x7FFFFFFF
                    yield (done + longer).decode(), texts[start : texts.index(b"\0", start)].decode()
                deeper.append((child, done + longer if complete else done, b"" if complete else longer))
        level = deeper


def _offset(unit: int) -> int:
    """Return the offset of a node's children, unpacked as the darts-clone library stores it."""
    return (unit >> 10) << ((unit & (1 << 9)) >> 6)


def _length(first: int) -> int:
    """Return the length in bytes of a UTF-8 character, from its first byte."""
    return 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


def _mark_prefixes() -> set[bytes]:
    encoded = (chr(code).encode() for code in range(0x300, 0x20000) if code >> 11 != 27 and is_mark(chr(code)))
    return {word[:length] for word in encoded for length in range(1, len(word) + 1)}
