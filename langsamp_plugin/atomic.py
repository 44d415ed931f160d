"""Writes files and folders atomically: readers and later jobs never see a partial one."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Optional

from langsamp_plugin.errors import StorageError, writing
from langsamp_plugin.manifest import MANIFEST, Manifest
from langsamp_plugin.place import LOCK, PathLike, claim_folder, hold_beside, making, must_stay, resolve, try_place
from langsamp_plugin.temporary import (
    create_temporary,
    leftover_folders,
    remove_inner_locks,
    remove_leftovers_once,
    temporary_name,
)

__all__ = ["PathLike", "atomic_folder", "atomic_write", "read_record", "replaceable_folder"]


def read_record(path: PathLike, fields: Sequence[str]) -> Optional[dict[str, Any]]:
    """Read the JSON object that finished work has written, for resuming.

    Args:
        path: where it is stored.
        fields: required fields.

    Returns:
        The object; ``None`` if it is missing or damaged (by a crash of the machine), so the work must be repeated.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and all(field in record for field in fields) else None


@contextmanager
def atomic_write(path: PathLike, mode: str = "w", sync: bool = True) -> Iterator[IO[Any]]:
    """Open a file next to ``path`` that replaces it only if the block ends without an error.

    If ``path`` is a link, its target is replaced.

    Args:
        path: the final name; its folder is created if missing.
        mode: ``"w"`` (UTF-8, LF) or ``"wb"``.
        sync: wait until it is on disk, so that it survives a crash of the machine.

    Raises:
        StorageError: the disk is full or the folder is not writable; ``path`` is unchanged.
    """
    path = resolve(path)
    with writing(path, any_error=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers_once(path.parent)
        fresh, descriptor = create_temporary(path)
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with writing(path), open(descriptor, mode, **text) as stream:
            yield stream
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
            # Before closing the file, which releases its lock: it would then count as a leftover.
            with writing(path, any_error=True):
                os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def replaceable_folder(path: PathLike, marker: str = "", overwrite: Optional[bool] = None) -> Iterator[Path]:
    """Reserve a folder that will be replaced, before the work; :func:`atomic_folder` follows later.

    Checks that the place is writable and may be replaced, follows links, removes leftovers of killed runs, and restores
    an old folder whose replacement was interrupted.

    Args:
        path: the final name.
        marker: a file that every folder of this kind contains; a folder without it is of another kind and is kept. The
            empty string leaves such checks to the caller.
        overwrite: ``None`` replaces every folder of this kind, for caches that no other program writes into. ``False``
            replaces only a folder that was written here with ``False`` or ``True`` and is unchanged since then.
            ``True`` replaces any folder of this kind; it is a command's ``--overwrite``.

    Yields:
        The path with links followed.

    Raises:
        ValueError: ``path`` is a file, or a folder that must not be replaced.
        InUseError: another run is writing it.
        StorageError: the place cannot be written.
    """
    given, path = path, resolve(path)
    with ExitStack() as stack:
        if must_stay(path):
            stack.enter_context(claim_folder(path))
            inside = path / path.name
        else:
            stack.enter_context(making(path.parent))
            stack.enter_context(hold_beside(path))
            try_place(path.parent, path)
            inside = path
            for old in reversed(leftover_folders(path, "old")):
                if not path.exists():
                    os.replace(old, path)  # the process was killed between the two renames
        for kind in ("tmp", "old"):
            for left in leftover_folders(inside, kind):
                shutil.rmtree(left, ignore_errors=True)
        remove_inner_locks(inside)
        if marker:
            _check_replaceable(path, given, marker, overwrite)
        yield path


@contextmanager
def atomic_folder(
    path: PathLike, marker: str, overwrite: Optional[bool] = None, *, contents: bool = True
) -> Iterator[Path]:
    """Yield a new folder next to ``path`` that replaces it only if the block ends without an error.

    ``overwrite`` determines what may be replaced; unless it is ``None``, the folder gets a ``.written.json`` with its
    files and their hashes. A mount point and the current working directory cannot be replaced; the new files are moved
    into them after all are written.

    Usage in a command that takes a while, so that problems with ``--out`` are reported first::

        with replaceable_folder(out, "config.json", overwrite):
            ...  # the work
            with atomic_folder(out, "config.json", overwrite) as folder:
                ...  # write into folder

    Args:
        path, marker, overwrite: as for :func:`replaceable_folder`, which is entered automatically if the caller has not
            done so.
        contents: remember the files' contents; without it only their names, where hashing would take longer than the
            work.

    Raises:
        ValueError, InUseError, StorageError: as there.
    """
    with replaceable_folder(path, marker, overwrite) as path:
        stay = must_stay(path)
        fresh, old = (temporary_name(path / path.name if stay else path, kind) for kind in ("tmp", "old"))
        try:
            with writing(path):
                fresh.mkdir()
                yield fresh
                if overwrite is not None or stay:
                    Manifest.of(fresh, contents).save(fresh)
                _settle(fresh)
            with writing(path, any_error=True):
                if stay:
                    _refill(path, fresh, old)
                else:
                    _swap(path, fresh, old)
        except StorageError as error:  # about a file inside: users do not know the hidden name
            raise StorageError(error.number, error.path.replace(str(fresh), str(path)), error.detail) from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)


