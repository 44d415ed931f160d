"""Fairseq's epoch iterator over positions: no list of batches in memory, and an exact place to resume at.

1. The epoch is a range of positions, the same for every number of workers.
2. Batches are consecutive runs of positions; worker r of N takes batches r, r + N, r + 2N, ...
3. The state is the number of positions that all workers together have consumed. A resumed run starts its batches
   there, with any number of workers and any batch size, so each remaining block comes exactly once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import torch
from fairseq.data.iterators import BufferedIterator, CountingIterator, EpochBatchIterating

from langsamp_plugin.data.block_dataset import BlockDataset


class PositionBatches:
    """Batches of consecutive positions; a batch is made when it is asked for.

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
    """The batches of one worker; the last round is filled with empty batches, which fairseq runs as dummies."""

    def __init__(self, batches: PositionBatches, num_shards: int, shard_id: int):
        self.batches, self.num_shards, self.shard_id = batches, num_shards, shard_id

    def __len__(self) -> int:
        return math.ceil(len(self.batches) / self.num_shards)

    def __iter__(self) -> Iterator[Sequence[int]]:
        for step in range(len(self)):
            number = step * self.num_shards + self.shard_id
            yield self.batches[number] if number < len(self.batches) else []


class BlockIterator(EpochBatchIterating):
    """What the trainer iterates over, epoch after epoch.

    Args:
        dataset: the blocks.
        batch_size: blocks of a batch, see :func:`blocks_per_batch`.
        num_shards, shard_id: data-parallel workers, and which one this is.
        num_workers: loader processes.
        epoch: the first epoch, from 1.
        buffer_size: batches to keep ready.
        fingerprint: what the order depends on; stored, and compared on resume.
    """

    def __init__(
        self,
        dataset: BlockDataset,
        *,
        batch_size: int,
        num_shards: int = 1,
        shard_id: int = 0,
        num_workers: int = 0,
        epoch: int = 1,
        buffer_size: int = 0,
        fingerprint: Optional[dict[str, str]] = None,
    ):
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_shards, self.shard_id = num_shards, shard_id
        self.num_workers = num_workers
        self.buffer_size = buffer_size
        self.fingerprint = fingerprint or {}
        self.epoch = max(epoch, 1)
        self._current: Optional[CountingIterator] = None
        self._resumed: Optional[CountingIterator] = None
        self._rounds_before = 0

    def _batches(self, start: int = 0) -> PositionBatches:
        return PositionBatches(start, len(self.dataset), self.batch_size)

    def __len__(self) -> int:
        """Return the number of rounds in an epoch."""
        return math.ceil(len(self._batches()) / self.num_shards)

    @property
    def first_batch(self) -> dict[str, Any]:
        """A batch for workers that have run out of data."""
        return self.dataset.collater(self.dataset.__getitems__(self._batches()[0]))

    @property
    def next_epoch_idx(self) -> int:
        """Return the epoch that :meth:`next_epoch_itr` starts."""
        if self._resumed is None and self._current is not None and self.end_of_epoch():
            return self.epoch + 1
        return self.epoch

    @property
    def iterations_in_epoch(self) -> int:
        """Rounds consumed in the current epoch, those before a restart included."""
        iterator = self._current if self._resumed is None else self._resumed
        return self._rounds_before + iterator.n if iterator is not None else 0

    n = iterations_in_epoch

    def next_epoch_itr(
        self, shuffle: bool = True, fix_batches_to_gpus: bool = False, set_dataset_epoch: bool = True
    ) -> CountingIterator:
        """Start the next epoch, or continue a resumed one.

        The order is the sampler's: fairseq's ``shuffle`` and ``fix_batches_to_gpus`` have nothing to decide.
        """
        self.epoch = self.next_epoch_idx
        if set_dataset_epoch:
            self.dataset.set_epoch(self.epoch)
        if self._resumed is not None:
            self._current, self._resumed = self._resumed, None
        else:
            self._current = self._iterator(start=0, rounds_before=0)
        return self._current

    def _iterator(self, start: int, rounds_before: int) -> CountingIterator:
        self._running = self._batches(start)
        self._rounds_before = rounds_before
        # The iterator counts from 0 also after a restart: fairseq groups rounds by --update-freq, which may change.
        loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
            self.dataset,
            collate_fn=self.dataset.collater,
            batch_sampler=WorkerBatches(self._running, self.num_shards, self.shard_id),
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )
        source = BufferedIterator(self.buffer_size, loader) if self.buffer_size > 0 and len(loader) else loader
        return CountingIterator(source, start=0, total=len(loader))

    def end_of_epoch(self) -> bool:
        """Return whether the current epoch is consumed."""
        return self._current is not None and not self._current.has_next()

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the data; the same on all workers."""
        state = {"version": 2, "shuffle": True, "fingerprint": self.fingerprint}
        if self.end_of_epoch():
            return {**state, "epoch": self.epoch + 1, "iterations_in_epoch": 0, "consumed": 0}
        rounds, consumed = self.iterations_in_epoch, 0
        if rounds:
            consumed = self._running.consumed((rounds - self._rounds_before) * self.num_shards)
        return {**state, "epoch": self.epoch, "iterations_in_epoch": rounds, "consumed": consumed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the place where another run stopped.

        Raises:
            ValueError: the data or the sampling are not those of the other run.
        """
        if "consumed" not in state_dict:  # of another task, or a starting checkpoint
            if state_dict.get("iterations_in_epoch", 0):
                raise ValueError(
                    "the checkpoint stands in the middle of another task's data; start from it with --reset-dataloader"
                )
            self.epoch = state_dict["epoch"]
            self.dataset.set_epoch(self.epoch)
            return
        then, now = state_dict["fingerprint"], self.fingerprint
        changed = [
            f"{name} was {then.get(name)}, is now {now.get(name)}"
            for name in sorted({*then, *now})
            if then.get(name) != now.get(name)
        ]
        if changed:
            raise ValueError(
                "cannot go on in the middle of other data: "
                + "; ".join(changed)
                + ". To start on the new data from these weights, add --reset-dataloader, and where a table changed "
                "--reset-optimizer"
            )
        self.epoch = state_dict["epoch"]
        self.dataset.set_epoch(self.epoch)
        self._current = self._resumed = None
        if state_dict["consumed"]:
            self._resumed = self._iterator(state_dict["consumed"], state_dict["iterations_in_epoch"])


def blocks_per_batch(
    tokens_per_sample: int, max_tokens: Optional[int], max_sentences: Optional[int], multiple: int = 1
) -> int:
    """Return how many full blocks fit into a batch, rounded down to the multiple as fairseq does it.

    Args:
        tokens_per_sample: length of a full block with ``<s>``.
        max_tokens, max_sentences, multiple: limits of a batch, as in fairseq.

    Raises:
        ValueError: there is no limit, or not one block fits.
    """
    if not max_tokens and not max_sentences:
        raise ValueError("give the size of a batch: --batch-size or --max-tokens")
    limits = [limit for limit in (max_sentences, max_tokens and max_tokens // tokens_per_sample) if limit is not None]
    size = min(limits)
    if size < 1:
        raise ValueError(f"--max-tokens must be >= --tokens-per-sample ({tokens_per_sample}), but is {max_tokens}")
    return max(multiple * (size // multiple), size % multiple)
