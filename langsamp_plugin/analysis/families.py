"""Language families, from a small built-in list or a user's file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.lang_script import ASSETS

OTHER = "other"
"""Family of a language that is not in the list."""


def read_families(path: Optional[PathLike] = None) -> dict[str, str]:
    """Read a list of families.

    Args:
        path: TSV with the columns ``language`` (ISO 639-3) and ``family``; by default the built-in list, whose first
            lines name its source. Lines that begin with ``#`` are comments.

    Raises:
        ValueError: a column is missing, a line has the wrong number of fields, or a language has two different
            families.
    """
    path = ASSETS / "families.tsv" if path is None else path
    try:
        with open(path, encoding="utf-8") as stream:
            rows = [
                (number, line.rstrip("\r\n").split("\t"))
                for number, line in enumerate(stream, 1)
                if line.strip() and not line.startswith("#")
            ]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8") from error
    header = rows[0][1] if rows else []
    if "language" not in header or "family" not in header:
        raise ValueError(f"{path} must begin with a header of the columns language and family, separated by a tab")
    families: dict[str, str] = {}
    for number, fields in rows[1:]:
        if len(fields) != len(header):
            raise ValueError(
                f"{path}, line {number}: must have {len(header)} fields as the header, but has {len(fields)}"
            )
        language, family = fields[header.index("language")], fields[header.index("family")]
        if families.setdefault(language, family) != family:
            raise ValueError(f"{path}, line {number}: {language} is {family} here and {families[language]} above")
    return families


def families_of(languages: Iterable[str], families: dict[str, str], most: int = 19) -> dict[str, str]:
    """Return the family of each language; all but the ``most`` frequent become ``other``, because colours are
    limited."""
    found = {language: families.get(language, OTHER) for language in languages}
    names = [name for name in found.values() if name != OTHER]
    kept = set(sorted(set(names), key=lambda name: (-names.count(name), name))[:most])
    return {language: name if name in kept else OTHER for language, name in found.items()}
