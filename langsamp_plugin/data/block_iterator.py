"""fairseq's epoch iterator over positions: keeps no list of batches in memory and resumes at an exact position.

1. The epoch is a range of positions, the same for every number of workers.
2. Batches are consecutive runs of positions; worker r of N takes batches r, r + N, r + 2N, ...
3. The state is the number of positions that all workers together have consumed. A resumed run continues there with any
    number of workers and any batch size, so each remaining block is used exactly once.
"""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Optional

import torch
from fairseq.data.iterators import CountingIterator, EpochBatchIterating

from langsamp_plugin.data.batches import PairedWorkerBatches, PositionBatches, WorkerBatches
from langsamp_plugin.data.block_dataset import BlockDataset
from langsamp_plugin.data.pair_batches import BlocksWithPairs, PairBatches
from langsamp_plugin.data.prefetching import PrefetchedBatches

OF_ONE_FOLDER = ("the data", "the sampling")
"""Parts of a fingerprint that may differ between the data folders of one run."""


class Loader(torch.utils.data.DataLoader):
    """A loader whose worker processes obey SIGTERM only from the process that reads from them.

    A SIGTERM from elsewhere may have been sent to all processes of a job; the data they have read is needed to finish
    the running update.
    """

    def __iter__(self) -> Any:
        """Start the processes with the signal blocked."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with(owner: int, worker: int) -> None:
    """Initialise a loader process: a thread checks the sender of each SIGTERM.

    Args:
        owner: the process that reads from it, not necessarily its parent.
        worker: number of the loader process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def watch() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != owner:
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


class EndableIterator(CountingIterator):
    """An iterator over batches that can end early.

    Args:
        source: the batches.
        total: number of batches.
        ended: called after each batch; True ends the iteration.
    """

    def __init__(self, source: Any, total: int, ended: Callable[[], bool]):
        super().__init__(source, start=0, total=total)
        self.ended = ended

    def has_next(self) -> bool:
        """Return whether there is another batch; the first one is always returned."""
        return super().has_next() and not (self.n > 0 and self.ended())


