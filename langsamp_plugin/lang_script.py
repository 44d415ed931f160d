"""The tag of a text, such as ``eng_Latn``: ``<ISO 639-3>_<ISO 15924>``."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import NamedTuple, Optional

from langsamp_plugin.code_tables import (
    ASSETS,
    CODE_TABLES,
    SCRIPT_ALIASES,
    UNKNOWN_ID,
    UNKNOWN_LANGUAGE,
    UNKNOWN_SCRIPT,
    CodeTable,
    LanguageTable,
    ScriptTable,
    Tables,
)
from langsamp_plugin.spelling import is_no_single_language, read_spelling

__all__ = [
    "ASSETS", "CODE_TABLES", "SCRIPT_ALIASES", "UNKNOWN_ID", "UNKNOWN_LANGUAGE", "UNKNOWN_SCRIPT",
    "CodeTable", "LangScript", "LanguageTable", "NoScriptError", "ScriptTable", "Tables", "head_tags", "is_language",
]  # fmt: skip


class LangScript(NamedTuple):
    """A language and the script that it is written in.

    Args:
        language: ISO 639-3 code, or ``und`` if unknown.
        script: ISO 15924 code, or ``Zyyy`` if unknown.
    """

    language: str
    script: str

    def __str__(self) -> str:
        return f"{self.language}_{self.script}"

    @classmethod
    def parse(cls, text: str) -> LangScript:
        """Read a tag in the exact form ``eng_Latn``.

        Raises:
            ValueError: the text has another form, or a code is not registered.
        """
        match = re.fullmatch(r"([a-z]{3})_([A-Z][a-z]{3})", text)
        if match is None:
            raise ValueError(
                f"tag must be <ISO 639-3>_<ISO 15924> such as eng_Latn, but is {text!r}; und_Latn stands for an "
                "unknown language in a known script"
            )
        tag = cls(*match.groups())
        if not is_language(tag.language):
            raise ValueError(
                f"{tag.language!r} in tag {text!r} is not an ISO 639-3 code of a language; use und if it is unknown"
            )
        if not _known_script(tag.script):
            raise ValueError(f"{tag.script!r} in tag {text!r} is not an ISO 15924 code; use Zyyy if it is unknown")
        return tag

    @classmethod
    def from_spelling(cls, text: str, script: Optional[str] = None) -> LangScript:
        """Read a tag in any common spelling: ``eng_Latn``, BCP 47 (``zh-Hant``), fairseq's ``en_XX``, ``sr@latin``, and
        the names of published collections (``hi_rom``, ``zh-classical``).

        A missing script is filled in with the language's usual script according to Unicode's CLDR. If CLDR has none,
        nothing is guessed.

        Args:
            text: the spelling.
            script: ISO 15924 code for a language whose usual script CLDR does not know, e.g. determined from its text.

        Raises:
            ValueError: the text does not name a language, or its script is unknown.
        """
        spelled = read_spelling(text)
        found = spelled.script or script
        if found is None:
            raise NoScriptError(
                f"{text!r} does not say which script {spelled.language} is written in, and CLDR does not know: write "
                f"it out, such as {spelled.language}_Latn"
            )
        return cls.parse(f"{spelled.language}_{SCRIPT_ALIASES.get(found, found)}")


class NoScriptError(ValueError):
    """A spelling whose script can only be determined from the text."""


@cache
def is_language(code: str) -> bool:
    """Return whether a code is ``und``, in the published table, or an individual language in ISO 639-3."""
    if code == UNKNOWN_LANGUAGE or code in LanguageTable.glot500():
        return True
    if is_no_single_language(code):
        return False
    import langcodes

    return re.fullmatch("[a-z]{3}", code) is not None and langcodes.Language.get(code).is_valid()


@cache
def _known_script(code: str) -> bool:
    if code == UNKNOWN_SCRIPT or code in ScriptTable.glot500():
        return True
    import langcodes

    return langcodes.Language.get(f"und-{code}").is_valid()


@lru_cache(maxsize=1)
def head_tags() -> frozenset[str]:
    """The tags that XLM-R was trained on, called *head* in the paper; all other tags are *tail*."""
    lines = (ASSETS / "xlmr_tags.tsv").read_text(encoding="utf-8").splitlines()
    return frozenset(tag for line in lines if not line.startswith("#") for tag in line.split("\t")[1].split())
