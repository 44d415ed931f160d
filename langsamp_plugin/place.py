"""Prepares the place that a command writes to: follows links, checks it before the work, locks it, removes
leftovers."""

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
from langsamp_plugin.temporary import (
    create_temporary,
    leftover_folders,
    remove_leftovers,
    remove_leftovers_once,
)

PathLike = Union[str, "os.PathLike[str]"]

LOCK = ".lock"
"""Name of the lock inside a folder that files are written into."""


def resolve(path: PathLike) -> Path:
    """Return the absolute path with all links resolved, so that the target is replaced, not the link.

    Raises:
        StorageError: links form a loop.
    """
    try:
        found = Path(os.path.realpath(path))
    except (OSError, RuntimeError) as error:
        raise StorageError(errno.ELOOP, path) from error
    if found.is_symlink():  # result of a link loop
        raise StorageError(errno.ELOOP, path)
    return found


@contextmanager
def claim_file(path: PathLike) -> Iterator[Path]:
    """Hold a file for one command, from before the work until it is written; see :func:`claim_folder`.

    Yields:
        The path with links resolved.

    Raises:
        StorageError: it is a folder, write-protected, or in a place that cannot be written.
        InUseError: another run is writing it.
    """
    path = resolve(path)
    if path.is_dir():
        raise StorageError(errno.EISDIR, path)
    if path.exists() and not path.is_file():
        raise StorageError(errno.EINVAL, path, "the existing path is a device or pipe, not a file")
    if path.is_file() and is_mount_point(path):
        raise StorageError(
            errno.EBUSY, path, "the existing file is a mount point, which cannot be replaced: mount its folder"
        )
    if path.exists() and not os.access(path, os.W_OK):
        raise StorageError(errno.EACCES, path, "the existing file is write-protected")
    with making(path.parent), hold_beside(path):
        try_place(path.parent, path)
        remove_leftovers(path.parent)
        for kind in ("tmp", "old"):
            for left in leftover_folders(path, kind):
                shutil.rmtree(left, ignore_errors=True)
        yield path


@contextmanager
def claim_folder(path: PathLike, needed: int = 0, part: str = "", wait_s: float = 0.0) -> Iterator[Path]:
    """Hold a folder while one command writes files into it.

    Before the work, links are resolved, a test file is written and removed, and partial files of killed writers are
    removed. A folder that was created here and stays empty is removed.

    Args:
        path: the folder; it is created if missing.
        needed: minimum number of bytes to be written; 0 if unknown.
        part: part of the folder, if several runs may share it; a second run of the same part is refused.
        wait_s: how long to wait for another run.

    Yields:
        The path with links resolved.

    Raises:
        StorageError: the folder cannot be written or lacks space.
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
    """Hold the lock ``.NAME.lock`` next to a file, or to a folder that is replaced in one step.

    Raises:
        InUseError: another run is writing it.
        StorageError: the parent folder cannot be written.
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
    """Create a folder and its parents; those that are empty after the block are removed again.

    Raises:
        StorageError: it cannot be created, or is a file.
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
            except OSError:  # not empty, or already removed
                break


def try_place(folder: Path, path: Path) -> None:
    """Write a test file into a folder and remove it, and those of killed runs."""
    remove_leftovers_once(folder)
    with writing(path, any_error=True):
        unfinished, descriptor = create_temporary(folder / "try")
        try:
            os.write(descriptor, bytes(4096))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            unfinished.unlink(missing_ok=True)


def check_room(folder: Path, path: PathLike, needed: int) -> None:
    """Raise ``StorageError`` if a folder's file system has fewer than the needed bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(errno.ENOSPC, path, f"it takes {needed:,} bytes or more, and {free:,} are free")


def is_mount_point(path: Path) -> bool:
    """Return whether a folder cannot be renamed because it is a mount point."""
    if os.path.ismount(path):
        return True
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return False
    points = (line.split(" ")[4] for line in lines if line.count(" ") > 4)
    return str(path) in {_octal(point) for point in points}


def _octal(text: str) -> str:
    """Decode a name from ``/proc/self/mountinfo``, which writes a space as ``\\040``."""
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text


def must_stay(path: Path) -> bool:
    """Return whether a folder can be filled but not replaced: a mount point, a working directory, a read-only
    parent."""
    if not path.is_dir():
        return False
    return (
        is_mount_point(path)
        or Path.cwd().is_relative_to(path)
        or not os.access(path.parent, os.W_OK | os.X_OK)
        or bool(path.parent.stat().st_mode & stat.S_ISVTX and path.stat().st_uid != os.geteuid() != 0)
    )
