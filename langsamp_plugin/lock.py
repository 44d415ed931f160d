"""Locks that admit one writer at a time; a lock file names its owner and is recognised as stale once the owner is dead.

The file is created in one step (a hard link), held with ``flock`` while its owner lives, and touched every few seconds.
On the same machine ``flock`` shows whether the owner lives, independent of containers and process numbers. On a shared
disk, other machines may not see ``flock``; there the age of the file decides.
"""

from __future__ import annotations

import errno
import json
import os
import random
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple, Optional

from langsamp_plugin.errors import InUseError
from langsamp_plugin.temporary import boot_id, create_temporary, temporary_name, try_flock

BEAT_S = 10.0
"""Interval between touches of a lock file."""
DEAD_AFTER_S = 120.0
"""A lock of another machine is stale if it was not touched for this long."""
PATIENCE_S = 0.3
"""How long to retry before reporting the owner of a lock: the owner could be about to end."""


class Owner(NamedTuple):
    """Who holds a lock.

    Args:
        host: name of the machine.
        boot: its :func:`~langsamp_plugin.temporary.boot_id`.
        namespace: namespace of process numbers, which restart in a container.
        pid: process number.
        started: start of the process in system ticks, to detect a reused process number.
        since: time at which it took the lock, UTC.
        command: its command line.
        token: a random name of this acquisition.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    since: str
    command: str
    token: str

    @classmethod
    def current(cls) -> Owner:
        """Return this process."""
        now = datetime.now(timezone.utc).isoformat(sep=" ", timespec="seconds")
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:300] if sys.argv else ""
        return cls(
            os.uname().nodename, boot_id(), _namespace(), os.getpid(), _start_of(os.getpid()), now, command,
            secrets.token_hex(8),
        )  # fmt: skip

    @classmethod
    def read(cls, descriptor: int) -> Optional[Owner]:
        """Read a lock file; ``None`` if it is empty or damaged."""
        try:
            record = json.loads(os.pread(descriptor, 1 << 16, 0))
            owner = cls(**record)
            return owner if isinstance(owner.pid, int) and isinstance(owner.token, str) else None
        except (ValueError, TypeError, RecursionError):
            return None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since} ({self.command})"


class _Held(NamedTuple):
    descriptor: int
    token: str


_held: dict[tuple[str, int], _Held] = {}  # by lock file and thread
_mutex = threading.Lock()
_beating: list[threading.Thread] = []


@contextmanager
def hold(path: Path, place: object, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file during the block and remove it afterwards; the same thread may hold it repeatedly.

    Args:
        path: the lock file; its folder exists.
        place: the path that it guards, for the message.
        wait_s: how long to wait for another owner; ``math.inf`` waits until it ends.

    Raises:
        InUseError: another process or thread holds the lock.
        OSError: the folder cannot be written.
    """
    key = (str(path), threading.get_ident())
    if key in _held:
        yield
        return
    end = time.monotonic() + max(wait_s, PATIENCE_S)
    while True:
        taken = _take(path)
        if isinstance(taken, _Held):
            break
        if time.monotonic() > end:
            who = str(taken) if taken is not None else "another process"
            raise InUseError(
                f"{place} is being written by {who}: wait for it or choose another place; if it is dead, its lock "
                f"{path} is ignored {DEAD_AFTER_S:.0f} s after its end"
            )
        time.sleep(random.uniform(0.01, 0.05) if wait_s < 1 else random.uniform(0.05, 0.5))
    with _mutex:
        _held[key] = taken
        _keep_beating()
    try:
        yield
    finally:
        with _mutex:
            mine = _held.pop(key, None)
        if mine is not None:  # missing in a fork: the parent holds it
            _release(path, mine)


def is_held(path: Path) -> bool:
    """Return whether a lock file has a living owner, this process included."""
    if any(name == str(path) for name, _ in _held):
        return True
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _is_dead(descriptor, Owner.read(descriptor), time.time())
    finally:
        os.close(descriptor)


def _take(path: Path) -> Optional[_Held | Owner]:
    """Try once; return the acquired lock or its owner, ``None`` if the file does not name one."""
    mine = Owner.current()
    unfinished, descriptor = create_temporary(path)
    try:
        os.write(descriptor, json.dumps(mine._asdict()).encode())
        now = os.fstat(descriptor).st_mtime  # by the file server's clock, like the other file's
        if _link(unfinished, path):
            return _Held(descriptor, mine.token)
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        unfinished.unlink(missing_ok=True)
    os.close(descriptor)
    try:
        other = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None  # just released
    try:
        owner = Owner.read(other)
        if _is_dead(other, owner, now):
            _remove(path, other, owner)
        return owner
    finally:
        os.close(other)


def _link(unfinished: Path, path: Path) -> bool:
    """Link a file to a second name unless that name exists."""
    try:
        os.link(unfinished, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV):
            raise
        # A file system without hard links: create the name exclusively, then move the file there.
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            return False
        os.replace(unfinished, path)
    return True


def _is_dead(descriptor: int, owner: Optional[Owner], now: float) -> bool:
    """Return whether the owner of an open lock file is dead; if so, the file stays locked until it is closed."""
    locked = try_flock(descriptor)
    if locked is False:
        return False
    if owner is not None and owner.boot == boot_id():
        if locked:
            return True  # on the same system, a living owner would have blocked flock
        if owner.namespace == _namespace():
            return _start_of(owner.pid) != owner.started
    return now - os.fstat(descriptor).st_mtime > DEAD_AFTER_S


def _remove(path: Path, descriptor: int, owner: Optional[Owner]) -> None:
    """Remove a stale lock, but not a new one that has replaced it in the meantime."""
    aside = temporary_name(path)
    try:
        if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return
        os.rename(path, aside)
        if os.path.samestat(os.fstat(descriptor), os.stat(aside)):
            os.unlink(aside)
        else:  # only on file systems without locks: restore it
            _link(aside, path)
            aside.unlink(missing_ok=True)
    except FileNotFoundError:
        return


def _release(path: Path, mine: _Held) -> None:
    try:
        if os.path.samestat(os.fstat(mine.descriptor), os.stat(path)):
            os.unlink(path)
    except OSError:
        pass  # the folder was removed or replaced
    finally:
        os.close(mine.descriptor)


def _keep_beating() -> None:
    """Start the thread that touches the files, once per process."""
    if _beating and _beating[0].is_alive():
        return

    def beat() -> None:
        while True:
            time.sleep(BEAT_S)
            with _mutex:
                for held in _held.values():
                    try:
                        os.utime(held.descriptor)
                    except OSError:
                        continue

    _beating[:] = [threading.Thread(target=beat, name="langsamp-lock", daemon=True)]
    _beating[0].start()


def _forget() -> None:
    """In a fork, the locks belong to the parent; an open descriptor would keep them alive after the parent's end."""
    global _mutex
    _mutex = threading.Lock()
    for held in _held.values():
        os.close(held.descriptor)
    _held.clear()
    _beating.clear()


os.register_at_fork(after_in_child=_forget)


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """Return the start of a process; empty if it does not exist or the system has no /proc."""
    try:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return content.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
