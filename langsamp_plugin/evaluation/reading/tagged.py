"""Reads tagged words: one token and label per line, or CoNLL-U."""

from __future__ import annotations

import re
from typing import Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.evaluation.reading.labelled import Labelled
from langsamp_plugin.evaluation.reading.lines import all_lines

CONLLU_COLUMNS = 10
UPOS = frozenset(
    [
        "ADJ",
        "ADP",
        "ADV",
        "AUX",
        "CCONJ",
        "DET",
        "INTJ",
        "NOUN",
        "NUM",
        "PART",
        "PRON",
        "PROPN",
        "PUNCT",
        "SCONJ",
        "SYM",
        "VERB",
        "X",
        "_",
    ]
)
BIO = re.compile(r"O|[BI]-\S+")
WORD_ID = re.compile(r"\d+(-\d+|\.\d+)?")


def read_tagged(path: PathLike) -> Labelled:
    """Read tagged words; blank lines separate sentences.

    A line has a token and its label, separated by a tab or a space, or the ten tab-separated columns of CoNLL-U. Of
    CoNLL-U, FORM and UPOS are used; comments, ranges (``1-2``) and empty nodes (``1.1``) are skipped. WikiANN's
    language before each token (``de:``) is removed. Lines without a token (`` O``) are skipped.

    Raises:
        ValueError: a line has the wrong number of columns, or the labels are neither BIO, UPOS nor a plain set of tags;
            the message names file and line.
    """
    lines = all_lines(path)
    conllu = any(line.count("\t") == CONLLU_COLUMNS - 1 for line in lines)
    texts: list[list[str]] = []
    labels: list[list[str]] = []
    words: list[str] = []
    tags: list[str] = []
    first_line: dict[str, int] = {}
    for number, line in enumerate([*lines, ""], 1):
        if not line.strip():
            if words:
                texts.append(words)
                labels.append(tags)
                words, tags = [], []
            continue
        pair = _conllu_word(line, path, number) if conllu else _word_and_label(line, path, number)
        if pair is not None:
            words.append(pair[0])
            tags.append(pair[1])
            first_line.setdefault(pair[1], number)
    check_labels(first_line, path)
    return Labelled(without_language(texts), labels)


def _conllu_word(line: str, path: PathLike, number: int) -> Optional[tuple[str, str]]:
    if line.startswith("#"):
        return None
    columns = line.split("\t")
    if len(columns) != CONLLU_COLUMNS or not WORD_ID.fullmatch(columns[0]):
        raise ValueError(f"{path}, line {number}: must have CoNLL-U's ten columns, but is {line[:60]!r}")
    if "-" in columns[0] or "." in columns[0]:
        return None
    return columns[1], columns[3]


def _word_and_label(line: str, path: PathLike, number: int) -> Optional[tuple[str, str]]:
    separator = "\t" if "\t" in line else " "
    fields = line.rstrip().split(separator)
    if len(fields) == 2 and not fields[0].strip() and fields[1]:
        return None  # a label without a token, as some published files have
    if len(fields) == 1 and line[:1] in (" ", "\t"):
        return None
    if len(fields) != 2 or not fields[1]:
        known = "; of CoNLL-2003's four columns keep the first and the last" if len(fields) == 4 else ""
        raise ValueError(f"{path}, line {number}: must be a token and its label, but is {line[:60]!r}{known}")
    return fields[0], fields[1]


def check_labels(first_line: dict[str, int], path: PathLike) -> None:
    """Refuse a set of labels that mixes BIO with anything else.

    Raises:
        ValueError: some labels are BIO and others are not; the message names a line of the latter.
    """
    spans = [label for label in first_line if BIO.fullmatch(label)]
    odd = [label for label in first_line if not BIO.fullmatch(label)]
    if any(label != "O" for label in spans) and odd:
        label = min(odd, key=lambda label: first_line[label])
        raise ValueError(
            f"{path}, line {first_line[label]}: label {label!r} is not O, B-... or I-..., as the other labels of the "
            "file"
        )
    numeric = [label for label in odd if not any(letter.isalpha() or letter == "_" for letter in label)]
    if numeric:
        raise ValueError(
            f"{path}, line {first_line[numeric[0]]}: {numeric[0]!r} is not a label: it must be UPOS, BIO or a tag with "
            "letters in it"
        )


def without_language(texts: list[list[str]]) -> list[list[str]]:
    """Remove the language prefix that WikiANN writes before every token (``de:``, ``zh-yue:``).

    A prefix counts as a language if at least 90 % of the tokens have it; lines without it are unchanged.
    """
    prefixes: dict[str, int] = {}
    total = 0
    for words in texts:
        for word in words:
            total += 1
            match = re.match(r"[a-z]{2,3}(-[a-z]+)*:", word)
            if match:
                prefixes[match[0]] = prefixes.get(match[0], 0) + 1
    if not prefixes:
        return texts
    prefix = max(prefixes, key=lambda name: prefixes[name])
    few = total <= 10 and 2 <= prefixes[prefix] == total - 1
    if prefixes[prefix] < 0.9 * total and not few:
        return texts

    def bare(word: str) -> str:
        return word.removeprefix(prefix) or word

    return [[bare(word) for word in words] for words in texts]
