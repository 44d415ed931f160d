"""Worker processes, and a progress bar that is also readable in a cluster's log."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Callable, Optional, TypeVar

from tqdm import tqdm

from langsamp_plugin.interruption import SIGNALS

T = TypeVar("T")
PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def progress(items: Optional[Iterable[T]] = None, **options: Any) -> tqdm[T]:
    """Return tqdm's bar; without a terminal it starts after half a minute and prints twice per minute.

    Args:
        items: the items to iterate over; without them, call ``update``.
        **options: options of ``tqdm``, such as ``total``, ``desc`` and ``unit``.
    """
    quiet = {} if sys.stderr.isatty() else {"delay": 30, "mininterval": 30}
    return tqdm(items, **quiet, **options)


@contextmanager
def parallel(
    workers: int,
) -> Iterator[Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]]:
    """Yield a function that maps over items in ``workers`` processes, results as they complete.

    With one worker, everything runs in this process, so tracebacks and debuggers work.

    Args:
        workers: number of processes.

    Raises:
        ChildProcessError: a worker was killed from outside.
    """
    if workers == 1:
        yield map
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _follow_the_parent)

    def run(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for future in as_completed([pool.submit(function, item) for item in items]):
            yield future.result()

    try:
        yield run
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process was killed, most likely because memory ran out: run again with fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_the_parent() -> None:
    """Leave signals to the parent, which lets started work finish; die if the parent is killed."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
