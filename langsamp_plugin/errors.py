"""What goes wrong: conversions that do not compute what they should, input, places to write."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where a file cannot grow: disk, quota, limit of a file's size."""

REMEDIES = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space or have your quota raised, and run again",
    errno.EFBIG: "raise the limit (`ulimit -f unlimited`) or choose a file system that holds files of this size",
    errno.EACCES: "choose a place that you may write, or have its permissions changed",
    errno.EPERM: "choose a place that you may write, or have its permissions changed",
    errno.EROFS: "choose a place that is not mounted read-only",
    errno.ENOTDIR: "choose another place, as a part of this path is a file",
    errno.EISDIR: "choose another place, as this is a folder",
    errno.ELOOP: "choose another place, as links lead round in a circle",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "have the disk checked",
    errno.EMFILE: "raise the limit of open files (`ulimit -n 4096`) and run again",
}
"""What to do about a place that cannot be written."""

# How libraries write that a file cannot grow, where they do not hand on the system's number: Rust's "(os error 28)" of
# safetensors and tokenizers, Python's "[Errno 28]" in the text of another error, C++ streams that name the reason.
_NUMBERED = re.compile(r"\((?:os )?error (\d+)\)|\[Errno (\d+)\]|\berrno[ =:]+(\d+)", re.IGNORECASE)
_SHORT_WRITE = re.compile(
    r"unexpected pos \d+ vs \d+"  # torch's zip writer
    r"|PytorchStreamWriter failed"
    r"|\d+ requested and \d+ written"  # numpy's tofile and save
)


class VerificationError(Exception):
    """A conversion does not compute what it was made from: nobody's wrong input, so the command ends with status 1."""


class InUseError(Exception):
    """Another run is writing there; its text says which one."""


class StorageError(OSError):
    """A place cannot be written; its text names the path, the remedy and the reason.

    Args:
        number: the system's number of the error, of :mod:`errno`.
        path: what was to be written.
        detail: the reason, where the system's own words do not say enough.
    """

    def __init__(self, number: int, path: object, detail: str = ""):
        self.number, self.path, self.detail = number, str(path), detail
        remedy = REMEDIES.get(number, "choose another place")
        super().__init__(number, f"{path} could not be written, {remedy}: {detail or os.strerror(number)}")


@contextmanager
def error_context(path: object) -> Iterator[None]:
    """Put a file's name before what is said to be wrong in it.

    Raises:
        ValueError: the block raised one, or found something nested too deeply to read.
    """
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


@contextmanager
def writing(path: object, any_error: bool = False) -> Iterator[None]:
    """Say of a file that it could not be written, whatever a library calls it.

    Args:
        path: what the block writes.
        any_error: take every ``OSError`` for one of writing, also those that could come from something the block reads.

    Raises:
        StorageError: the disk is full, in any of the shapes of :func:`storage_errno`.
    """
    try:
        yield
    except StorageError:
        raise  # of a file inside this one's block, and it has that one's name
    except Exception as error:
        number = storage_errno(error)
        if number is None and any_error and isinstance(error, OSError):
            number = error.errno
        if number is None:
            raise
        raise StorageError(number, path) from error


def storage_errno(error: Optional[BaseException]) -> Optional[int]:
    """Return the number of the error if a disk, a quota or a limit was full, ``None`` for anything else.

    The system's error is found as such, behind an error of a library that it caused, and in the text of one: torch
    raises ``RuntimeError`` ("unexpected pos"), safetensors ``SafetensorError`` ("os error 28"), numpy ``OSError``
    without a number.
    """
    seen: list[BaseException] = []
    while error is not None and all(error is not other for other in seen):
        seen.append(error)
        if isinstance(error, OSError) and error.errno in FULL:
            return error.errno
        error = error.__cause__ or error.__context__
    for error in seen:
        if isinstance(error, (ValueError, LookupError, TypeError)):
            continue  # of what was read, and such texts can quote anything
        text = str(error)
        for found in _NUMBERED.finditer(text):
            number = int(next(filter(None, found.groups())))
            if number in FULL:
                return number
        for number in FULL:
            if os.strerror(number) in text:
                return number
        if _SHORT_WRITE.search(text):
            return errno.ENOSPC
    return None


def check_readable(path: object) -> None:
    """Open a file for reading and close it: libraries call one that they may not read damaged or missing.

    Raises:
        OSError: it cannot be opened, with its name and the system's reason.
    """
    with open(str(path), "rb"):
        pass
