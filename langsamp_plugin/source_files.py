"""What a finished part was made of: an edit is noticed where size and time of a file do not tell.

Copying tools can give an edited file the old time (``rsync -t``, ``cp -p``, ``tar x``). The time at which the system
itself changed a file cannot be set, but also changes with permissions or a move; so where it differs, the
content decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langsamp_plugin.manifest import hash_file

FIELD = "sources"
"""Of a record: what :func:`describe` returns."""


def change_times(paths: Sequence[Path]) -> list[int]:
    """Return when the system last changed each file, nanoseconds."""
    return [path.stat().st_ctime_ns for path in paths]


def describe(paths: Sequence[Path]) -> dict[str, list[Any]]:
    """Return change times and hashes of files; a second or so per GB."""
    return {"changed": change_times(paths), "contents": [hash_file(path) for path in paths]}


def are_unedited(record: Mapping[str, Any], paths: Sequence[Path]) -> bool:
    """Return whether files have the content that a record is of.

    Files are read only where the system has touched them since. A record of an earlier version, without this, counts.
    """
    known = record.get(FIELD)
    if not isinstance(known, dict):
        return True
    if known.get("changed") == change_times(paths):
        return True
    return known.get("contents") == [hash_file(path) for path in paths]
