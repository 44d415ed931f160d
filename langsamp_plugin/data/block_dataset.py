"""Blocks of all languages as a fairseq dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fairseq.data import FairseqDataset

from langsamp_plugin.data.tagged_blocks import Block, TaggedBlocks


class BlockDataset(TaggedBlocks, FairseqDataset):
    """Maps positions of the current epoch to fairseq's batches; takes the arguments of :class:`TaggedBlocks`."""

    epoch = 1

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from 1, which determines order and masks."""
        self.epoch = epoch

    def __getitem__(self, position: int) -> Block:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[Block]:
        """Read the blocks at ``positions``; torch's DataLoader calls this with a complete batch."""
        return self.read(positions, self.epoch)

    def collater(self, samples: Sequence[Block]) -> dict[str, Any]:
        """Pad, mask and tag a batch.

        Returns:
            ``id`` (B,), ``nsentences``, ``ntokens``, ``target`` (B, T), ``tag_ids`` (B,), and ``net_input`` with
            ``src_tokens`` (B, T), ``src_lengths`` (B,), ``lang_ids`` (B,), ``script_ids`` (B,), all int64, and whether
            any row is ``padded``. ``masked`` contains, for the N positions to predict in row-major order, the ``index``
            into the flattened batch, the ``rows`` and the ``target``, int64 (N,); computing them on a GPU would require
            a synchronisation. Returns an empty dict for no samples, with which fairseq pads the last round of several
            workers.
        """
        if not samples:
            return {}
        batch = self.batch(samples)
        index = np.flatnonzero(batch.target.ravel() != self.masking.pad_id)
        return {
            "id": torch.tensor([sample.position for sample in samples], dtype=torch.long),
            "nsentences": len(samples),
            "ntokens": int(batch.lengths.sum()),
            "net_input": {
                "src_tokens": torch.from_numpy(batch.source),
                "src_lengths": torch.from_numpy(batch.lengths),
                "lang_ids": torch.from_numpy(batch.lang_ids),
                "script_ids": torch.from_numpy(batch.script_ids),
                "padded": bool(batch.lengths.min() < batch.lengths.max()),
            },
            "masked": {
                "index": torch.from_numpy(index),
                "rows": torch.from_numpy(index // batch.target.shape[1]),
                "target": torch.from_numpy(batch.target.ravel()[index]),
            },
            "target": torch.from_numpy(batch.target),
            "tag_ids": torch.from_numpy(batch.tag_ids),
        }

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """Return True: each epoch has a different order."""
        return False
