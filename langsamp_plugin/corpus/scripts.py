"""Determines the scripts of the letters of a text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Optional

import numpy as np

# ISO 15924 has codes for mixtures, while Unicode assigns every character one script.
MIXTURES = {
    "Jpan": ("Hira", "Kana", "Hani"),
    "Hang": ("Hang", "Hani"),
    "Kore": ("Hang", "Hani"),
    "Hans": ("Hani",),
    "Hant": ("Hani",),
    "Hrkt": ("Hira", "Kana"),
}


def unicode_scripts(script: str) -> tuple[str, ...]:
    """Return the Unicode scripts that an ISO 15924 code covers."""
    return MIXTURES.get(script, (script,))


@lru_cache(maxsize=1)
def letter_scripts() -> tuple[list[str], np.ndarray]:
    """Return script names and, for every code point, the index of a letter's script, 0 for everything else.

    Letters without a script (Unicode's Common and Inherited, such as the modifier apostrophe) get 0.
    """
    try:
        from fontTools.unicodedata import script
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("checking scripts needs fontTools: pip install 'langsamp-plugin[data]'") from error
    names = [""]
    numbers = {"Zyyy": 0, "Zinh": 0, "Zzzz": 0}
    table = np.zeros(0x110000, dtype=np.uint8)
    for code in range(0x110000):
        character = chr(code)
        # Cn: not in this Python's Unicode, but perhaps in the library's newer one.
        if unicodedata.category(character)[0] == "L" or unicodedata.category(character) == "Cn":
            name = script(character)
            if name not in numbers:
                numbers[name] = len(names)
                names.append(name)
            table[code] = numbers[name]
    return names, table


def count_letters(lines: Sequence[str]) -> np.ndarray:
    """Count the letters of each line by script.

    Returns:
        int64 of shape ``(lines, scripts)``, columns as in :func:`letter_scripts`; column 0 is 0.
    """
    names, table = letter_scripts()
    codes = np.frombuffer("".join(lines).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    owner = np.repeat(np.arange(len(lines)), np.fromiter(map(len, lines), np.int64, len(lines)))
    counts = np.bincount(owner * len(names) + table[codes], minlength=len(lines) * len(names))
    counts = counts.reshape(len(lines), len(names))
    counts[:, 0] = 0
    return counts


def script_share(counts: np.ndarray, script: str) -> np.ndarray:
    """Return the share of letters in a script along the last axis; 1 if there are no letters."""
    names, _ = letter_scripts()
    own = sum(counts[..., names.index(name)] for name in unicode_scripts(script) if name in names)
    total = counts.sum(axis=-1)
    return np.where(total > 0, own / np.maximum(total, 1), 1.0)


def main_script(counts: np.ndarray, least: float = 0.0) -> Optional[str]:
    """Return the ISO 15924 code of the script of most letters; Han with kana is Jpan.

    Args:
        counts: letters by script, shape ``(scripts,)``.
        least: minimum share of the letters.
    """
    names, _ = letter_scripts()
    total = int(counts.sum())
    if not total:
        return None
    by_name = {name: int(count) for name, count in zip(names, counts.tolist()) if count}
    han, kana, hangul = by_name.get("Hani", 0), by_name.get("Hira", 0) + by_name.get("Kana", 0), by_name.get("Hang", 0)
    for name, own, joined in (("Jpan", kana, han + kana), ("Hang", hangul, han + hangul)):
        if own > 0.1 * joined:  # a few kana in Chinese text are a quotation
            by_name[name] = joined
            for part in unicode_scripts(name):
                if part != name:
                    by_name.pop(part, None)
            break
    best = max(by_name, key=lambda name: by_name[name])
    return best if by_name[best] >= least * total else None
