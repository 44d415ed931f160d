"""Writing files so that a reader, or a killed job's successor, never sees half of one."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Optional, Union

PathLike = Union[str, "os.PathLike[str]"]


def read_record(path: PathLike, fields: Sequence[str]) -> Optional[dict[str, Any]]:
    """Read the JSON object that finished work left, to go on after it.

    Args:
        path: where it lies.
        fields: what it must have.

    Returns:
        The object; ``None`` where there is none or a crash of the machine left something else, as the work is then to
        be done again.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and all(field in record for field in fields) else None


@contextmanager
def atomic_write(path: PathLike, mode: str = "w", sync: bool = True) -> Iterator[IO[Any]]:
    """Open a file beside ``path`` that takes its place only when the block ends without an error.

    Args:
        path: the final name; its folder is made if it is missing.
        mode: ``"w"`` (UTF-8, LF) or ``"wb"``.
        sync: wait until the disk has it, so that it also outlives a crash of the machine.

    Raises:
        OSError: the disk is full or the folder not writable; ``path`` is then what it was before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with open(beside, mode, **text) as stream:
            yield stream
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(beside, path)
    except OSError as error:
        # These come without a file name; one that has its name comes from a file inside this one's block.
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and error.strerror == os.strerror(error.errno):
            raise OSError(
                error.errno, f"{path} could not be written, free some space and run again: {error.strerror}"
            ) from error
        raise
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: PathLike, marker: str) -> Iterator[Path]:
    """Yield a new folder beside ``path`` that replaces it only when the block ends without an error.

    Args:
        path: the final name.
        marker: a name that every folder of this kind has in it; a folder without it is somebody else's and is kept.

    Raises:
        ValueError: ``path`` is a folder of another kind, or a file.
    """
    path = Path(path)
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / marker).exists()):
        raise ValueError(
            f"{path} exists and has no {marker} in it, so it is not replaced: choose another --out or remove it"
        )
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        for file in beside.rglob("*"):
            if file.is_file():
                with open(file, "rb") as stream:
                    os.fsync(stream.fileno())
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(beside, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
