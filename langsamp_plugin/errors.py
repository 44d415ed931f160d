"""Errors: failed verification, bad input, places that cannot be written."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""System errors for a file that cannot grow: disk full, quota, file size limit."""

REMEDIES = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space or have your quota raised, and run again",
    errno.EFBIG: "raise the limit (`ulimit -f unlimited`) or choose a file system that holds files of this size",
    errno.EACCES: "choose a place that you may write, or have its permissions changed",
    errno.EPERM: "choose a place that you may write, or have its permissions changed",
    errno.EROFS: "choose a place that is not mounted read-only",
    errno.ENOTDIR: "choose another place: a part of this path is a file",
    errno.EISDIR: "choose another place: this is a folder",
    errno.ELOOP: "choose another place: links form a loop",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "have the disk checked",
    errno.EMFILE: "raise the limit of open files (`ulimit -n 4096`) and run again",
}
"""Remedies for places that cannot be written."""

# How libraries report that a file cannot grow without passing on the system's number: Rust's "(os error 28)" of
# safetensors and tokenizers, Python's "[Errno 28]" in the text of another error, C++ streams that name the reason.
_NUMBERED = re.compile(r"\((?:os )?error (\d+)\)|\[Errno (\d+)\]|\berrno[ =:]+(\d+)", re.IGNORECASE)
_SHORT_WRITE = re.compile(
    r"unexpected pos \d+ vs \d+"  # torch's zip writer
    r"|PytorchStreamWriter failed"
    r"|\d+ requested and \d+ written"  # numpy's tofile and save
)


class VerificationError(Exception):
    """A converted model differs from its source; since the input is not at fault, the command ends with status 1."""


class InUseError(Exception):
    """Another run is writing there; the message identifies it."""


class StorageError(OSError):
    """A place cannot be written; the message names the path, the remedy and the reason.

    Args:
        number: the system's error number, see ``errno``.
        path: the file or folder to write.
        detail: the reason, if the system's message is not specific enough.
    """

    def __init__(self, number: int, path: object, detail: str = ""):
        self.number, self.path, self.detail = number, str(path), detail
        remedy = REMEDIES.get(number, "choose another place")
        super().__init__(number, f"{path} could not be written, {remedy}: {detail or os.strerror(number)}")


@contextmanager
def error_context(path: object) -> Iterator[None]:
    """Prefix errors with the name of the file that they are about.

    Raises:
        ValueError: the block raised one, or the content is nested too deeply.
    """
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


@contextmanager
def writing(path: object, any_error: bool = False) -> Iterator[None]:
    """Convert every error of a full disk, in any form that libraries raise, to :class:`StorageError`.

    Args:
        path: the file that the block writes.
        any_error: treat every ``OSError`` as a write error, including errors of files that the block reads.

    Raises:
        StorageError: the disk is full, in any of the shapes of :func:`storage_errno`.
    """
    try:
        yield
    except StorageError:
        raise  # raised for a file inside this block, with that file's name
    except Exception as error:
        number = storage_errno(error)
        if number is None and any_error and isinstance(error, OSError):
            number = error.errno
        if number is None:
            raise
        raise StorageError(number, path) from error


def storage_errno(error: Optional[BaseException]) -> Optional[int]:
    """Return the error number if a disk, quota or limit was exhausted, ``None`` for any other error.

    It recognises the system's error itself, an error that it caused, and its text in a library's message: torch raises
    ``RuntimeError`` ("unexpected pos"), safetensors ``SafetensorError`` ("os error 28"), numpy ``OSError`` without a
    number.
    """
    seen: list[BaseException] = []
    while error is not None and all(error is not other for other in seen):
        seen.append(error)
        if isinstance(error, OSError) and error.errno in FULL:
            return error.errno
        error = error.__cause__ or error.__context__
    for error in seen:
        if isinstance(error, (ValueError, LookupError, TypeError)):
            continue  # errors of reading can quote any text
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
    """Check that a file can be opened for reading: libraries report an unreadable file as damaged or missing.

    Raises:
        OSError: the file cannot be opened; with its name and the system's reason.
    """
    with open(str(path), "rb"):
        pass
