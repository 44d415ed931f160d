"""One writer at a place: a lock file that says who holds it, and is recognised as dead when its owner is.

The file is made in one step (a hard link), locked with ``flock`` for as long as its owner lives, and touched every few
seconds. Whether the owner lives is then told by the system's lock on the same machine, whatever container it is in and
whatever number its process has, and by the age of the file on a shared disk whose other machines do not see that lock.
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
"""Time between two touches of a lock file."""
DEAD_AFTER_S = 120.0
"""A lock of another machine is dead when it was not touched for this long."""
PATIENCE_S = 0.3
"""How long a lock is looked at again before its owner is said to be there: it could be about to end, or be judged."""


class Owner(NamedTuple):
    """Who holds a lock.

    Args:
        host: the name of the machine.
        boot: :func:`~langsamp_plugin.temporary.boot_id` of it.
        namespace: of process numbers, which begin anew in a container.
        pid: number of the process.
        started: when the process started, in the system's ticks, so that a number that is used again is seen.
        since: when it took the lock, UTC.
        command: what it runs.
        token: a random name of this holding.
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
        """Return what a lock file says; ``None`` where it is empty or damaged."""
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
    """Hold a lock file, which is removed when the block ends. A block inside it, of the same thread, may hold it again.

    Args:
        path: the lock file; its folder exists.
        place: what it guards, for the message.
        wait_s: how long to wait for another owner; ``math.inf`` waits for as long as it lives.

    Raises:
        InUseError: another process, or thread, holds it.
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
        if mine is not None:  # in a fork it is gone: the parent holds it
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
    """Try once; return what is held now, or else the owner, ``None`` where its file does not say."""
    mine = Owner.current()
    beside, descriptor = create_temporary(path)
    try:
        os.write(descriptor, json.dumps(mine._asdict()).encode())
        now = os.fstat(descriptor).st_mtime  # by the clock of the disk's machine, as the other file's
        if _link(beside, path):
            return _Held(descriptor, mine.token)
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        beside.unlink(missing_ok=True)
    os.close(descriptor)
    try:
        other = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None  # it has just been released
    try:
        owner = Owner.read(other)
        if _is_dead(other, owner, now):
            _remove(path, other, owner)
        return owner
    finally:
        os.close(other)


def _link(beside: Path, path: Path) -> bool:
    """Give a file its second name, unless that is taken."""
    try:
        os.link(beside, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV):
            raise
        # A file system without hard links: make the name first, so that only one can, and then move the file there.
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        except FileExistsError:
            return False
        os.replace(beside, path)
    return True


def _is_dead(descriptor: int, owner: Optional[Owner], now: float) -> bool:
    """Return whether the owner of an open lock file is gone. Where it is, the file stays locked until it is closed."""
    locked = try_flock(descriptor)
    if locked is False:
        return False
    if owner is not None and owner.boot == boot_id():
        if locked:
            return True  # the same system would have refused the lock
        if owner.namespace == _namespace():
            return _start_of(owner.pid) != owner.started
    return now - os.fstat(descriptor).st_mtime > DEAD_AFTER_S


def _remove(path: Path, descriptor: int, owner: Optional[Owner]) -> None:
    """Remove a dead lock, and not one that somebody has put in its place meanwhile."""
    aside = temporary_name(path)
    try:
        if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return
        os.rename(path, aside)
        if os.path.samestat(os.fstat(descriptor), os.stat(aside)):
            os.unlink(aside)
        else:  # only where the file system has no locks: give it back
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
    """Start the thread that touches the files, once a process."""
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
    """In a fork: the locks are the parent's. A descriptor left open would keep them alive after its end."""
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
    """Return when a process started; the empty string where there is none, or no such table."""
    try:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return content.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
