"""What a training that cannot go on says last: a full disk, another run in its folder and Ctrl-C are no tracebacks."""

from __future__ import annotations

import signal
import sys
from types import TracebackType
from typing import Any, Optional

from langsamp_plugin.errors import InUseError, StorageError, storage_errno
from langsamp_plugin.interruption import InterruptedBySignal
from langsamp_plugin.training.train_program import train_namespaces


def install() -> None:
    """Let the process of a training end in one line where that says all. Idempotent."""
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
    """Return what to say instead of a traceback; ``None`` where that is needed to find what is wrong."""
    if isinstance(error, KeyboardInterrupt):
        return str(InterruptedBySignal(signal.SIGINT))
    if isinstance(error, InUseError):
        return str(error)
    if isinstance(error, StorageError):
        return str(error.strerror)
    number = storage_errno(error)
    return None if number is None else str(StorageError(number, getattr(error, "filename", None) or "a file").strerror)
