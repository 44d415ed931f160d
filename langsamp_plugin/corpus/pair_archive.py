"""Reads the texts of a folder from a single tar archive without unpacking it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

ENDINGS = (".tar", ".tar.xz", ".tar.gz", ".tar.bz2")


def _archives(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.name.endswith(ENDINGS)) if folder.is_dir() else []


def is_archive_folder(folder: Path) -> bool:
    """Return whether a folder contains a single archive and no text files."""
    return len(_archives(folder)) == 1 and not any(folder.glob("*.txt"))


def unpacked_members(folder: Path) -> dict[str, Callable[[], Iterator[str]]]:
    """Return the names of the ``.txt`` members of the folder's archive, each with a function that yields its lines.

    The archive is read once and its text is kept in memory, because members cannot be accessed at random.

    Raises:
        ValueError: the archive is damaged, or a text is not UTF-8.
    """
    (path,) = _archives(folder)
    found: dict[str, Callable[[], Iterator[str]]] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() and member.name.endswith(".txt") else None
                if stream is None:
                    continue
                text = stream.read().decode("utf-8")
                found[Path(member.name).stem] = lambda text=text: (  # type: ignore[misc]
                    line.rstrip("\n") for line in io.StringIO(text, newline="\n")
                )
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{path} is cut off or damaged, download it again: {error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {member.name} is not UTF-8: convert it, e.g. with iconv") from error
    return found
