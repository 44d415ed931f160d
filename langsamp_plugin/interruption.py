"""SIGINT, SIGTERM and SIGHUP end a command in the same way: what is half-written is removed, one line is printed."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType
from typing import Optional

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
REPEAT_S = 1.0
"""A signal that comes again within this time is the same one: terminals and job managers send it to every process, and
a wrapper passes on what its child has got already."""


class InterruptedBySignal(BaseException):
    """A signal came. Not an ``Exception``: nobody on the way shall take it for an error and go on.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status, as shells count it."""
        return 128 + self.number

    def __str__(self) -> str:
        how = "interrupted" if self.number == signal.SIGINT else f"ended by {signal.Signals(self.number).name}"
        return f"{how}; run the same command again to resume"


def end_at_once() -> None:
    """Let signals end the process with one line, for as long as nothing is written: while modules are imported."""

    def end(number: int, frame: Optional[FrameType]) -> None:
        os.write(2, f"langsamp: {InterruptedBySignal(number)}\n".encode())
        os._exit(128 + number)

    _set(end)


def raise_when_signalled() -> None:
    """Let the first signal raise :class:`InterruptedBySignal`; one that comes later ends the process at once.

    Signals that the parent ignores, as ``nohup`` does with SIGHUP, stay ignored.
    """
    first: list[float] = []

    def interrupt(number: int, frame: Optional[FrameType]) -> None:
        if not first:
            first.append(time.monotonic())
            raise InterruptedBySignal(number)
        if time.monotonic() - first[0] > REPEAT_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    _set(interrupt)


def _set(handler: object) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]


def started_as_command() -> bool:
    """Return whether this process is the ``langsamp`` command, and not a program that imports the package."""
    return os.path.basename(sys.argv[0]) == "langsamp" if sys.argv else False
