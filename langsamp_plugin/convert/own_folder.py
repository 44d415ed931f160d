"""Folders that an export may replace: those that it wrote itself and nobody added to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Optional

from langsamp_plugin import manifest as written
from langsamp_plugin.atomic import PathLike, atomic_folder, read_record
from langsamp_plugin.place import LOCK, resolve

MANIFEST = "langsamp_files.json"
"""What an export wrote, as size and hash of each file, so that the next one knows whether somebody else's is there."""
HASHED = 2**20
"""Larger files are known by their size alone: nobody edits weights by hand, and hashing them would take long."""


@contextmanager
def own_folder(out: PathLike, overwrite: bool = False) -> Iterator[Path]:
    """Yield a new folder that replaces ``out`` when the block ends without an error; see :func:`check_replaceable`."""
    check_replaceable(out, overwrite)
    out = resolve(out)
    present = sorted(path.name for path in out.iterdir() if path.name != LOCK) if out.is_dir() else []
    # What is there may be replaced, as was just checked; any of its names tells the same to atomic_folder.
    with atomic_folder(out, marker=present[0] if present else MANIFEST) as folder:
        yield folder
        files = {name: _signature(folder / name) for name in _names(folder)}
        content = json.dumps({"written_by": "langsamp export", "files": files}, indent=2, sort_keys=True)
        (folder / MANIFEST).write_text(content + "\n", encoding="utf-8")
        _follow_umask(folder)


def check_replaceable(out: PathLike, overwrite: bool = False) -> None:
    """Raise ``ValueError`` unless a folder may be written there: absent, empty, ours and unchanged, or asked for."""
    out = resolve(out)
    if out.is_file():
        raise ValueError(f"{out} must be a folder or not exist, but is a file: choose another --out")
    if overwrite or not out.is_dir():
        return
    stranger = _stranger(out)
    if stranger is not None:
        raise ValueError(f"{out} is not replaced, because {stranger}: choose another --out, or add --overwrite")


def _stranger(out: Path) -> Optional[str]:
    """Return what in a folder is not as an export left it, ``None`` if all of it is."""
    names = [name for name in _names(out) if name not in (MANIFEST, LOCK, written.MANIFEST)]
    if not names:
        return None
    record = read_record(out / MANIFEST, ["written_by", "files"])
    if record is None or not isinstance(record["files"], dict):
        return f"it has no {MANIFEST} and so was not written by langsamp export"
    for name in names:
        if name not in record["files"]:
            return f"{name} was added to it"
        if _signature(out / name) != record["files"][name]:
            return f"{name} was changed since it was exported"
    return None


def _names(folder: Path) -> list[str]:
    """Return the files and links of a folder, those of its folders too."""
    found = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _signature(path: Path) -> list[object]:
    """Return size and, of small files, hash."""
    if path.is_symlink():
        return [0, f"link to {os.readlink(path)}"]
    size = path.stat().st_size
    return [size, blake2b(path.read_bytes(), digest_size=8).hexdigest() if size <= HASHED else ""]


def _follow_umask(folder: Path) -> None:
    """Give files the mode that a plain ``open`` would: safetensors writes them for their owner alone."""
    mode = (folder / MANIFEST).stat().st_mode & 0o777
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)
