"""Extracts the language from the name of a file or folder and ignores what a collection adds to it."""

from __future__ import annotations

import re
from pathlib import Path

from langsamp_plugin.corpus.readers import COMPRESSED, IN_ARCHIVES, KINDS
from langsamp_plugin.corpus.splits import SPLITS
from langsamp_plugin.spelling import read_spelling

BEFORE = re.compile(r"(c4-|\d{8}\.)")  # mC4's files, Wikipedia's folders: c4-af.tfrecord-00000-of-00128, 20231101.af
BEHIND = re.compile(
    rf"([-_.](part|shard|meta|tfrecord|of|\d+|{'|'.join(sorted(SPLITS.keys() - {'removed'}, key=len, reverse=True))}))+"
)
"""Names of shards and splits; text that a collection's filters removed does not count as the language's text."""


def language_name(path: Path) -> str:
    """Return the part of a file or folder name that names its language.

    This is the complete name if it is a language, else the name without parts that mark shards and splits. A name that
    is not a language in either form is returned unchanged, for the error message.
    """
    name = path.name if path.is_dir() else stem(path)
    if _is_language(name):
        return name
    start = BEFORE.match(name)
    short = name[start.end() :] if start else name
    for match in BEHIND.finditer(short):
        if match.end() == len(short):
            short = short[: match.start()]
            break
    return short if _is_language(short) else name


def stem(path: Path) -> str:
    """Return a file name without the extensions of format and compression."""
    name = path.name
    for suffix in (*COMPRESSED, *IN_ARCHIVES, *KINDS):
        name = name.removesuffix(suffix)
    return name


def _is_language(name: str) -> bool:
    try:
        read_spelling(name)
    except ValueError:
        return False
    return True


def looks_like_text(path: Path) -> bool:
    """Return whether a file or folder without a reader is named like a language, so that users would miss it."""
    name = path.name.split(".")[0]
    return not path.name.startswith((".", "_")) and _is_language(name)
