"""Names next to a file or folder that is being written, and what is left of them when their writer was killed."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from pathlib import Path

LONGEST_NAME = 255  # bytes of a name, on the file systems of Linux
OLD_S = 3600.0
"""A file that another machine began is a leftover when it has not grown for this long."""

_PATTERN = re.compile(r"\.(?P<name>.*)\.(?P<boot>[0-9a-f]{8})-[0-9a-f]{12}\.(?P<kind>tmp|old)", re.DOTALL)


@cache
def boot_id() -> str:
    """Return what tells this running system from all others: equal in all containers on it, new after a restart."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        return f"{os.uname().nodename}"


def temporary_name(path: Path, kind: str = "tmp") -> Path:
    """Return a hidden name next to ``path`` that nobody else has: process numbers are equal in containers.

    Args:
        path: what will have its place.
        kind: ``tmp``, or ``old`` for what ``path`` was before.
    """
    boot = blake2b(boot_id().encode(), digest_size=4).hexdigest()
    ending = f".{boot}-{secrets.token_hex(6)}.{kind}"
    stem = os.fsdecode(os.fsencode(path.name)[: LONGEST_NAME - len(ending) - 1])
    return path.with_name(f".{stem}{ending}")


def create_temporary(path: Path) -> tuple[Path, int]:
    """Create a file next to ``path``, with the permissions that the umask leaves, and lock it while it is open.

    Returns:
        Its name, and its descriptor, open for writing and reading.
    """
    while True:
        beside = temporary_name(path)
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            if try_flock(descriptor) is not False and _is(descriptor, beside):
                return beside, descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # somebody who removes leftovers was quicker than the lock


def try_flock(descriptor: int) -> bool | None:
    """Return whether the system's lock of an open file could be had, ``None`` where the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF):
            return None
        raise
    return True


def _is(descriptor: int, path: Path) -> bool:
    """Return whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a folder whose writer is gone; those of a living one stay.

    A writer keeps its file locked. On another machine's files, where the lock may not be seen, age decides.
    """
    boot = blake2b(boot_id().encode(), digest_size=4).hexdigest()
    try:
        with os.scandir(folder) as entries:
            found = [(entry, _PATTERN.fullmatch(entry.name)) for entry in entries if entry.name.endswith(".tmp")]
    except OSError:
        return  # it is not there, or not ours to look into
    for entry, match in found:
        try:
            if match is None or not entry.is_file(follow_symlinks=False):
                continue
            descriptor = os.open(entry.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                locked = try_flock(descriptor)
                aged = time.time() - os.fstat(descriptor).st_mtime > OLD_S
                if locked is not False and (aged or (locked and match["boot"] == boot)):
                    os.unlink(entry.path)
            finally:
                os.close(descriptor)
        except OSError:
            continue  # it has just been finished, or is another user's


_swept: set[tuple[int, str]] = set()


def remove_leftovers_once(folder: Path) -> None:
    """Do :func:`remove_leftovers` the first time that this process writes into a folder."""
    key = os.getpid(), str(folder)
    if key not in _swept:
        _swept.add(key)
        remove_leftovers(folder)


def _owner(name: str) -> str:
    """Return the name of the place that a temporary name, or one of a temporary name, belongs to."""
    while (match := _PATTERN.fullmatch(name)) is not None:
        name = match["name"]
    return name


def leftover_folders(path: Path, kind: str) -> list[Path]:
    """Return the temporary folders of a place, newest last. Who holds the lock of the place is their only owner."""
    found = []
    try:
        with os.scandir(path.parent) as entries:
            for entry in entries:
                match = _PATTERN.fullmatch(entry.name)
                if (
                    match
                    and _owner(entry.name) == path.name
                    and match["kind"] == kind
                    and entry.is_dir(follow_symlinks=False)
                ):
                    found.append(Path(entry.path))
    except OSError:
        return []
    return sorted(found, key=lambda folder: folder.stat().st_mtime)


def remove_inner_locks(path: Path) -> None:
    """Remove the locks of temporary folders of a place, whose lock is held: nobody else writes those."""
    for lock in path.parent.glob(".*.tmp.lock"):
        inner = lock.name[1 : -len(".lock")]
        if _owner(inner) == path.name != inner and not lock.with_name(inner).exists():
            lock.unlink(missing_ok=True)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder next to ``path`` that is removed when the block ends.

    Hold the lock of ``path`` (:func:`~langsamp_plugin.place.claim_file`), so that one that a kill has left is removed.
    """
    for left in leftover_folders(path, "tmp"):
        shutil.rmtree(left, ignore_errors=True)
    folder = temporary_name(path)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
