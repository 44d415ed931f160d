"""The training blocks of one language, cut out of its token buffers."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Optional

import numpy as np

from langsamp_plugin.data.token_buffer import TokenBuffer
from langsamp_plugin.lang_script import LangScript


class LanguageBlocks:
    """Monolingual blocks of at most ``block_size`` tokens, none lost and none twice.

    Break mode ``none`` cuts the buffer every ``block_size`` tokens; the last block of a buffer is short. It needs no
    index, so a language of any size costs a few bytes. The other modes are fairseq's (``complete``,
    ``complete_doc``, ``eos``) and read the sentence sizes; a sentence longer than a block, which fairseq would pass
    on as an over-long block, is cut.

    Args:
        tag: the language and script of every block.
        buffers: the parts of the split (``train``, ``train1``, ...); no block crosses from one part to the next.
        block_size: tokens per block without ``<s>``.
        break_mode: ``none``, ``complete``, ``complete_doc`` or ``eos``.
        pad_id, eos_id: ids that fairseq's cutting needs in the other modes.
        vocab_size: number of types; a block with a higher id raises.
    """

    def __init__(
        self,
        tag: LangScript,
        buffers: Sequence[TokenBuffer],
        block_size: int,
        break_mode: str,
        pad_id: int,
        eos_id: int,
        vocab_size: int,
    ):
        self.tag = tag
        self.key = int.from_bytes(blake2b(str(tag).encode(), digest_size=8).digest(), "little")
        self.buffers = list(buffers)
        self.block_size = block_size
        self.vocab_size = vocab_size
        self.num_sentences = sum(buffer.num_sentences for buffer in self.buffers)
        self.num_tokens = sum(buffer.num_tokens for buffer in self.buffers)
        self._slices: Optional[list[np.ndarray]] = None
        if break_mode == "none":
            blocks = [-(-buffer.num_tokens // block_size) for buffer in self.buffers]
        else:
            self._slices = [_slices(buffer, block_size, break_mode, pad_id, eos_id) for buffer in self.buffers]
            blocks = [len(slices) for slices in self._slices]
        self._ends = np.cumsum(blocks, dtype=np.int64)

    @property
    def num_short(self) -> int:
        """Blocks with fewer than ``block_size`` tokens: in mode none the last one of a buffer, if at all."""
        if self._slices is not None:
            return int((self.lengths() < self.block_size).sum())
        return sum(buffer.num_tokens % self.block_size != 0 for buffer in self.buffers)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def span(self, block: int) -> tuple[int, int, int]:
        """Return ``(buffer, start, end)`` of a block, in tokens."""
        part = int(np.searchsorted(self._ends, block, side="right"))
        inside = block - (int(self._ends[part - 1]) if part else 0)
        if self._slices is not None:
            start, end = self._slices[part][inside].tolist()
        else:
            start = inside * self.block_size
            end = min(start + self.block_size, self.buffers[part].num_tokens)
        return part, start, end

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
                f"{self.vocab_size:,} types: the file is damaged or was binarized with another dictionary; binarize it again"
            )
        return tokens

    def lengths(self) -> np.ndarray:
        """Return the length of every block without ``<s>``, int64 of shape ``(len(self),)``."""
        if self._slices is not None:
            return np.concatenate([slices[:, 1] - slices[:, 0] for slices in self._slices] or [np.empty(0, np.int64)])
        return np.array([end - start for _, start, end in map(self.span, range(len(self)))], dtype=np.int64)


def _slices(buffer: TokenBuffer, block_size: int, break_mode: str, pad_id: int, eos_id: int) -> np.ndarray:
    """Return the token ranges that fairseq cuts, int64 of shape ``(blocks, 2)``."""
    sizes = buffer.sizes().astype(np.int64)
    if not (sizes > 1).any():  # nothing but separators
        return np.empty((0, 2), dtype=np.int64)
    if break_mode == "eos":  # fairseq's own code for it does not run under numpy 2
        ends = np.cumsum(sizes)
        slices = np.stack([ends - sizes, ends], axis=1)
    else:
        from fairseq.data import TokenBlockDataset

        cut = TokenBlockDataset(sizes, sizes, block_size, pad=pad_id, eos=eos_id, break_mode=break_mode)
        slices = np.asarray(cut.slice_indices, dtype=np.int64)
    if len(slices) == 0 or (slices[:, 1] - slices[:, 0]).max() <= block_size:
        return slices
    pieces = [
        (start, min(start + block_size, end))
        for first, end in slices.tolist()
        for start in range(first, end, block_size)
    ]
    return np.array(pieces, dtype=np.int64)
