"""The language-scripts of the paper's evaluation, per task, with head and tail."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Optional

from langsamp_plugin.evaluation.reading.lines import all_lines
from langsamp_plugin.evaluation.reading.names import PAPER_NAMES, task_tag
from langsamp_plugin.lang_script import ASSETS, LangScript, Tables

SAME_LANGUAGE = {"cmn": "zho", "swh": "swa", "arb": "ara", "lvs": "lav", "nob": "nor", "pes": "fas", "ydd": "yid"}
"""Pairs of codes that data sets use interchangeably for the same texts."""


@lru_cache(maxsize=1)
def paper_languages() -> dict[str, dict[str, bool]]:
    """Return task -> tag -> whether the language is head, for the six tasks of the paper."""
    tables: dict[str, dict[str, bool]] = {}
    for line in all_lines(ASSETS / "paper_languages.tsv"):
        if line.startswith("#") or line.startswith("task\t"):
            continue
        task, tag, head = line.split("\t")
        tables.setdefault(task, {})[PAPER_NAMES.get(task, {}).get(tag, tag)] = head == "1"
    return tables


@lru_cache(maxsize=1)
def published_tags() -> list[str]:
    """Return the language-scripts that the published model was trained on, as far as they are known.

    The publication names 610 languages and 30 scripts, but not their pairs. These are the tags of the paper's
    evaluation; a language without one has its usual script, or is left out if it has none.
    """
    published = Tables.glot500()
    tags = {LangScript.parse(tag) for tags in paper_languages().values() for tag in tags}
    for language in set(published.languages) - {tag.language for tag in tags}:
        try:
            tags.add(LangScript.from_spelling(language))
        except ValueError:  # no usual script
            continue
    return sorted(str(tag) for tag in tags if tag.language in published.languages and tag.script in published.scripts)


def paper_tag(task: str, tag: str) -> Optional[str]:
    """Return the paper's tag for a language of a task, or ``None`` if the paper does not have it."""
    known = paper_languages().get(task, {})
    if tag in known:
        return tag
    language, _, script = tag.partition("_")
    script = {"Hans": "Hani", "Hant": "Hani"}.get(script, script)
    others = [f"{language}_{script}", f"{SAME_LANGUAGE.get(language, '')}_{script}"]
    others += [f"{code}_{script}" for code, other in SAME_LANGUAGE.items() if other == language]
    return next((other for other in others if other in known), None)


def wanted_languages(value: str, task: str) -> Optional[set[str]]:
    """Return the tags of ``--languages`` for a task, or ``None`` for all.

    Args:
        value: ``all``, ``paper`` or a file with one tag per line; further columns of the file are comments.
        task: the name of the task.

    Raises:
        ValueError: the file is malformed.
    """
    if value in ("", "all"):
        return None
    if value == "paper":
        return set(paper_languages().get(task, {})) or None
    if not Path(value).is_file():
        raise FileNotFoundError(f"--languages must be all, paper or a file with one tag per line, but is {value!r}")
    return set(read_language_list(Path(value)))


def read_language_list(path: Path) -> list[str]:
    """Read a file with one tag per line; a first line without a tag is a header.

    Raises:
        ValueError: a line has no tag; the message names file and line.
    """
    tags = []
    for number, line in enumerate(all_lines(path), 1):
        name = line.split("\t")[0].strip()
        if not name or name.startswith("#") or (number == 1 and name in ("lang_script", "tag", "language")):
            continue
        try:
            tags.append(str(task_tag(name)))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    if not tags:
        raise ValueError(f"{path} must have at least one tag, but has none")
    return tags


def of_the_paper(task: str, tags: Iterable[str]) -> int:
    """Return how many of the paper's languages for a task are among some tags."""
    return len({found for tag in tags if (found := paper_tag(task, tag)) is not None})
