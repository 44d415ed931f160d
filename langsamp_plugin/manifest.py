"""The list of files that a command wrote into a folder; other files were added later."""

from __future__ import annotations

import json
import os
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Optional

from langsamp_plugin.temporary import create_temporary

MANIFEST = ".written.json"
IGNORED = (MANIFEST, ".lock", ".DS_Store")


class Manifest(NamedTuple):
    """The files of a folder.

    Args:
        files: relative name -> a hash of the content, or the empty string where contents are not compared.
        unfinished: the folder is being refilled and contains old and new files, so contents are not compared.
    """

    files: dict[str, str]
    unfinished: bool = False

    @classmethod
    def of(cls, folder: Path, contents: bool = True) -> Manifest:
        """List a folder as it is; with contents a second or so per GB."""
        return cls({name: hash_file(folder / name) if contents else "" for name in _names(folder)})

    @classmethod
    def load(cls, folder: Path) -> Optional[Manifest]:
        """Read the list of a folder, ``None`` if it has none."""
        try:
            record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            files = {str(name): str(value) for name, value in record["files"].items()}
            return cls(files, bool(record.get("unfinished")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def save(self, folder: Path) -> None:
        """Write the list into a folder atomically."""
        fresh, descriptor = create_temporary(folder / MANIFEST)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="\n") as stream:
                json.dump({"unfinished": self.unfinished, "files": self.files}, stream, indent=1)
                stream.write("\n")
                stream.flush()
                os.replace(fresh, folder / MANIFEST)
        finally:
            fresh.unlink(missing_ok=True)

    def joined(self, other: Optional[Manifest]) -> Manifest:
        """Return an unfinished list with the files of both."""
        return Manifest({**(other.files if other is not None else {}), **self.files}, True)

    def foreign(self, folder: Path) -> list[str]:
        """Return the names of files in a folder that are not in the list or have changed."""
        return [
            name
            for name in _names(folder)
            if name not in self.files
            or (self.files[name] and not self.unfinished and hash_file(folder / name) != self.files[name])
        ]


def _names(folder: Path) -> list[str]:
    """Return the relative names of all files, including links, without leftovers of killed writers."""
    found = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*files, *links):
            if name not in IGNORED and not (name.startswith(".") and name.endswith((".tmp", ".lock"))):
                found.append(os.path.relpath(os.path.join(place, name), folder))
        folders[:] = [name for name in folders if not (name.startswith(".") and name.endswith((".tmp", ".old")))]
    return sorted(found)


def hash_file(path: Path) -> str:
    """Return a hash of a file's content, or of a link's target."""
    digest = blake2b(digest_size=16)
    if path.is_symlink():
        digest.update(b"link\0" + os.fsencode(os.readlink(path)))
        return digest.hexdigest()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
