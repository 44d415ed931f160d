"""Temporary names next to a file or folder that is being written, and removal of those that killed writers leave."""

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

LONGEST_NAME = 255  # maximum bytes of a file name on Linux
OLD_S = 3600.0
"""A partial file from another machine is a leftover if it has not grown for this long."""

_PATTERN = re.compile(r"\.(?P<name>.*)\.(?P<boot>[0-9a-f]{8})-[0-9a-f]{12}\.(?P<kind>tmp|old)", re.DOTALL)


@cache
def boot_id() -> str:
    """Return an identifier of the running system: equal in all its containers, new after a reboot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        return f"{os.uname().nodename}"


def temporary_name(path: Path, kind: str = "tmp") -> Path:
    """Return a unique hidden name next to ``path``; process numbers are not unique across containers.

    Args:
        path: the final path.
        kind: ``tmp``, or ``old`` for the previous content of ``path``.
    """
    boot = blake2b(boot_id().encode(), digest_size=4).hexdigest()
    ending = f".{boot}-{secrets.token_hex(6)}.{kind}"
    stem = os.fsdecode(os.fsencode(path.name)[: LONGEST_NAME - len(ending) - 1])
    return path.with_name(f".{stem}{ending}")


def create_temporary(path: Path) -> tuple[Path, int]:
    """Create a file next to ``path`` with the umask's permissions, and lock it while it is open.

    Returns:
        Its name, and its descriptor, open for writing and reading.
    """
    while True:
        unfinished = temporary_name(path)
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            if try_flock(descriptor) is not False and _is(descriptor, unfinished):
                return unfinished, descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # another process removed it as a leftover before it was locked


def try_flock(descriptor: int) -> bool | None:
    """Try to lock an open file; ``None`` if the file system has no locks."""
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
    """Return whether a path still refers to an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of dead writers in a folder; those of living writers are kept.

    A writer keeps its file locked. For files of other machines, whose lock may be invisible, age decides.
    """
    boot = blake2b(boot_id().encode(), digest_size=4).hexdigest()
    try:
        with os.scandir(folder) as entries:
            found = [(entry, _PATTERN.fullmatch(entry.name)) for entry in entries if entry.name.endswith(".tmp")]
    except OSError:
        return  # missing or not readable
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
            continue  # just finished, or owned by another user


_swept: set[tuple[int, str]] = set()


def remove_leftovers_once(folder: Path) -> None:
    """Do :func:`remove_leftovers` the first time that this process writes into a folder."""
    key = os.getpid(), str(folder)
    if key not in _swept:
        _swept.add(key)
        remove_leftovers(folder)


def _owner(name: str) -> str:
    """Return the final name that a temporary name belongs to, also if nested."""
    while (match := _PATTERN.fullmatch(name)) is not None:
        name = match["name"]
    return name


def leftover_folders(path: Path, kind: str) -> list[Path]:
    """Return the temporary folders of a place, newest last; the holder of the place's lock owns them."""
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
    """Remove the locks of a place's temporary folders; the caller holds the place's lock."""
    for lock in path.parent.glob(".*.tmp.lock"):
        inner = lock.name[1 : -len(".lock")]
        if _owner(inner) == path.name != inner and not lock.with_name(inner).exists():
            lock.unlink(missing_ok=True)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder next to ``path`` that is removed after the block.

    Hold the lock of ``path`` (:func:`~langsamp_plugin.place.claim_file`), so that leftovers of killed runs are removed.
    """
    for left in leftover_folders(path, "tmp"):
        shutil.rmtree(left, ignore_errors=True)
    folder = temporary_name(path)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
