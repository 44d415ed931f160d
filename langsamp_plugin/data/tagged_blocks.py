"""Data set of all languages' blocks: maps positions to masked and tagged batches, in plain numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np
from numpy.typing import ArrayLike

from langsamp_plugin.data.hashing import key, to_unit
from langsamp_plugin.data.language_blocks import LanguageBlocks
from langsamp_plugin.data.masking import Masking, mask_batch
from langsamp_plugin.data.sampling import BlockSampler
from langsamp_plugin.lang_script import UNKNOWN_ID

# Stream identifiers of the counter-based random numbers; 1 and 2 belong to the sampler.
MASK_STREAM, TAG_DROPOUT_STREAM, TAG_SHUFFLE_STREAM = 3, 4, 7


class Block(NamedTuple):
    """One item of a batch before masking.

    Args:
        position: its position in the epoch.
        language: index into the dataset's languages.
        key: uint64, hash of (seed, epoch, tag, block, pass), the source of all its randomness.
        tokens: int64 of shape ``(length,)``, ``<s>`` first.
    """

    position: int
    language: int
    key: int
    tokens: np.ndarray


class MaskedBatch(NamedTuple):
    """A batch of blocks for a model.

    Args:
        source, target: int64 (B, T), as :func:`~langsamp_plugin.data.masking.mask_batch` returns them.
        lengths: int64 (B,), before padding.
        lang_ids, script_ids: int64 (B,), rows of the tables.
        tag_ids: int64 (B,), indices into the list of tags.
    """

    source: np.ndarray
    target: np.ndarray
    lengths: np.ndarray
    lang_ids: np.ndarray
    script_ids: np.ndarray
    tag_ids: np.ndarray


class TaggedBlocks:
    """Maps positions of an epoch to batches.

    Args:
        languages: the blocks of each language, none of them empty.
        tag_ids: index of each language in the list of tags.
        lang_ids, script_ids: row of each language in the tables.
        masking: parameters of the corruption.
        bos_id: id of ``<s>``, prepended to each block.
        seed: the run's seed.
        sampler: the order of an epoch; ``None`` uses every block once, language by language (validation).
        num_folders: number of data folders that epochs alternate between, to count the visits of this one.
        tag_dropout: probability that a block's tag is replaced by the unknown one.
        shuffle_tags: give each block the rows of a language drawn at random; ``tag_ids`` remain the true ones.
    """

    def __init__(
        self,
        languages: Sequence[LanguageBlocks],
        *,
        tag_ids: ArrayLike,
        lang_ids: ArrayLike,
        script_ids: ArrayLike,
        masking: Masking,
        bos_id: int,
        seed: int,
        sampler: Optional[BlockSampler] = None,
        num_folders: int = 1,
        tag_dropout: float = 0.0,
        shuffle_tags: bool = False,
    ):
        assert all(len(language) for language in languages)
        self.languages = list(languages)
        self.tag_ids = np.asarray(tag_ids, dtype=np.int64)
        self.lang_ids = np.asarray(lang_ids, dtype=np.int64)
        self.script_ids = np.asarray(script_ids, dtype=np.int64)
        self.keys = np.array([language.key for language in languages], dtype=np.uint64)
        self.masking = masking
        self.bos_id = bos_id
        self.seed = seed
        self.sampler = sampler
        self.num_folders = num_folders
        self.tag_dropout = tag_dropout
        self.shuffle_tags = shuffle_tags
        self._ends = np.cumsum([len(language) for language in languages], dtype=np.int64)

    def __len__(self) -> int:
        """Return the number of positions in an epoch."""
        if self.sampler is not None:
            return len(self.sampler)
        return int(self._ends[-1]) if len(self._ends) else 0

    def locate(self, positions: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Map positions of an epoch to ``(language, block, pass)``, int64 each."""
        if self.sampler is not None:
            return self.sampler.locate((epoch - 1) // self.num_folders, positions)
        language = np.searchsorted(self._ends, positions, side="right")
        starts = np.concatenate([np.zeros(1, np.int64), self._ends])
        return language, positions - starts[language], np.zeros_like(positions)

    def read(self, positions: Sequence[int], epoch: int) -> list[Block]:
        """Read the blocks at ``positions`` of an epoch, from 1."""
        if not len(positions):
            return []
        language, block, passes = self.locate(np.asarray(positions, dtype=np.int64), epoch)
        # The pass is included: a language that is upsampled within an epoch gets new masks in each pass.
        keys = key(self.seed, epoch, self.keys[language], block, passes)
        bos = np.array([self.bos_id], dtype=np.int64)
        return [
            Block(position, number, number_key, np.concatenate([bos, self.languages[number].block(number_block)]))
            for position, number, number_block, number_key in zip(
                positions, language.tolist(), block.tolist(), keys.tolist()
            )
        ]

    def batch(self, blocks: Sequence[Block]) -> MaskedBatch:
        """Pad, mask and tag blocks; at least one."""
        lengths = np.array([len(block.tokens) for block in blocks], dtype=np.int64)
        tokens = np.full((len(blocks), int(lengths.max())), self.masking.pad_id, dtype=np.int64)
        for row, block in zip(tokens, blocks):
            row[: len(block.tokens)] = block.tokens
        language = np.array([block.language for block in blocks], dtype=np.int64)
        keys = np.array([block.key for block in blocks], dtype=np.uint64)
        source, target = mask_batch(tokens, key(keys, MASK_STREAM), self.masking)
        tagged = language
        if self.shuffle_tags:
            tagged = (to_unit(key(keys, TAG_SHUFFLE_STREAM)) * len(self.languages)).astype(np.int64)
        lang_ids, script_ids = drop_tags(self.lang_ids[tagged], self.script_ids[tagged], keys, self.tag_dropout)
        return MaskedBatch(source, target, lengths, lang_ids, script_ids, self.tag_ids[language])


def drop_tags(
    lang_ids: np.ndarray, script_ids: np.ndarray, keys: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Replace both ids of a share of the rows by the unknown id, int64 (B,) each; ``keys``, uint64 (B,), select
    them."""
    if share <= 0.0:
        return lang_ids, script_ids
    dropped = to_unit(key(keys, TAG_DROPOUT_STREAM)) < share
    return np.where(dropped, UNKNOWN_ID, lang_ids), np.where(dropped, UNKNOWN_ID, script_ids)
