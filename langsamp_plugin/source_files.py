"""Records the sources of finished parts; detects edits that size and modification time do not show.

Copying tools can give an edited file its old modification time (``rsync -t``, ``cp -p``, ``tar x``). The change time
(ctime) cannot be set, but also changes with permissions or a move; if it differs, the content decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langsamp_plugin.manifest import hash_file

FIELD = "sources"
"""Key of a record for the result of :func:`describe`."""


def change_times(paths: Sequence[Path]) -> list[int]:
    """Return the change time (ctime) of each file in nanoseconds."""
    return [path.stat().st_ctime_ns for path in paths]


def describe(paths: Sequence[Path]) -> dict[str, list[Any]]:
    """Return change times and hashes of files; takes about a second per GB."""
    return {"changed": change_times(paths), "contents": [hash_file(path) for path in paths]}


def are_unedited(record: Mapping[str, Any], paths: Sequence[Path]) -> bool:
    """Return whether files still have the recorded content.

    Only files whose change time differs are read. Records of earlier versions, which lack this field, count as equal.
    """
    known = record.get(FIELD)
    if not isinstance(known, dict):
        return True
    if known.get("changed") == change_times(paths):
        return True
    return known.get("contents") == [hash_file(path) for path in paths]
