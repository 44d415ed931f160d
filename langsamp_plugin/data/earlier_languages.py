"""Languages of earlier runs that are no longer in the corpus, and languages without held-out text."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from langsamp_plugin.data.data_folder import LANGUAGE_STATS
from langsamp_plugin.lang_script import LangScript

SHOWN = 10
"""Maximum number of tags listed on a line."""


def earlier_languages(out: Path, tags: Iterable[LangScript]) -> list[str]:
    """Return the finished languages of a data folder that are not in ``tags``; training uses them."""
    known = set(map(str, tags))
    return sorted(path.parent.name for path in out.glob(f"*/{LANGUAGE_STATS}") if path.parent.name not in known)


def remove_languages(out: Path, tags: Iterable[str]) -> None:
    """Remove languages from a data folder; the record that marks a finished language is removed first."""
    for tag in tags:
        (out / tag / LANGUAGE_STATS).unlink(missing_ok=True)
        shutil.rmtree(out / tag)


def without_held_out(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return the languages of a table of statistics that have only training text."""
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["tag"], set()).add(row["split"])
    return sorted(tag for tag, found in splits.items() if "valid" not in found)


def some(tags: list[str]) -> str:
    """Format the first tags of a list and the number of others."""
    more = f" and {len(tags) - SHOWN} more" if len(tags) > SHOWN else ""
    return f"{' '.join(tags[:SHOWN])}{more}"
