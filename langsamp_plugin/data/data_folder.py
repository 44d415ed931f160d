"""The layout of binarized data: ``<data-bin>/<tag>/{train,valid}.{bin,idx}``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.lang_script import LangScript

LANGUAGE_STATS = "stats.json"
"""File that `langsamp binarize` writes into a finished language's folder."""


def data_languages(path: PathLike, tag_map: Optional[PathLike] = None) -> dict[LangScript, list[Path]]:
    """Find the languages of a data folder.

    Args:
        path: the folder.
        tag_map: file of lines ``FOLDER<tab>TAG`` for folders not named after a tag.

    Returns:
        The folders of each tag, sorted; several if names mean the same tag (``zh-Hans`` and ``zh-Hant``).

    Raises:
        FileNotFoundError: the folder is missing or has no language.
        ValueError: the name of a folder with data is not a tag.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"data folder {path} is missing; make one with `langsamp binarize`")
    names = read_tag_map(tag_map) if tag_map else {}
    found: dict[LangScript, list[Path]] = {}
    for folder in sorted(path.iterdir()):
        if not folder.is_dir() or not any(folder.glob("*.idx")):
            continue
        try:
            tag = names[folder.name] if folder.name in names else LangScript.from_spelling(folder.name)
        except ValueError as error:
            raise ValueError(
                f"{folder}: {error}; or name its tag in a file for --tag-map: {folder.name}<tab>eng_Latn"
            ) from error
        found.setdefault(tag, []).append(folder)
    if not found:
        raise FileNotFoundError(f"{path} contains no <tag>/*.idx; make a data folder with `langsamp binarize`")
    return found


def read_tag_map(path: PathLike) -> dict[str, LangScript]:
    """Read lines ``FOLDER<tab>TAG``; tags can have any spelling.

    Raises:
        ValueError: a line does not have two columns, or its tag is unknown; the message names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"--tag-map {path} is missing")
    names: dict[str, LangScript] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 text: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != 2:
            raise ValueError(f"{path}, line {number}: must be FOLDER<tab>TAG, but is {line!r}")
        try:
            names[columns[0]] = LangScript.from_spelling(columns[1].strip())
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    return names


def split_parts(folder: PathLike, split: str, combine: bool = False) -> list[Path]:
    """Return the prefixes of a split: ``train``, and with ``combine`` also ``train1``, ``train2``, ..."""
    folder = Path(folder)
    prefixes: list[Path] = []
    number = 0
    while True:
        prefix = folder / f"{split}{number or ''}"
        # Either file counts, so that a missing counterpart is an error later instead of an empty language.
        if not (prefix.with_name(prefix.name + ".idx").exists() or prefix.with_name(prefix.name + ".bin").exists()):
            return prefixes
        prefixes.append(prefix)
        number += 1
        if not combine:
            return prefixes


def check_types(folder: PathLike, types: int) -> None:
    """Check that a language was binarized with a dictionary of a given size, if its folder records it.

    Args:
        folder: folder of the language.
        types: token ids of the dictionary, ``<mask>`` included.

    Raises:
        ValueError: the dictionary has another size.
    """
    record = Path(folder) / LANGUAGE_STATS
    if not record.is_file():  # made by fairseq-preprocess
        return
    try:
        then = json.loads(record.read_text(encoding="utf-8"))["types"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{record} is damaged: binarize this language again") from error
    if not isinstance(then, int):
        raise ValueError(f"{record} is damaged, its types are {then!r}: binarize this language again")
    if then != types:
        raise ValueError(
            f"{folder} was binarized with a vocabulary of {then:,} token ids, but dict.txt next to it has {types:,}: "
            "restore the original dict.txt, or binarize again"
        )
