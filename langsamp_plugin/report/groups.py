"""The paper's groups of languages: tail, head, Latn, non-Latn, all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.errors import error_context
from langsamp_plugin.evaluation.paper_languages import paper_languages, paper_tag
from langsamp_plugin.evaluation.reading.lines import all_lines
from langsamp_plugin.lang_script import LangScript, head_tags

HEADER = ("lang_script", "head")


class Groups:
    """Defines which languages are head languages.

    Args:
        heads: the tags of head languages for every task; by default those of the authors' list of each task, and among
            languages not in that list, those that XLM-R was trained on.
    """

    names = ("tail", "head", "Latn", "non-Latn", "all")

    def __init__(self, heads: Optional[Iterable[str]] = None):
        self.given = None if heads is None else frozenset(heads)

    @property
    def heads(self) -> frozenset[str]:
        """The head tags used when no task is named."""
        return self.given if self.given is not None else head_tags()

    def is_head(self, tag: str, task: str = "") -> bool:
        """Return whether a language of a task is a head language."""
        if self.given is None:
            listed = paper_tag(task, tag) if task else None
            if listed is not None:
                return paper_languages()[task][listed]
        return tag in self.heads

    def members(self, name: str, tags: Iterable[str], task: str = "") -> list[str]:
        """Return which of some tags are in a group."""
        tests: dict[str, Callable[[str], bool]] = {
            "tail": lambda tag: not self.is_head(tag, task),
            "head": lambda tag: self.is_head(tag, task),
            "Latn": lambda tag: tag.endswith("_Latn"),
            "non-Latn": lambda tag: not tag.endswith("_Latn"),
            "all": lambda tag: True,
        }
        return [tag for tag in tags if tests[name](tag)]

    def describe(self) -> str:
        """Return a description of the split into tail and head."""
        if self.given is not None:
            return "head and tail: from --groups"
        return "head and tail: from the authors' list of each task, for other languages from XLM-R's training languages"

    @classmethod
    def load(cls, path: PathLike) -> Groups:
        """Read a TSV of ``lang_script`` and ``head`` (1 or 0), with a header line or, like the authors' lists, without
        one.

        Raises:
            ValueError: a line is malformed; the message names file and line.
        """
        heads = []
        lines = [(number, line.split("\t")) for number, line in enumerate(all_lines(path), 1) if line.strip()]
        columns = (0, 1)
        if lines and set(HEADER) <= set(lines[0][1]):
            columns = (lines[0][1].index(HEADER[0]), lines[0][1].index(HEADER[1]))
            lines = lines[1:]
        for number, fields in lines:
            with error_context(f"{path}, line {number}"):
                if len(fields) <= max(columns) or fields[columns[1]] not in ("0", "1"):
                    raise ValueError(
                        "must be lang_script<tab>head with 1 or 0 for head, with or without a line that names these "
                        f"columns lang_script and head, but is {chr(9).join(fields)[:60]!r}"
                    )
                tag = str(LangScript.parse(fields[columns[0]]))
                if fields[columns[1]] == "1":
                    heads.append(tag)
        if not lines:
            raise ValueError(f"{path} must have the columns lang_script and head and at least one line, but is empty")
        return cls(heads)
