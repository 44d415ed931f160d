"""Prefetches batches in a thread, like fairseq, but ends the thread before the interpreter exits.

fairseq does not stop its thread at the end of the process. If the thread is inside torch at that moment, CPython
unwinds it through C++ code that must not be unwound: a finished run then aborts ("terminate called without an active
exception") with the status of a failure.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any

from fairseq.data.iterators import BufferedIterator

PATIENCE = 10.0
"""Seconds to wait at the end of a process for a batch that is being made."""


class _UntilClosed:
    """The batches of a loader, until ``closed`` is set."""

    def __init__(self, loader: Any):
        self.loader, self.closed = loader, threading.Event()

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            if self.closed.is_set():
                return
            yield batch


class PrefetchedBatches(BufferedIterator):
    """fairseq's ``BufferedIterator`` with a thread that ends when the iterator is dropped and at the end of the
    process.

    Args:
        size: number of batches to hold.
        loader: a sized iterable of batches.
    """

    def __init__(self, size: int, loader: Any):
        source = _UntilClosed(loader)
        super().__init__(size, source)
        self._threads: list[threading.Thread] = []
        self.close = weakref.finalize(self, _end, source.closed, self._queue, self._threads)

    def _create_consumer(self) -> None:
        super()._create_consumer()
        self._threads.append(self._consumer)


def _end(closed: threading.Event, batches: queue.Queue, threads: list[threading.Thread]) -> None:
    """End the thread, which may be waiting for room in the queue or making a batch."""
    closed.set()
    for thread in threads:
        step = PATIENCE / 200
        for _ in range(200):
            if thread is threading.current_thread() or not thread.is_alive():
                break
            while not batches.empty():
                batches.get_nowait()
            thread.join(step)
