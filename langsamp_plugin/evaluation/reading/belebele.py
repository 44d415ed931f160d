"""Reads Belebele's layout: ``<tag>.jsonl`` with one passage and question per line, parallel across languages."""

from __future__ import annotations

import json
from pathlib import Path

from langsamp_plugin.evaluation.reading.aligned import PairData, Pairs
from langsamp_plugin.evaluation.reading.lines import all_lines
from langsamp_plugin.evaluation.reading.names import ENGLISH, tagged_files
from langsamp_plugin.lang_script import LangScript

PASSAGE, LINK, NUMBER = "flores_passage", "link", "question_number"


def read_passages(path: Path) -> dict[str, str]:
    """Return the passages by link and number; repeated passages of one link are kept once.

    Raises:
        ValueError: a line is not an object with ``link`` and ``flores_passage``; the message names file and line.
    """
    passages: dict[str, str] = {}
    for number, line in enumerate(all_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            link, passage = str(row[LINK]), str(row[PASSAGE]).strip()
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(
                f"{path}, line {number}: must be an object with {LINK} and {PASSAGE}: {error!r}"
            ) from error
        # A page can have several passages, in the same order in every language.
        known = [key for key in passages if key.startswith(f"{link}#")]
        if passage and not any(passages[key] == passage for key in known):
            passages[f"{link}#{len(known)}"] = passage
    return passages


def read_belebele(folder: Path) -> PairData:
    """Read the passages of every language, joined with English by page.

    Raises:
        FileNotFoundError: the English file is missing.
        ValueError: the English file is malformed.
    """
    files, left_out = tagged_files(folder, "*.jsonl")
    if ENGLISH not in files:
        raise FileNotFoundError(f"{folder} has no eng_Latn.jsonl, whose passages are the queries")
    english = read_passages(files.pop(ENGLISH))
    pairs: dict[LangScript, Pairs] = {}
    for tag, path in files.items():
        try:
            passages = read_passages(path)
        except ValueError as error:
            left_out[str(tag)] = str(error)
            continue
        shared = [key for key in english if key in passages]
        if shared:
            pairs[tag] = Pairs([english[key] for key in shared], [passages[key] for key in shared])
        else:
            left_out[str(tag)] = "no passage has a page that English also has"
    return PairData(pairs, left_out, [])
