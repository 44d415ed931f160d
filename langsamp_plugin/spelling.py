"""The names that collections give to languages, read into ISO codes: nothing that a name says is dropped.

Where a name is a tag of BCP 47, each of its subtags is understood or the name is refused. Names that only a collection
knows, and codes that mean two things, stand in ``assets/spellings.tsv`` with what was decided and why.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any, NamedTuple, Optional

from langsamp_plugin.code_tables import ASSETS, SCRIPT_ALIASES, UNKNOWN_LANGUAGE, UNKNOWN_SCRIPT

MODIFIERS = {"latin": "Latn", "cyrillic": "Cyrl", "arabic": "Arab", "devanagari": "Deva"}
ROMANISED = "rom"
"""How CC-100 marks text in Latin letters of a language that has a script of its own: ``hi_rom``."""

LATIN_VARIANTS = {"alalc97", "baku1926", "hepburn", "heploc", "pinyin", "tongyong", "wadegile"}
"""Variants of BCP 47 that are spellings in Latin letters."""

WITHDRAWN = {"in", "iw", "ji", "jw"}
"""Codes of ISO 639-1 that were replaced, and that collections still use."""

PHONETIC_VARIANTS = {"fonipa", "fonkirsh", "fonnapa", "fonupa", "fonxsamp", "simple"}
"""Variants of BCP 47 whose text is no ordinary writing of the language."""


class Spelling(NamedTuple):
    """What a name says.

    Args:
        language: ISO 639-3 code.
        script: ISO 15924 code; ``None`` where neither the name nor CLDR knows.
        stated: the name says the script, so that no text can know better.
    """

    language: str
    script: Optional[str]
    stated: bool = True


def read_spelling(text: str) -> Spelling:
    """Read the name of a language.

    Args:
        text: a tag (``eng_Latn``), a tag of BCP 47 with either separator (``zh-Hant``, ``en_XX``), a POSIX locale
            (``sr@latin``), or a name that a published collection uses (``hi_rom``, ``roa-rup``).

    Raises:
        ValueError: it names no language, says something that a tag cannot hold, or means several things.
    """
    decision = special_names().get(text.lower().replace("_", "-"))
    if decision is not None:
        tag, reason = decision
        if not tag:
            raise ValueError(f"{text!r} names no known language: {reason}")
        return _of_tag(tag)
    # A tag's own spelling is never renormalised: langcodes would turn lvs_Latn into lv.
    if re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", text):
        return _of_tag(text)
    base, _, modifier = text.partition("@")
    base = base.replace("_", "-")
    if modifier:  # POSIX: a script by its English name (sr@latin), a code, or a variant (ca@valencia)
        modifier = MODIFIERS.get(modifier, modifier)
        if len(modifier) < 4:
            raise ValueError(f"{text!r} names no known language: @{modifier} is neither a script nor a variant")
        base = f"{base}-{modifier}"
    first, _, last = base.rpartition("-")
    if last == ROMANISED and first:
        spelled = _read_bcp47(first, text)
        return Spelling(spelled.language, "Latn")
    return _read_bcp47(base, text)


def _of_tag(tag: str) -> Spelling:
    language, script = tag.split("_")
    return Spelling(language, script)


def _read_bcp47(tag: str, text: str) -> Spelling:
    """Read a tag of BCP 47; ``text`` is what an error names."""
    import langcodes

    try:
        as_written, normal = langcodes.Language.get(tag, normalize=False), langcodes.Language.get(tag)
        if not normal.is_valid() or not normal.language:  # langcodes gives und no language at all
            if (normal.language or UNKNOWN_LANGUAGE) == UNKNOWN_LANGUAGE and tag.split("-")[
                0
            ].lower() == UNKNOWN_LANGUAGE:
                return Spelling(UNKNOWN_LANGUAGE, normal.script or UNKNOWN_SCRIPT)
            raise ValueError(f"{text!r} names no known language; write it as a tag such as eng_Latn")
        language = _alpha3(as_written, normal)
    except LookupError as error:  # langcodes' own ValueErrors carry their own message
        raise ValueError(f"{text!r} names no known language: {error.args[0]}") from error
    except ValueError as error:
        message = str(error)
        known = message.startswith(repr(text))
        raise ValueError(message if known else f"{text!r} names no known language: {message}") from error
    rest = [*(normal.extlangs or ()), *(normal.extensions or ()), *([normal.private] if normal.private else ())]
    strange = rest + [part for part in normal.variants or () if part in PHONETIC_VARIANTS]
    if strange:
        raise ValueError(
            f"{text!r} names no known language: {' '.join(strange)!r} in it says something that a tag such as "
            f"{language}_Latn cannot hold; rename it if it can be left out"
        )
    script = normal.script
    if script is None and LATIN_VARIANTS & set(normal.variants or ()):
        script = "Latn"
    if language == UNKNOWN_LANGUAGE:
        return Spelling(language, script or UNKNOWN_SCRIPT)
    return Spelling(language, script or usual_script(language, normal.territory), stated=script is not None)


def _alpha3(as_written: Any, normal: Any) -> str:
    """Return the ISO 639-3 code of a language.

    A code stays what it is: langcodes would merge lvs into lv, kzj into dtp and tl into fil, which have rows of their
    own.
    Only withdrawn codes of two letters (iw), those of ISO 639-2 that librarians use (ger), and the varieties that BCP
    47 also writes behind their group (zh-yue) are replaced.
    """
    from langcodes.data_dicts import LANGUAGE_ALPHA3_BIBLIOGRAPHIC

    code = as_written.language
    if as_written.extlangs or "-" in code or code in WITHDRAWN or code in LANGUAGE_ALPHA3_BIBLIOGRAPHIC.values():
        return str(normal.to_alpha3())
    return str(code if len(code) == 3 else as_written.to_alpha3())


@cache
def usual_script(language: str, territory: Optional[str] = None) -> Optional[str]:
    """Return the script that a language is usually written in, or in a territory; ``None`` where that is not known.

    It is CLDR's, except where ``assets/usual_scripts.tsv`` knows better. A macrolanguage's script is not taken for its
    members: Azerbaijani is written in Latin letters, South Azerbaijani in Arabic ones.

    Args:
        language: ISO 639-3 code.
        territory: ISO 3166 code, such as ``CN``.
    """
    import langcodes
    from langcodes.data_dicts import LIKELY_SUBTAGS, NORMALIZED_MACROLANGUAGES

    published = _published_scripts().get(language)
    if published is not None:
        return None if published == "-" else published
    code = langcodes.Language.get(language).language or language
    # The standard of a macrolanguage (arb, bxr) is what CLDR means by the macrolanguage's code.
    code = code if code in LIKELY_SUBTAGS else NORMALIZED_MACROLANGUAGES.get(code, code)
    entry = (LIKELY_SUBTAGS.get(f"{code}-{territory}") if territory else None) or LIKELY_SUBTAGS.get(code)
    return entry.split("-")[1] if entry else None


@cache
def is_written_in(language: str, script: str) -> bool:
    """Return whether text of a language may be in a script: its usual one, one that CLDR or a list knows, or Latin.

    Args:
        language: ISO 639-3 code.
        script: ISO 15924 code.
    """
    import langcodes
    from langcodes.data_dicts import LIKELY_SUBTAGS

    usual = usual_script(language) or ""
    if script in ("Latn", SCRIPT_ALIASES.get(usual, usual)) or (language, script) in _further_scripts():
        return True
    code = langcodes.Language.get(language).language or language
    if LIKELY_SUBTAGS.get(f"und-{script}", "").partition("-")[0] in (code, language):  # Meitei and its letters
        return True
    entries = [entry for name, entry in LIKELY_SUBTAGS.items() if name.partition("-")[0] in (code, language)]
    return any(SCRIPT_ALIASES.get(entry.split("-")[1], entry.split("-")[1]) == script for entry in entries)


@lru_cache(maxsize=1)
def _further_scripts() -> frozenset[tuple[str, str]]:
    """Return the languages and scripts of the evaluation lists and of other published ones."""
    lines = (ASSETS / "paper_languages.tsv").read_text(encoding="utf-8").splitlines()
    tags = [line.split("\t")[1] for line in lines if not line.startswith(("#", "task\t"))]
    further = (ASSETS / "further_scripts.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in further if not line.startswith("#")]
    return frozenset([(tag[:3], tag[4:]) for tag in tags] + [(language, script) for language, script in rows])


@lru_cache(maxsize=1)
def _published_scripts() -> dict[str, str]:
    lines = (ASSETS / "usual_scripts.tsv").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines if line and not line.startswith("#"))


def is_no_single_language(code: str) -> bool:
    """Return whether a code of three letters stands for a group of languages, for several, or for none."""
    tag, reason = special_names().get(code, ("", ""))
    return not tag and reason.startswith(("it is a group of languages", "it stands for"))


@lru_cache(maxsize=1)
def special_names() -> dict[str, tuple[str, str]]:
    """Return the names that are no codes or ambiguous ones: their tag, empty to refuse, and the reason."""
    lines = (ASSETS / "spellings.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {name: ("" if tag == "-" else tag, reason) for name, tag, reason in rows}
