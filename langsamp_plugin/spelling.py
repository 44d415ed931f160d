"""Reads the names that collections give to languages as ISO codes; no part of a name is ignored.

If a name is a BCP 47 tag, each of its subtags must be understood or the name is refused. Names specific to a collection
and ambiguous codes are listed in ``assets/spellings.tsv`` with the decision and the reason.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any, NamedTuple, Optional

from langsamp_plugin.code_tables import ASSETS, SCRIPT_ALIASES, UNKNOWN_LANGUAGE, UNKNOWN_SCRIPT

MODIFIERS = {"latin": "Latn", "cyrillic": "Cyrl", "arabic": "Arab", "devanagari": "Deva"}
ROMANISED = "rom"
"""CC-100's mark for romanised text of a language with another script: ``hi_rom``."""

LATIN_VARIANTS = {"alalc97", "baku1926", "hepburn", "heploc", "pinyin", "tongyong", "wadegile"}
"""BCP 47 variants that are Latin transcriptions."""

WITHDRAWN = {"in", "iw", "ji", "jw"}
"""Withdrawn ISO 639-1 codes that collections still use."""

PHONETIC_VARIANTS = {"fonipa", "fonkirsh", "fonnapa", "fonupa", "fonxsamp", "simple"}
"""BCP 47 variants whose text is not the language's ordinary orthography."""


class Spelling(NamedTuple):
    """The content of a name.

    Args:
        language: ISO 639-3 code.
        script: ISO 15924 code; ``None`` if neither the name nor CLDR determines it.
        stated: whether the name itself states the script, so that the text is not consulted.
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
        ValueError: the name is not a language, contains something that a tag cannot express, or is ambiguous.
    """
    decision = special_names().get(text.lower().replace("_", "-"))
    if decision is not None:
        tag, reason = decision
        if not tag:
            raise ValueError(f"{text!r} names no known language: {reason}")
        return _of_tag(tag)
    # A tag is never renormalised: langcodes would turn lvs_Latn into lv.
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
    """Read a BCP 47 tag; errors quote ``text``."""
    import langcodes

    try:
        as_written, normal = langcodes.Language.get(tag, normalize=False), langcodes.Language.get(tag)
        if not normal.is_valid() or not normal.language:  # langcodes returns no language for und
            if (normal.language or UNKNOWN_LANGUAGE) == UNKNOWN_LANGUAGE and tag.split("-")[
                0
            ].lower() == UNKNOWN_LANGUAGE:
                return Spelling(UNKNOWN_LANGUAGE, normal.script or UNKNOWN_SCRIPT)
            raise ValueError(f"{text!r} names no known language; write it as a tag such as eng_Latn")
        language = _alpha3(as_written, normal)
    except LookupError as error:  # langcodes' ValueErrors have their own message
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

    Codes are kept: langcodes would merge lvs into lv, kzj into dtp and tl into fil, which have separate rows. Only
    withdrawn two-letter codes (iw), bibliographic codes of ISO 639-2 (ger) and extended language subtags (zh-yue) are
    replaced.
    """
    from langcodes.data_dicts import LANGUAGE_ALPHA3_BIBLIOGRAPHIC

    code = as_written.language
    if as_written.extlangs or "-" in code or code in WITHDRAWN or code in LANGUAGE_ALPHA3_BIBLIOGRAPHIC.values():
        return str(normal.to_alpha3())
    return str(code if len(code) == 3 else as_written.to_alpha3())


@cache
def usual_script(language: str, territory: Optional[str] = None) -> Optional[str]:
    """Return the usual script of a language, optionally in a territory; ``None`` if unknown.

    It follows CLDR, except for the corrections in ``assets/usual_scripts.tsv``. A macrolanguage's script does not apply
    to its members: Azerbaijani is written in Latin letters, South Azerbaijani in Arabic letters.

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
    # By a macrolanguage's code CLDR means its standard variety (arb, bxr).
    code = code if code in LIKELY_SUBTAGS else NORMALIZED_MACROLANGUAGES.get(code, code)
    entry = (LIKELY_SUBTAGS.get(f"{code}-{territory}") if territory else None) or LIKELY_SUBTAGS.get(code)
    return entry.split("-")[1] if entry else None


@cache
def is_written_in(language: str, script: str) -> bool:
    """Return whether text of a language may be in a script: its usual one, one from CLDR or a published list, or Latin.

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
    if LIKELY_SUBTAGS.get(f"und-{script}", "").partition("-")[0] in (code, language):  # Meitei and its script
        return True
    entries = [entry for name, entry in LIKELY_SUBTAGS.items() if name.partition("-")[0] in (code, language)]
    return any(SCRIPT_ALIASES.get(entry.split("-")[1], entry.split("-")[1]) == script for entry in entries)


@lru_cache(maxsize=1)
def _further_scripts() -> frozenset[tuple[str, str]]:
    """Return the languages and scripts of the evaluation lists and of other published lists."""
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
    """Return the reason if a three-letter code means a group of languages, several languages or none."""
    tag, reason = special_names().get(code, ("", ""))
    return not tag and reason.startswith(("it is a group of languages", "it stands for"))


@lru_cache(maxsize=1)
def special_names() -> dict[str, tuple[str, str]]:
    """Return names that are not codes, or ambiguous codes: the tag (empty to refuse) and the reason."""
    lines = (ASSETS / "spellings.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {name: ("" if tag == "-" else tag, reason) for name, tag, reason in rows}