class BlockIterator(EpochBatchIterating):
    """The trainer's iterator over epochs.

    Args:
        dataset: the blocks.
        batch_size: blocks per batch, see :func:`langsamp_plugin.data.batches.blocks_per_batch`.
        num_shards, shard_id: number of data-parallel workers, and the index of this one.
        num_workers: number of loader processes.
        epoch: the first epoch, from 1.
        buffer_size: number of batches to prefetch.
        pin_memory: let the loader use pinned memory, for faster copies to a GPU.
        fingerprints: everything that the order depends on, by number of the data folder, from 0; stored, and compared
            on resume. It contains the dataset's own; those of other folders are added when they are read or resumed.
        part_of: returns the number of the data folder, or phase, of an epoch.
        ended: called after each batch; True ends the epoch there.
        pairs: makes the batches of parallel text for some updates; ``None`` for none.
        rounds_before: returns the number of complete rounds of earlier epochs from an epoch and the blocks per round;
            by default all epochs are as long as this one.
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
        pin_memory: bool = False,
        fingerprints: Optional[dict[int, dict[str, str]]] = None,
        part_of: Optional[Callable[[int], int]] = None,
        ended: Optional[Callable[[], bool]] = None,
        pairs: Optional[PairBatches] = None,
        rounds_before: Optional[Callable[[int, int], int]] = None,
    ):
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_shards, self.shard_id = num_shards, shard_id
        self.num_workers = num_workers
        self.buffer_size = buffer_size
        self.pin_memory = pin_memory
        self.fingerprints = {0: {}} if fingerprints is None else fingerprints
        self.part_of = part_of or _only_part
        self.ended = ended or _never
        self.pairs = pairs
        self.rounds_before = rounds_before or (lambda epoch, blocks: (epoch - 1) * (len(dataset) // blocks))
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
        """A batch for workers without remaining data."""
        return self.dataset.collater(self.dataset.__getitems__(self._batches()[0]))

    @property
    def next_epoch_idx(self) -> int:
        """Return the epoch that :meth:`next_epoch_itr` starts."""
        if self._resumed is None and self._current is not None and self.end_of_epoch():
            return self.epoch + 1
        return self.epoch

    @property
    def iterations_in_epoch(self) -> int:
        """Rounds consumed in the current epoch, including those before a restart."""
        iterator = self._current if self._resumed is None else self._resumed
        return self._rounds_before + iterator.n if iterator is not None else 0

    n = iterations_in_epoch

    def next_epoch_itr(
        self, shuffle: bool = True, fix_batches_to_gpus: bool = False, set_dataset_epoch: bool = True
    ) -> CountingIterator:
        """Start the next epoch, or continue a resumed one.

        The sampler determines the order: fairseq's ``shuffle`` and ``fix_batches_to_gpus`` have no effect.
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
        dataset: Any = self.dataset
        batches = WorkerBatches(self._running, self.num_shards, self.shard_id)
        if self.pairs is not None:
            dataset = BlocksWithPairs(self.dataset, self.pairs)
            batches = PairedWorkerBatches(
                self._running,
                self.num_shards,
                self.shard_id,
                pairs=self.pairs,
                rounds_before=self.rounds_before(self.epoch, self.batch_size * self.num_shards),
            )
        # After a restart the iterator counts from 0 again: fairseq groups rounds by --update-freq, which may change.
        loader = Loader(
            dataset,
            collate_fn=dataset.collater,
            batch_sampler=batches,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            worker_init_fn=partial(end_with, os.getpid()),
        )
        source = PrefetchedBatches(self.buffer_size, loader) if self.buffer_size > 0 and len(loader) else loader
        return EndableIterator(source, len(loader), self.ended)

    def end_of_epoch(self) -> bool:
        """Return whether the current epoch is consumed."""
        return self._current is not None and not self._current.has_next()

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the data; equal on all workers."""
        fingerprints = {str(folder): found for folder, found in sorted(self.fingerprints.items())}
        state = {"version": 2, "shuffle": True, "fingerprints": fingerprints}
        if self.end_of_epoch():
            return {**state, "epoch": self.epoch + 1, "iterations_in_epoch": 0, "consumed": 0}
        rounds, consumed = self.iterations_in_epoch, 0
        if rounds:
            consumed = self._running.consumed((rounds - self._rounds_before) * self.num_shards)
        return {**state, "epoch": self.epoch, "iterations_in_epoch": rounds, "consumed": consumed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Move to the position at which another run stopped.

        Raises:
            ValueError: the data or the sampling differ from those of the other run.
        """
        if "consumed" not in state_dict:  # from another task, or a starting checkpoint
            if state_dict.get("iterations_in_epoch", 0):
                raise ValueError(
                    "the checkpoint is in the middle of another task's data: start from it with --reset-dataloader"
                )
            self.epoch = state_dict["epoch"]
            self.dataset.set_epoch(self.epoch)
            return
        self._compare(state_dict)
        self.epoch = state_dict["epoch"]
        self.dataset.set_epoch(self.epoch)
        self._current = self._resumed = None
        if state_dict["consumed"]:
            self._resumed = self._iterator(state_dict["consumed"], state_dict["iterations_in_epoch"])

    def _compare(self, state_dict: dict[str, Any]) -> None:
        """Raise ``ValueError`` if a position in the data has another meaning here; store other fingerprints."""
        folder = self.part_of(state_dict["epoch"])
        known = {int(number): found for number, found in state_dict.get("fingerprints", {}).items()}
        if "fingerprint" in state_dict:  # from the first version: that of the last epoch with an update
            known = {self.part_of(state_dict["epoch"] - (not state_dict["consumed"])): state_dict["fingerprint"]}
        now = self.fingerprints[folder]
        # A folder not yet visited shares everything except its data with the others.
        then = known.get(folder) or {
            name: value for found in known.values() for name, value in found.items() if name not in OF_ONE_FOLDER
        }
        names = {*then, *now} if folder in known and "fingerprints" in state_dict else {*then}
        changed = [
            f"{name} was {then.get(name)}, is now {now.get(name)}"
            for name in sorted(names)
            if then.get(name) != now.get(name)
        ]
        if state_dict.get("break_mode", "none") != "none":
            changed.append(f"--sample-break-mode was {state_dict['break_mode']}, is now none")
        if changed:
            raise ValueError(
                "cannot continue in the middle of other data: "
                + "; ".join(changed)
                + ". To start on the new data from these weights, add --reset-dataloader, and where a table changed "
                "--reset-optimizer"
            )
        self.fingerprints.update({number: found for number, found in known.items() if number not in self.fingerprints})


def _only_part(epoch: int) -> int:
    return 0


def _never() -> bool:
    return False
