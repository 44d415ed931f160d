"""Determines the language of a file or folder from the names that publishers use."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from langsamp_plugin.lang_script import LangScript

ENGLISH = LangScript("eng", "Latn")

WIKIPEDIA_CODES = {
    "als": "gsw_Latn", "bat-smg": "sgs_Latn", "be-x-old": "bel_Cyrl", "be-tarask": "bel_Cyrl", "cbk-zam": "cbk_Latn",
    "crh": "crh_Latn", "eml": "egl_Latn", "fiu-vro": "vro_Latn", "map-bms": "jav_Latn", "nds-nl": "nds_Latn",
    "nrm": "nrf_Latn", "roa-rup": "rup_Latn", "roa-tara": "nap_Latn", "sh": "hbs_Latn", "zh-classical": "lzh_Hani",
    "zh-min-nan": "nan_Latn", "zh-yue": "yue_Hani", "eml_Latn": "egl_Latn",
}  # fmt: skip
"""Names of Wikipedias that differ from the code of their language (List of Wikipedias), as in WikiANN."""

NOT_A_LANGUAGE = {"simple": "simple English is not a separate language"}

PAPER_NAMES = {"ner": {"als_Latn": "gsw_Latn", "eml_Latn": "egl_Latn"}}
"""Tags of WikiANN's Alemannic and Emilian in the published lists."""


def tag_of(name: str, wikipedia: bool = False) -> LangScript:
    """Return the tag that the name of a file or folder means.

    Args:
        name: such as ``deu_Latn``, ``de`` or ``zh-min-nan``.
        wikipedia: read codes of Wikipedias, as used by WikiANN.

    Raises:
        ValueError: the name is not a language.
    """
    if wikipedia and name in NOT_A_LANGUAGE:
        raise ValueError(f"{name!r}: {NOT_A_LANGUAGE[name]}")
    return task_tag(WIKIPEDIA_CODES.get(name, name) if wikipedia else name)


def task_tag(name: str) -> LangScript:
    """Return the tag of a task's language; zho_Hans and zho_Hant stay separate here although they share one row of the
    table."""
    try:
        return LangScript.parse(name)
    except ValueError:
        return LangScript.from_spelling(name)


def tagged_files(folder: Path, pattern: str, suffix: str = "") -> tuple[dict[LangScript, Path], dict[str, str]]:
    """Find the files that are named after a language.

    Args:
        folder: the folder to search.
        pattern: pattern of the names, such as ``*.txt``.
        suffix: the part of the stem after the language.

    Returns:
        The file of each language, and those left out, with the reason.
    """
    found: dict[LangScript, Path] = {}
    left_out: dict[str, str] = {}
    for path in sorted(folder.glob(pattern)):
        name = path.stem.removesuffix(suffix)
        try:
            tag = tag_of(name)
        except ValueError as error:
            left_out[path.name] = f"{path}: {error}; rename the file"
            continue
        keep_one(found, left_out, tag, path, name)
    return found, left_out


def keep_one(found: dict[LangScript, Path], left_out: dict[str, str], tag: LangScript, path: Path, name: str) -> None:
    """Assign a path to a language; of two paths for one language, the one named after its own code wins."""
    if tag not in found:
        found[tag] = path
        return
    other = found[tag]
    own = bool(re.match(rf"{tag.language}\b|{tag.language}_", name))
    kept, dropped = (path, other) if own else (other, path)
    found[tag] = kept
    left_out[dropped.name] = f"{dropped} means {tag}, as {kept} does, which is used instead: rename one of them"


def select_tags(tags: Iterable[LangScript], langs: Iterable[str], where: Path) -> tuple[list[LangScript], list[str]]:
    """Return the sorted tags to use, and those that are missing; empty ``langs`` means all.

    Raises:
        FileNotFoundError: all of ``langs`` are missing.
    """
    there = sorted(tags)
    wanted = sorted({task_tag(lang) for lang in langs})
    if not wanted:
        return there, []
    chosen = [tag for tag in wanted if tag in there]
    missing = [str(tag) for tag in wanted if tag not in there]
    if not chosen:
        raise FileNotFoundError(f"{where} has no {' '.join(missing)}; it has {' '.join(map(str, there))}")
    return chosen, missing
