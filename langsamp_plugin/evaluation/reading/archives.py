"""Locates a task's files and unpacks archives once."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from pathlib import Path
from typing import Optional

from langsamp_plugin.atomic import PathLike, atomic_folder
from langsamp_plugin.evaluation.tasks import Task


def task_folder(task: Task, data: PathLike, unpacked: PathLike) -> Path:
    """Return the folder of a task's files: ``<data>/<task>``, or ``data`` itself; an archive in it is unpacked once.

    Args:
        task: the task.
        data: the folder that the user named.
        unpacked: folder to unpack archives into.

    Raises:
        FileNotFoundError: the folder is missing.
        ValueError: the archive is damaged.
    """
    data = Path(data)
    folder = next((data / name for name in (task.folder, task.name) if name and (data / name).is_dir()), data)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data folder {folder} is missing; `langsamp evaluate --list` says where to get the data"
        )
    archives = sorted(folder.glob(f"{task.name}.tar.*"))
    if not archives:
        return folder
    stat = archives[0].stat()
    target = Path(unpacked) / f"{task.name}-{stat.st_size}-{stat.st_mtime_ns}"
    if not target.is_dir():
        try:
            with atomic_folder(target, marker=task.name) as unfinished, tarfile.open(archives[0]) as archive:
                archive.extractall(unfinished, filter=_files_and_folders_only)
        except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(f"{archives[0]} is damaged, cut off or unsafe, download it again: {error}") from error
    return target / task.name if (target / task.name).is_dir() else target


def _files_and_folders_only(member: tarfile.TarInfo, folder: str) -> Optional[tarfile.TarInfo]:
    """Allow only files and folders inside the target; links could lead outside."""
    if not (member.isreg() or member.isdir()):
        raise tarfile.ReadError(f"{member.name!r} in it is neither a file nor a folder")
    return tarfile.data_filter(member, folder)
