"""Chooses lines to hold out for validation: those with the lowest hashes, so that equal lines stay together."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from langsamp_plugin.corpus.duplicates import text_hash
from langsamp_plugin.corpus.text import read_lines

BATCH = 10_000
SHARE = 10  # at most one line in this many is held out, and at most one in this many of these may be a repetition


class HeldOut(NamedTuple):
    """The rule for a text, equal in every process and on every machine.

    Args:
        limit: highest hash of a held-out line; -1 holds out nothing.
        frequent: hashes up to the limit that are not held out, because their lines are so frequent that they alone
            would fill the share.
    """

    limit: int
    frequent: frozenset[int]

    def takes(self, line: str) -> bool:
        """Return whether a line is held out."""
        number = text_hash(line)
        return number <= self.limit and number not in self.frequent


@lru_cache(maxsize=1024)
def choose_held_out(path: Path, wanted: int, piece: int) -> HeldOut:
    """Choose the lines to hold out.

    Args:
        path: the text.
        wanted: lines to hold out, at most a tenth of the text. The number is exact for a text of one piece; in a larger
            text it is estimated from the first piece, where at least one line is held out.
        piece: size of a piece in bytes.
    """
    if wanted <= 0:
        return HeldOut(-1, frozenset())
    parts = [np.empty(0, dtype=np.uint64)]
    lines = read_lines(path, 0, piece)
    while batch := list(islice(lines, BATCH)):
        parts.append(np.fromiter(map(text_hash, batch), dtype=np.uint64, count=len(batch)))
    hashes, counts = np.unique(np.concatenate(parts), return_counts=True)
    seen = int(counts.sum())
    total = max(seen * path.stat().st_size // piece, 1) if path.stat().st_size > piece else seen
    budget = min(wanted, total // SHARE)
    if not budget:
        return HeldOut(-1, frozenset())
    common = counts > max(1, budget // SHARE)
    rare, often = hashes[~common], counts[~common]
    if not len(rare):
        return HeldOut(-1, frozenset())
    if total > seen:
        share = budget / total * seen / int(often.sum())
        limit = max(int(min(share, 1.0 / SHARE * seen / int(often.sum())) * 2**64) - 1, int(rare[0]))
    else:
        fitting = int(np.searchsorted(np.cumsum(often), budget, side="right"))
        if not fitting:
            return HeldOut(-1, frozenset())
        limit = int(rare[fitting - 1])
    limit = min(limit, 2**64 - 1)
    return HeldOut(limit, frozenset(hashes[common & (hashes <= np.uint64(limit))].tolist()))
