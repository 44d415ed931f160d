"""What a command wrote, compared with what it writes when nothing happens."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from accident_commands import COMMANDS

from langsamp_plugin.manifest import MANIFEST


def contents(path):
    """Return relative name -> hash of a file, or of the files in a folder; without what keeps the books on them."""
    if path.is_file():
        return {"": _hash(path)}
    files = [file for file in path.rglob("*") if file.is_file() and not is_hidden(file.name) and file.name != MANIFEST]
    return {str(file.relative_to(path)): _hash(file) for file in files}


def _hash(path):
    return hashlib.blake2b(path.read_bytes()).hexdigest()


def is_hidden(name):
    return name.startswith(".") and (name.endswith((".tmp", ".old", ".lock")) or name.startswith(".lock"))


def hidden(folder):
    """Return what writers that were killed left: temporary files and folders, locks."""
    return [str(path.relative_to(folder)) for path in Path(folder).rglob(".*") if is_hidden(path.name)]


class Cell(NamedTuple):
    """What one command did under one accident.

    Args:
        status: of the run.
        last: its last line.
        left: what it left, in words.
        following: what the next run of the same command did.
        faults: what should not be, for a test to print.
    """

    status: int
    last: str
    left: str
    following: str
    faults: list[str]


class Reference(NamedTuple):
    """What a command writes when nothing happens.

    Args:
        files: relative name -> hash, ``None`` where two runs differ, as they carry a path or a time.
        size: bytes of all of them.
        events: calls that write, after the place was tried.
    """

    files: dict
    size: int
    events: int


def reference(bench, name, place):
    """Run a command twice in a folder, the first time in the server itself, and return the :class:`Reference`."""
    found = []
    for number in (1, 2):
        folder = place / str(number)
        folder.mkdir()
        out, count = folder / COMMANDS[name].out, folder / "count"
        if number == 1 and name != "fairseq-train":
            assert bench.warm(name, out) == 0
        else:
            done = bench.run(name, out, count=str(count))
            assert done.status == 0, done.output[-2000:]
        found.append(contents(out))
        assert not hidden(folder)
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    size, events = sum(path.stat().st_size for path in files), int(count.read_text())
    one, two = found
    assert one.keys() == two.keys()
    return Reference({key: value if two[key] == value else None for key, value in one.items()}, size, events)


def differs(out, known):
    """Return what is not as after a run without accident."""
    if not out.exists():
        return ["there is no output"]
    found = contents(out)
    wrong = [key for key, value in known.files.items() if found.get(key) is None or value not in (None, found[key])]
    return [f"{key or out.name} is missing or differs" for key in wrong] + [
        f"{key} is there" for key in found.keys() - known.files.keys()
    ]
