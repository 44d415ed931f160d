"""Reads translation memories (TMX 1.4): units with one variant per language."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langsamp_plugin.lang_script import LangScript

XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def tmx_languages(path: Path) -> dict[LangScript, object]:
    """Return the languages of a file, each with its spellings in the file.

    Raises:
        ModuleNotFoundError: lxml is not installed.
        ValueError: the file is not XML, or a language has an unknown name.
    """
    found: dict[LangScript, set[str]] = {}
    for unit in _units(path):
        for name in _variants(unit):
            try:
                found.setdefault(LangScript.from_spelling(name), set()).add(name)
            except ValueError as error:
                raise ValueError(f"{path}: {error}; correct xml:lang") from error
    return {tag: frozenset(names) for tag, names in found.items()}


def tmx_messages(path: Path, names: object) -> Iterator[tuple[int, str]]:
    """Yield ``(number of the unit, text)`` in one language; empty if a unit lacks it.

    Args:
        path: the file.
        names: the spellings of the language, from :func:`tmx_languages`.
    """
    assert isinstance(names, frozenset)
    for number, unit in enumerate(_units(path), 1):
        variants = _variants(unit)
        yield number, next((text for name, text in variants.items() if name in names), "")


def _units(path: Path) -> Iterator[Any]:
    """Yield the elements ``tu``, one in memory at a time."""
    try:
        from lxml import etree
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"reading {path} needs lxml: pip install 'langsamp-plugin[pairs]'") from error
    with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as stream:
        try:
            # External references are not fetched and entities are not expanded.
            events = etree.iterparse(
                stream, tag="{*}tu", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
            )
            for _, unit in events:
                yield unit
                unit.clear()
                while unit.getprevious() is not None:
                    del unit.getparent()[0]
        except (etree.XMLSyntaxError, EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} must be complete TMX, but does not parse: {error}") from error


def _variants(unit: Any) -> dict[str, str]:
    """Return the texts of a unit by language name, without markup."""
    found: dict[str, str] = {}
    for variant in unit.iterfind("{*}tuv"):
        name = variant.get(XML_LANG) or variant.get("lang")
        segment = variant.find("{*}seg")
        if name and segment is not None:
            found.setdefault(name, " ".join("".join(_plain(segment)).split()))
    return found


def _plain(element: Any) -> Iterator[str]:
    """Yield text outside inline codes; ``hi`` and ``sub`` contain text of the sentence."""
    yield element.text or ""
    for child in element:
        if str(child.tag).rpartition("}")[2] in ("hi", "sub"):
            yield from _plain(child)
        yield child.tail or ""
