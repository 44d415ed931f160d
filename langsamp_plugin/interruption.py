"""Handles SIGINT, SIGTERM and SIGHUP alike: partial output is removed and one line is printed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Optional

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
REPEAT_S = 1.0
"""A signal that repeats within this time is the same one: terminals and job managers send it to every process, and a
wrapper forwards it to a child that has already received it."""


class InterruptedBySignal(BaseException):
    """A signal was received. Not an ``Exception``, so that no handler treats it as an error and continues.

    Args:
        number: number of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status by the convention of shells."""
        return 128 + self.number

    def __str__(self) -> str:
        how = "interrupted" if self.number == signal.SIGINT else f"ended by {signal.Signals(self.number).name}"
        return f"{how}; run the same command again to resume"


def end_at_once() -> None:
    """Let signals end the process with one line, while modules are imported and nothing has been written."""

    def end(number: int, frame: Optional[FrameType]) -> None:
        os.write(2, f"langsamp: {InterruptedBySignal(number)}\n".encode())
        os._exit(128 + number)

    _set(end)


@contextmanager
def signals_raised() -> Iterator[None]:
    """In the block, let the first signal raise :class:`InterruptedBySignal`; a later one ends the process at once.

    Signals that the parent ignores stay ignored, as with ``nohup`` and SIGHUP.
    """
    first: list[float] = []

    def interrupt(number: int, frame: Optional[FrameType]) -> None:
        if not first:
            first.append(time.monotonic())
            raise InterruptedBySignal(number)
        if time.monotonic() - first[0] > REPEAT_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before = _set(interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _set(handler: Any) -> dict[int, Any]:
    """Set a handler for each signal that is not ignored, and return the previous handlers."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    return before


def started_as_command() -> bool:
    """Return whether this process is the ``langsamp`` command, not a program that imports the package."""
    return os.path.basename(sys.argv[0]) == "langsamp" if sys.argv else False
