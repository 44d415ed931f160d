"""Final messages of a training: a full disk, another run in its folder and Ctrl-C end in one line, not a traceback."""

from __future__ import annotations

import signal
import sys
from types import TracebackType
from typing import Any, Optional

from langsamp_plugin.errors import InUseError, StorageError, storage_errno
from langsamp_plugin.interruption import InterruptedBySignal
from langsamp_plugin.training.train_program import train_namespaces


def install() -> None:
    """Make a training process end with a single line if that is sufficient. Idempotent."""
    if train_namespaces() and not hasattr(sys.excepthook, "langsamp"):
        sys.excepthook = _in_one_line(sys.excepthook)


def _in_one_line(stock: Any) -> Any:
    def hook(kind: type[BaseException], error: BaseException, trace: Optional[TracebackType]) -> None:
        said = last_words(error)
        if said is None:
            stock(kind, error, trace)
        else:
            print(f"langsamp: {' '.join(said.split())}", file=sys.stderr, flush=True)

    hook.langsamp = True  # type: ignore[attr-defined]
    return hook


def last_words(error: BaseException) -> Optional[str]:
    """Return a message that replaces the traceback; ``None`` if the traceback is needed."""
    if isinstance(error, KeyboardInterrupt):
        return str(InterruptedBySignal(signal.SIGINT))
    if isinstance(error, InUseError):
        return str(error)
    if isinstance(error, StorageError):
        return str(error.strerror)
    number = storage_errno(error)
    return None if number is None else str(StorageError(number, getattr(error, "filename", None) or "a file").strerror)
