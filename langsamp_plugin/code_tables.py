"""Tables that number languages and scripts: plain text, one code per line, in id order, append-only.

Everything that stores rows by id (checkpoints, exported folders) also stores the codes, so that rows are matched by
code and never by position.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Union, overload

from langsamp_plugin.atomic import PathLike, atomic_write

if TYPE_CHECKING:
    from langsamp_plugin.lang_script import LangScript

UNKNOWN_LANGUAGE = "und"
"""ISO 639-3 for an undetermined language."""

UNKNOWN_SCRIPT = "Zyyy"
"""ISO 15924 for an undetermined script."""

UNKNOWN_ID = -1
"""The id of either unknown code. It has no row: its embedding is the constant zero, which nothing (weight decay, an
optimizer's momentum, a growing table) can ever change."""

ASSETS = Path(__file__).parent / "assets"

SCRIPT_ALIASES = {
    # Codes that share a row: simplified and traditional Han, and Korean under Hangul, as in the published table of
    # scripts.
    "Hans": "Hani", "Hant": "Hani", "Kore": "Hang",
    # Styles of one script that Unicode does not distinguish.
    "Aran": "Arab", "Latf": "Latn", "Latg": "Latn", "Cyrs": "Cyrl",
}  # fmt: skip


class CodeTable(Sequence[str]):
    """Codes in id order: ``table[0]`` is the code with id 0, ``table.id("eng")`` is the id of a code.

    Args:
        codes: the codes in id order.
        source: their origin, for error messages.

    Raises:
        ValueError: a code is malformed, repeated, or the unknown code (which has no row).
    """

    noun: ClassVar[str]
    short: ClassVar[str]
    filename: ClassVar[str]
    unknown: ClassVar[str]
    pattern: ClassVar[str]
    aliases: ClassVar[dict[str, str]] = {}

    def __init__(self, codes: Iterable[str], source: PathLike = "the table"):
        self.codes = tuple(codes)
        self.source = str(source)
        self._ids: dict[str, int] = {}
        for number, code in enumerate(self.codes):
            where = f"{self.source}, line {number + 1}"
            if re.fullmatch(self.pattern, code) is None:
                raise ValueError(f"{where}: {self.noun} code must look like {self.pattern}, but is {code!r}")
            if code == self.unknown:
                raise ValueError(f"{where}: {code} stands for an unknown {self.noun} and has no row; remove the line")
            if code in self._ids:
                raise ValueError(f"{where}: {code} occurs twice (first in line {self._ids[code] + 1})")
            self._ids[code] = number

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[str, tuple[str, ...]]:
        return self.codes[index]

    def __contains__(self, code: object) -> bool:
        return code in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CodeTable) and self.codes == other.codes

    def __hash__(self) -> int:
        return hash(self.codes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} codes from {self.source})"

    def id(self, code: str) -> int:
        """Return the id of ``code``; :data:`UNKNOWN_ID` for the unknown code.

        Raises:
            ValueError: the table has no such code.
        """
        if code == self.unknown:
            return UNKNOWN_ID
        if code not in self._ids:  # other tables may distinguish Hans and Hant; ours does not
            code = self.aliases.get(code, code)
        if code not in self._ids:
            raise ValueError(
                f"{self.noun} {code!r} is not among the {len(self)} codes of {self.source}; append it there, or "
                f"train with --tables data to take the inventory from the data folder"
            )
        return self._ids[code]

    def code(self, number: int) -> str:
        """Return the code with id ``number``; the unknown code for :data:`UNKNOWN_ID`."""
        return self.unknown if number == UNKNOWN_ID else self.codes[number]

    def extended(self, codes: Iterable[str]) -> CodeTable:
        """Return a table with missing codes appended in alphabetical order."""
        missing = {self.aliases.get(code, code) for code in codes if code not in self}
        new = sorted(code for code in missing if code not in self and code != self.unknown)
        return type(self)((*self.codes, *new), self.source) if new else self

    @classmethod
    def load(cls, path: PathLike) -> CodeTable:
        """Read a table file: one code per line; further tab-separated columns are comments.

        Raises:
            ValueError: the file is empty, not UTF-8, or has a malformed or repeated code.
        """
        path = Path(path)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: table must be UTF-8 text with one code per line: {error}") from error
        if not lines:
            raise ValueError(f"{path}: table must have at least one code, but is empty")
        return cls((line.split("\t")[0] for line in lines), path)

    def save(self, path: PathLike) -> None:
        """Write the table file atomically."""
        with atomic_write(path) as stream:
            stream.writelines(f"{code}\n" for code in self.codes)

    @classmethod
    def glot500(cls) -> CodeTable:
        """The inventory published by the LangSAMP authors: 610 languages, 30 scripts."""
        return _builtin_table(cls)


class LanguageTable(CodeTable):
    """ISO 639-3 codes in id order."""

    noun = "language"
    short = "lang"
    filename = "languages.tsv"
    unknown = UNKNOWN_LANGUAGE
    pattern = "[a-z]{3}"


class ScriptTable(CodeTable):
    """ISO 15924 codes in id order."""

    noun = "script"
    short = "script"
    filename = "scripts.tsv"
    unknown = UNKNOWN_SCRIPT
    pattern = "[A-Z][a-z]{3}"
    aliases = SCRIPT_ALIASES


CODE_TABLES: tuple[type[CodeTable], type[CodeTable]] = (LanguageTable, ScriptTable)
"""The kinds of tables of a model, in the order of :class:`Tables`; ``short`` occurs in names of weights."""


@cache
def _builtin_table(cls: type[CodeTable]) -> CodeTable:
    return cls(cls.load(ASSETS / cls.filename), f"the built-in Glot500 {cls.noun} table")


class Tables(NamedTuple):
    """The two tables of a run."""

    languages: CodeTable
    scripts: CodeTable

    @classmethod
    def load(cls, folder: PathLike) -> Tables:
        """Read ``languages.tsv`` and ``scripts.tsv`` of a data folder or an exported model."""
        folder = Path(folder)
        for kind in CODE_TABLES:
            if not (folder / kind.filename).is_file():
                raise FileNotFoundError(
                    f"{folder / kind.filename} is missing: a folder of tables must contain both files"
                )
        return cls(LanguageTable.load(folder / LanguageTable.filename), ScriptTable.load(folder / ScriptTable.filename))

    @classmethod
    def glot500(cls) -> Tables:
        """The published inventory."""
        return cls(LanguageTable.glot500(), ScriptTable.glot500())

    @classmethod
    def of(cls, tags: Iterable[LangScript], source: PathLike = "the data") -> Tables:
        """Tables with exactly the codes of ``tags``, in alphabetical order."""
        tags = list(tags)
        return cls(LanguageTable([], source), ScriptTable([], source)).extended(tags)

    def extended(self, tags: Iterable[LangScript]) -> Tables:
        """Append the codes of ``tags`` that the tables lack."""
        tags = list(tags)
        return Tables(
            self.languages.extended(tag.language for tag in tags), self.scripts.extended(tag.script for tag in tags)
        )

    def save(self, folder: PathLike) -> None:
        """Write both files into ``folder``."""
        self.languages.save(Path(folder) / LanguageTable.filename)
        self.scripts.save(Path(folder) / ScriptTable.filename)

    def ids(self, tag: LangScript) -> tuple[int, int]:
        """Return ``(language id, script id)``, :data:`UNKNOWN_ID` for an unknown code."""
        return self.languages.id(tag.language), self.scripts.id(tag.script)
