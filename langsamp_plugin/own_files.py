"""Files that a command may replace: its own output, recognised by its beginning."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from langsamp_plugin.place import PathLike


def begins_with(path: PathLike, text: str) -> bool:
    """Return whether a file begins with a text."""
    expected = text.encode()
    try:
        with open(path, "rb") as stream:
            return stream.read(len(expected)) == expected
    except OSError:
        return False


def refuse_foreign(paths: Iterable[PathLike], overwrite: bool, *, own: bool = False) -> None:
    """Raise ``ValueError`` if a file that the command did not write would be replaced.

    Args:
        paths: the files to write; an empty file may be replaced.
        overwrite: replace them anyway.
        own: the files are known to be from an earlier run.
    """
    if overwrite or own:
        return
    for path in map(Path, paths):
        if path.is_file() and path.stat().st_size:
            raise ValueError(
                f"{path} was not written by this command, so it is not replaced: choose another --out, or add "
                "--overwrite"
            )
