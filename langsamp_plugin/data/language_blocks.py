"""The training blocks of one language, cut from its token buffers."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from langsamp_plugin.data.token_buffer import TokenBuffer
from langsamp_plugin.lang_script import LangScript


def language_key(tag: LangScript) -> int:
    """Return a stable 64-bit number of a tag, which determines the order of its text."""
    return int.from_bytes(blake2b(str(tag).encode(), digest_size=8).digest(), "little")


class LanguageBlocks:
    """Monolingual blocks of at most ``block_size`` tokens that cover every token exactly once.

    The buffer is cut every ``block_size`` tokens; the last block of a buffer can be shorter. This needs no index, so a
    language of any size needs a few bytes of memory.

    Args:
        tag: the language and script of every block.
        buffers: the parts of the split (``train``, ``train1``, ...); no block crosses from one part to the next.
        block_size: tokens per block without ``<s>``.
        vocab_size: number of types; reading a block with a higher id raises.
    """

    def __init__(self, tag: LangScript, buffers: Sequence[TokenBuffer], *, block_size: int, vocab_size: int):
        self.tag = tag
        self.key = language_key(tag)
        self.buffers = list(buffers)
        self.block_size = block_size
        self.vocab_size = vocab_size
        self.num_sentences = sum(buffer.num_sentences for buffer in self.buffers)
        self.num_tokens = sum(buffer.num_tokens for buffer in self.buffers)
        self._ends = np.cumsum([-(-buffer.num_tokens // block_size) for buffer in self.buffers], dtype=np.int64)

    @property
    def num_short(self) -> int:
        """Number of blocks with fewer than ``block_size`` tokens, at most one per buffer."""
        return sum(buffer.num_tokens % self.block_size != 0 for buffer in self.buffers)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def span(self, block: int) -> tuple[int, int, int]:
        """Return ``(buffer, start, end)`` of a block, in tokens."""
        part = int(np.searchsorted(self._ends, block, side="right"))
        start = (block - (int(self._ends[part - 1]) if part else 0)) * self.block_size
        return part, start, min(start + self.block_size, self.buffers[part].num_tokens)

    def block(self, block: int) -> np.ndarray:
        """Return the tokens of a block, int64 of shape ``(length,)``, ``length <= block_size``.

        Raises:
            ValueError: an id is not in the dictionary.
        """
        part, start, end = self.span(block)
        buffer = self.buffers[part]
        tokens = buffer.read(start, end).astype(np.int64)
        if tokens.size and (tokens.max() >= self.vocab_size or tokens.min() < 0):
            raise ValueError(
                f"{buffer.prefix}.bin has token id {tokens.max()} near token {start:,}, but the dictionary has "
                f"{self.vocab_size:,} types: the file is damaged or was binarized with another dictionary; "
                "binarize it again"
            )
        return tokens
