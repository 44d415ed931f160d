"""A normaliser for Hugging Face's fast tokenizer that matches SentencePiece exactly.

The ``tokenizers`` library applies SentencePiece's rules grapheme by grapheme: if a grapheme of fewer than six bytes
begins with a key, the complete grapheme becomes the replacement of the shortest such key. This drops combining marks:
the second of two marks, as in decomposed Yoruba and Vietnamese, or any mark after a no-break space, a ligature or an
Arabic presentation form. In longer graphemes, keys of several characters are not found. This module first inserts
U+0001, which the rules remove, between characters that SentencePiece treats separately. Unicode's composition and the
library's rules then agree with SentencePiece's; this is checked for every rule.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Optional

from langsamp_plugin.vocabulary.normalization_rules import JOINERS, read_rules

SEPARATOR = "\x01"
MOST_EXCEPTIONS = 30
SYLLABLE_AND_FINAL = (
    "[\\x{ac00}-\\x{d7a3}\\x{326e}-\\x{327b}]\\K(?=[\\x{11a8}-\\x{11c2}\\x{3131}-\\x{3163}\\x{ffa1}-\\x{ffdc}])"
)
"""Matches between a Hangul syllable and a letter that composition would join to it although the rules do not."""
NONCHARACTER = 0xFDD0
"""The first of 32 noncharacters; they temporarily replace characters that composition would change."""


def exact_normalizer(charsmap: bytes, inner: Any) -> Optional[Any]:
    """Return a normaliser of the ``tokenizers`` library, ``None`` if it cannot express the rules.

    Args:
        charsmap: the rules of the SentencePiece model.
        inner: the library's own normaliser for them.

    Raises:
        ValueError: the rules are damaged.
    """
    from tokenizers import normalizers

    rules = read_rules(charsmap)
    if rules.get(SEPARATOR) != "":
        return None
    compose = normalizers.NFKC()
    # Characters that composition changes and the rules do not: a few that are newer than the rules, or excluded.
    shielded = [
        letter
        for letter in map(chr, range(0x80, 0x30000))
        if letter not in rules
        and unicodedata.category(letter)[0] not in "CM"
        and compose.normalize_str(letter) != letter
    ]
    if len(shielded) > MOST_EXCEPTIONS:
        return None
    normalizer = _sequence(rules, shielded, [], inner)
    # Conversely, keys that are newer than the library's composition. Compatibility letters of that age, such
    # as the outlined capitals of Unicode 16, become their plain letters and do not combine with a mark after them.
    young = [
        key
        for key, value in rules.items()
        if normalizer.normalize_str(f"x{key}x") != f"x{value}x"
        and (len(key) == 1 or key[0] not in rules or compose.normalize_str(key[0]) != key[0])
    ]
    if len(young) > MOST_EXCEPTIONS:
        return None
    normalizer = _sequence(rules, shielded, young, inner)
    followed = all(normalizer.normalize_str(f"x{key}x") == f"x{rules[key]}x" for key in young)
    return normalizer if followed else None


def _sequence(rules: dict[str, str], shielded: Sequence[str], young: Sequence[str], inner: Any) -> Any:
    from tokenizers import Regex, normalizers

    stand_ins = [chr(NONCHARACTER + number) for number in range(len(shielded))]
    return normalizers.Sequence(
        [
            normalizers.Replace(Regex(_boundaries(rules)), SEPARATOR),
            *(normalizers.Replace(key, rules[key]) for key in young),
            *(normalizers.Replace(letter, stand_in) for letter, stand_in in zip(shielded, stand_ins)),
            normalizers.NFKC(),
            *(normalizers.Replace(stand_in, letter) for letter, stand_in in zip(shielded, stand_ins)),
            inner,
        ]
    )


def _boundaries(rules: dict[str, str]) -> str:
    """Return a regular expression with empty matches after each character or key that a mark follows."""
    bases: dict[str, set[str]] = defaultdict(set)
    for key in rules:
        if len(key) > 1:
            bases[key[1:]].add(key[0])
    marks = "[\\p{M}" + "".join(map(_escape, JOINERS)) + "]"
    followed = f"(?=(?m:.){marks})"  # checked first: most characters have no mark
    if not bases:
        return f"{followed}(?m:.)\\K|{SYLLABLE_AND_FINAL}"
    keys = [_class(letters) + "".join(map(_escape, tail)) for tail, letters in bases.items()]
    longest_first = sorted(zip(map(len, bases), keys), key=lambda pair: -pair[0])
    known = "|".join(key for _, key in longest_first)
    firsts = _class({tail[0] for tail in bases})
    return f"{followed}(?>(?=(?m:.){firsts})(?:{known})|(?m:.))\\K|{SYLLABLE_AND_FINAL}"


def _class(letters: Iterable[str]) -> str:
    """Return the regular expression of a set of characters, with adjacent ones merged into ranges."""
    codes = sorted(map(ord, letters))
    parts: list[str] = []
    start = 0
    for place in range(1, len(codes) + 1):
        if place == len(codes) or codes[place] != codes[place - 1] + 1:
            first, last = chr(codes[start]), chr(codes[place - 1])
            parts.append(_escape(first) if first == last else f"{_escape(first)}-{_escape(last)}")
            start = place
    return f"[{''.join(parts)}]"


def _escape(letter: str) -> str:
    return f"\\x{{{ord(letter):x}}}"
