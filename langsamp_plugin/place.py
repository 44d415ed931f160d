"""Where a command writes: links followed, tried before the work, held by one run at a time, cleared of leftovers."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Union

from langsamp_plugin.errors import StorageError, writing
from langsamp_plugin.lock import hold
from langsamp_plugin.temporary import create_temporary, leftover_folders, remove_leftovers

PathLike = Union[str, "os.PathLike[str]"]

LOCK = ".lock"
"""The lock of a folder that is written into, in that folder."""


def resolve(path: PathLike) -> Path:
    """Return the absolute path that a name leads to, all links followed: what is replaced is the target, not the link.

    Raises:
        StorageError: links lead round in a circle.
    """
    try:
        found = Path(os.path.realpath(path))
    except (OSError, RuntimeError) as error:
        raise StorageError(errno.ELOOP, path) from error
    if found.is_symlink():  # what is left of links that never end
        raise StorageError(errno.ELOOP, path)
    return found


@contextmanager
def claim_file(path: PathLike) -> Iterator[Path]:
    """Hold a file for one command, from before its work until it is written; see :func:`claim_folder`.

    Yields:
        The path with links followed.

    Raises:
        StorageError: it is a folder, write-protected, or cannot be written where it is.
        InUseError: another run is writing it.
    """
    path = resolve(path)
    if path.is_dir():
        raise StorageError(errno.EISDIR, path)
    if path.exists() and not path.is_file():
        raise StorageError(errno.EINVAL, path, "what is there is a device or pipe, and not a file")
    if path.is_file() and is_mount_point(path):
        raise StorageError(errno.EBUSY, path, "a file is mounted there, which cannot be replaced: mount its folder")
    if path.exists() and not os.access(path, os.W_OK):
        raise StorageError(errno.EACCES, path, "the file that is there is write-protected")
    with making(path.parent), hold_beside(path):
        try_place(path.parent, path)
        remove_leftovers(path.parent)
        for kind in ("tmp", "old"):
            for left in leftover_folders(path, kind):
                shutil.rmtree(left, ignore_errors=True)
        yield path


@contextmanager
def claim_folder(path: PathLike, needed: int = 0, part: str = "", wait_s: float = 0.0) -> Iterator[Path]:
    """Hold a folder that one command writes files into, for as long as it does.

    Before the work: links are followed, a file is written there and removed, and half-written files are removed whose
    writer was killed. A folder that was made here and stays empty is removed.

    Args:
        path: the folder; it is made if it is missing.
        needed: bytes that will at least be written; 0 where nobody can tell.
        part: which part of the folder, where several runs may share it: a second run of the same part is refused.
        wait_s: how long to wait for another run.

    Yields:
        The path with links followed.

    Raises:
        StorageError: it cannot be written, or has not the room.
        InUseError: another run is writing there.
    """
    path = resolve(path)
    with making(path):
        with writing(path, any_error=True):
            held = hold(path / f"{LOCK}{part and f'-{part}'}", path, wait_s)
            held.__enter__()
        try:
            try_place(path, path)
            check_room(path, path, needed)
            for folder in (path, *(found for found in path.rglob("*") if found.is_dir() and not found.is_symlink())):
                remove_leftovers(folder)
            yield path
        finally:
            held.__exit__(None, None, None)


@contextmanager
def hold_beside(path: Path) -> Iterator[None]:
    """Hold the lock of a file, or of a folder that is replaced as a whole: it is next to it, ``.NAME.lock``.

    Raises:
        InUseError: another run is writing it.
        StorageError: the folder that it is in cannot be written.
    """
    name = os.fsdecode(os.fsencode(path.name)[:240])
    held = hold(path.with_name(f".{name}.lock"), path)
    with writing(path, any_error=True):
        held.__enter__()
    try:
        yield
    finally:
        held.__exit__(None, None, None)


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """Make a folder, and those above it; where the block leaves them empty they are removed again.

    Raises:
        StorageError: it cannot be made, or is a file.
    """
    missing = []
    above = folder
    while not above.exists() and above != above.parent:
        missing.append(above)
        above = above.parent
    with writing(folder, any_error=True):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for made in missing:
            try:
                made.rmdir()
            except OSError:  # it has something in it, or is gone
                break


def try_place(folder: Path, path: Path) -> None:
    """Write a block into a folder and remove it."""
    with writing(path, any_error=True):
        beside, descriptor = create_temporary(folder / "try")
        try:
            os.write(descriptor, bytes(4096))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            beside.unlink(missing_ok=True)


def check_room(folder: Path, path: PathLike, needed: int) -> None:
    """Raise ``StorageError`` where a folder's file system has not the bytes that something will at least take."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(errno.ENOSPC, path, f"it takes {needed:,} bytes or more, and {free:,} are free")


def is_mount_point(path: Path) -> bool:
    """Return whether a folder cannot be renamed, as a file system, or a part of one, is mounted there."""
    if os.path.ismount(path):
        return True
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return False
    points = (line.split(" ")[4] for line in lines if line.count(" ") > 4)
    return str(path) in {_octal(point) for point in points}


def _octal(text: str) -> str:
    """Return the name that ``/proc/self/mountinfo`` writes with blanks as ``\\040``."""
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text


def must_stay(path: Path) -> bool:
    """Return whether a folder can only be filled and not replaced: a mount point, where a shell is, a closed parent."""
    if not path.is_dir():
        return False
    return (
        is_mount_point(path)
        or Path.cwd().is_relative_to(path)
        or not os.access(path.parent, os.W_OK | os.X_OK)
        or bool(path.parent.stat().st_mode & stat.S_ISVTX and path.stat().st_uid != os.geteuid() != 0)
    )
