"""Batches of an epoch's positions, distributed over data-parallel workers and created on demand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Optional

import torch

from langsamp_plugin.data.pair_batches import PairBatches, Request


class PositionBatches:
    """Batches of consecutive positions, created on demand.

    Args:
        start, stop: the range of positions.
        batch_size: positions per batch; the last batch may be smaller.
    """

    def __init__(self, start: int, stop: int, batch_size: int):
        self.start, self.stop, self.batch_size = start, stop, batch_size

    def __len__(self) -> int:
        return max(0, math.ceil((self.stop - self.start) / self.batch_size))

    def __getitem__(self, number: int) -> list[int]:
        first = self.start + number * self.batch_size
        return list(range(first, min(first + self.batch_size, self.stop)))

    def consumed(self, number: int) -> int:
        """Return the position at which the first ``number`` batches end."""
        return min(self.start + number * self.batch_size, self.stop)


class WorkerBatches(torch.utils.data.Sampler):
    """The batches of one worker; the last round is padded with empty batches, which fairseq runs as dummies."""

    def __init__(self, batches: PositionBatches, num_shards: int, shard_id: int):
        self.batches, self.num_shards, self.shard_id = batches, num_shards, shard_id

    def __len__(self) -> int:
        return math.ceil(len(self.batches) / self.num_shards)

    def __iter__(self) -> Iterator[Sequence[int]]:
        for step in range(len(self)):
            number = step * self.num_shards + self.shard_id
            yield self.batches[number] if number < len(self.batches) else []


class PairedWorkerBatches(WorkerBatches):
    """Batches of one worker with pairs in scheduled rounds; a round in which a worker has no blocks has no pairs.

    Args:
        batches, num_shards, shard_id: as for :class:`WorkerBatches`.
        pairs: the pairs with their schedule.
        rounds_before: number of complete rounds in earlier epochs. Counting over the run keeps the share exact, however
            short an epoch is, and lets pairs continue where the previous epoch stopped, however long that was.
    """

    def __init__(
        self, batches: PositionBatches, num_shards: int, shard_id: int, *, pairs: PairBatches, rounds_before: int
    ):
        super().__init__(batches, num_shards, shard_id)
        self.schedule = pairs.schedule
        self.rounds_before = rounds_before

    def __iter__(self) -> Iterator[Request]:  # type: ignore[override]
        blocks_a_round = self.batches.batch_size * self.num_shards
        for step, positions in enumerate(super().__iter__()):
            first = self.batches.start + step * blocks_a_round
            places = None
            if first + blocks_a_round <= self.batches.stop:
                number = self.rounds_before + first // blocks_a_round
                places = self.schedule.places(number, self.shard_id, self.num_shards)
            yield Request(positions, places or ())


def blocks_per_batch(
    tokens_per_sample: int, max_tokens: Optional[int], max_sentences: Optional[int], multiple: int = 1
) -> int:
    """Return how many full blocks fit into a batch, rounded down to the multiple as in fairseq.

    Args:
        tokens_per_sample: length of a full block with ``<s>``.
        max_tokens, max_sentences, multiple: limits of a batch, as in fairseq.

    Raises:
        ValueError: there is no limit, or not even one block fits.
    """
    if not max_tokens and not max_sentences:
        raise ValueError("give the size of a batch: --batch-size or --max-tokens")
    limits = [limit for limit in (max_sentences, max_tokens and max_tokens // tokens_per_sample) if limit is not None]
    size = min(limits)
    if size < 1:
        raise ValueError(f"--max-tokens must be >= --tokens-per-sample ({tokens_per_sample}), but is {max_tokens}")
    return max(multiple * (size // multiple), size % multiple)
