"""Reads parallel text from tab-separated columns, one per language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

from langsamp_plugin.corpus.readers import COMPRESSED, plain_lines
from langsamp_plugin.lang_script import LangScript


def without_compression(name: str) -> str:
    """Return a file name without the extension of its compression."""
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return name


def tag_or_none(name: str) -> Optional[LangScript]:
    """Return the tag that a name spells, if any."""
    try:
        return LangScript.from_spelling(name)
    except ValueError:
        return None


def tsv_tags(path: Path, tags: Sequence[str]) -> dict[LangScript, object]:
    """Map the languages of a TSV file to columns: by ``tags``, the first line, or a file name such as deu-eng.tsv."""
    header = next(iter(plain_lines(path)), "").rstrip("\r").split("\t")
    if tags:
        if len(tags) != len(header):
            raise ValueError(f"--tags must name all {len(header)} columns of {path}, but names {len(tags)}")
        return _columns(path, [None if tag == "-" else LangScript.from_spelling(tag) for tag in tags])
    for names in (header, without_compression(path.name).removesuffix(".tsv").split("-")):
        found = [tag_or_none(name.strip()) for name in names]
        if len(names) == len(header) > 1 and None not in found:
            return _columns(path, found)
    raise ValueError(
        f"{path} must name a language per column in its first line, such as deu_Latn<tab>eng_Latn, but begins with "
        f"{header[:3]!r}: name them with --tags deu_Latn,eng_Latn (- leaves a column out)"
    )


def _columns(path: Path, tags: Sequence[Optional[LangScript]]) -> dict[LangScript, object]:
    for tag in tags:
        if tag is not None and tags.count(tag) > 1:
            raise ValueError(f"{path} must have one column per language, but {tag} has two: leave one out with --tags")
    return {tag: number for number, tag in enumerate(tags) if tag is not None}


def tsv_messages(path: Path, column: object, tags: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield ``(line, text)`` of a column; ``tags`` as for :func:`tsv_tags`."""
    assert isinstance(column, int)
    width = None
    named = bool(tags) or tag_or_none(next(iter(plain_lines(path)), "").split("\t")[0].strip()) is None
    for number, line in enumerate(plain_lines(path), 1):
        cells = line.rstrip("\r").split("\t")
        width = width or len(cells)
        if len(cells) != width:
            raise ValueError(
                f"{path}, line {number}: must have {width} columns, but has {len(cells)}: correct the line"
            )
        if number > 1 or named:
            yield number, cells[column]