def _check_replaceable(path: Path, given: PathLike, marker: str, overwrite: Optional[bool]) -> None:
    """Raise ``ValueError`` unless the place is free or its folder may be replaced."""
    remedy = "choose another --out or remove it"
    if path.is_file():
        raise ValueError(f"{given} must be a folder or not exist, but is a file: {remedy}")
    if not path.is_dir():
        return
    there = [name for name in os.listdir(path) if name != LOCK]
    if not there:
        return
    manifest = Manifest.load(path)
    if marker not in there and not (manifest is not None and manifest.unfinished):
        raise ValueError(f"{given} exists and does not contain {marker}, so it is not replaced: {remedy}")
    if overwrite is not False:
        return
    if manifest is None:
        raise ValueError(
            f"{given} was not written by this command (it has no {MANIFEST}), so it is not replaced: choose another "
            "--out, or add --overwrite"
        )
    foreign = manifest.foreign(path)
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise ValueError(
            f"{given} has files that were added or changed since it was written ({', '.join(foreign[:3])}{more}), so "
            "it is not replaced: choose another --out, or add --overwrite"
        )


def _settle(folder: Path) -> None:
    """Set all files to the umask's permissions, which some libraries restrict, and wait for the disk."""
    usual = folder.stat().st_mode & 0o666
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            if file.stat().st_nlink == 1:  # permissions of hard-linked data belong to its owner
                os.chmod(file, file.stat().st_mode | usual)
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())


def _swap(path: Path, fresh: Path, old: Path) -> None:
    """Rename the old folder away and the new one into its place; on failure keep the old one."""
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(fresh, path)
    except OSError:
        if old.exists():
            os.replace(old, path)
        raise


def _refill(path: Path, fresh: Path, old: Path) -> None:
    """Move the files of ``fresh``, a folder inside ``path``, up into ``path`` and remove all other files.

    A kill between two moves leaves files of both. The manifest is moved first and marks the folder as unfinished, so
    the next run may replace it.
    """
    new = os.listdir(fresh)
    before = [name for name in os.listdir(path) if name not in (LOCK, fresh.name)]
    previous = Manifest.load(path)
    Manifest.of(fresh).joined(previous).save(path)
    before = [name for name in before if name != MANIFEST]
    old.mkdir()
    moved: list[str] = []
    try:
        for name in before:
            os.replace(path / name, old / name)
        for name in sorted(new, key=lambda name: name == MANIFEST):
            os.replace(fresh / name, path / name)
            moved.append(name)
    except OSError:
        for name in moved:
            os.replace(path / name, fresh / name)
        for name in os.listdir(old):
            os.replace(old / name, path / name)
        if previous is not None:
            previous.save(path)
        raise
