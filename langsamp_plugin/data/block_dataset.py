"""Blocks of all languages as one fairseq dataset: positions in, masked and tagged batches out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from fairseq.data import FairseqDataset
from numpy.typing import ArrayLike

from langsamp_plugin.data.hashing import key, to_unit
from langsamp_plugin.data.language_blocks import LanguageBlocks
from langsamp_plugin.data.masking import Masking, mask_batch
from langsamp_plugin.data.sampling import BlockSampler
from langsamp_plugin.lang_script import UNKNOWN_ID

# Names of streams of random numbers; 1 and 2 are the sampler's.
_MASK, _TAG_DROPOUT = 3, 4


class Block(NamedTuple):
    """One item of a batch before masking.

    Args:
        position: where it stands in the epoch.
        language: index into the dataset's languages.
        key: uint64, the hash of (seed, epoch, tag, block, pass) that all its randomness comes from.
        tokens: int64 of shape ``(length,)``, ``<s>`` first.
    """

    position: int
    language: int
    key: int
    tokens: np.ndarray


class BlockDataset(FairseqDataset):
    """Maps positions of an epoch to batches.

    Args:
        languages: the blocks of each language; none of them empty.
        tag_ids: per language its index in the task's list of tags.
        lang_ids, script_ids: per language its row in the tables.
        masking: how a batch is corrupted.
        bos_id: id of ``<s>``, put before each block.
        seed: the run's seed.
        sampler: the order of an epoch; ``None`` is every block once, language after language (validation).
        num_folders: data folders that epochs take turns with, to know how often this one was visited.
        tag_dropout: probability that a block's tag is replaced by the unknown one.
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
        self.epoch = 1
        self._ends = np.cumsum([len(language) for language in languages], dtype=np.int64)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 1, whose order and masks are given out."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of positions in an epoch."""
        if self.sampler is not None:
            return len(self.sampler)
        return int(self._ends[-1]) if len(self._ends) else 0

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Map positions of the current epoch to ``(language, block, pass)``, int64 each."""
        if self.sampler is not None:
            return self.sampler.locate((self.epoch - 1) // self.num_folders, positions)
        language = np.searchsorted(self._ends, positions, side="right")
        starts = np.concatenate([np.zeros(1, np.int64), self._ends])
        return language, positions - starts[language], np.zeros_like(positions)

    def __getitem__(self, position: int) -> Block:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[Block]:
        """Read the blocks at ``positions``; torch's DataLoader calls this with a whole batch."""
        if not len(positions):
            return []
        language, block, passes = self.locate(np.asarray(positions, dtype=np.int64))
        # The pass is part of it: a language that is upsampled within an epoch is masked anew each time.
        keys = key(self.seed, self.epoch, self.keys[language], block, passes)
        bos = np.array([self.bos_id], dtype=np.int64)
        return [
            Block(position, number, number_key, np.concatenate([bos, self.languages[number].block(number_block)]))
            for position, number, number_block, number_key in zip(
                positions, language.tolist(), block.tolist(), keys.tolist()
            )
        ]

    def collater(self, samples: Sequence[Block]) -> dict[str, Any]:
        """Pad, mask and tag a batch.

        Returns:
            ``id`` (B,), ``nsentences``, ``ntokens``, ``target`` (B, T), ``tag_ids`` (B,), and ``net_input`` with
            ``src_tokens`` (B, T), ``src_lengths`` (B,), ``lang_ids`` (B,), ``script_ids`` (B,), all int64;
            an empty dict for no samples, which is how fairseq pads the last round of several workers.
        """
        if not samples:
            return {}
        lengths = np.array([len(sample.tokens) for sample in samples], dtype=np.int64)
        tokens = np.full((len(samples), int(lengths.max())), self.masking.pad_id, dtype=np.int64)
        for row, sample in zip(tokens, samples):
            row[: len(sample.tokens)] = sample.tokens
        language = np.array([sample.language for sample in samples], dtype=np.int64)
        keys = np.array([sample.key for sample in samples], dtype=np.uint64)
        source, target = mask_batch(tokens, key(keys, _MASK), self.masking)
        lang_ids, script_ids = self.lang_ids[language], self.script_ids[language]
        if self.tag_dropout > 0.0:
            dropped = to_unit(key(keys, _TAG_DROPOUT)) < self.tag_dropout
            lang_ids = np.where(dropped, UNKNOWN_ID, lang_ids)
            script_ids = np.where(dropped, UNKNOWN_ID, script_ids)
        return {
            "id": torch.tensor([sample.position for sample in samples], dtype=torch.long),
            "nsentences": len(samples),
            "ntokens": int(lengths.sum()),
            "net_input": {
                "src_tokens": torch.from_numpy(source),
                "src_lengths": torch.from_numpy(lengths),
                "lang_ids": torch.from_numpy(lang_ids),
                "script_ids": torch.from_numpy(script_ids),
            },
            "target": torch.from_numpy(target),
            "tag_ids": torch.from_numpy(self.tag_ids[language]),
        }

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """Each epoch has an order of its own."""
        return False
