"""Order of training blocks: a pure function of (seed, epoch, position) and the table of counts.

Stage 1, :func:`draws_per_epoch`: number of blocks of each language per epoch.
Stage 2, :class:`BlockSampler`: position in the epoch -> (language, block, pass). Nothing is materialised, so memory and
start-up time grow with the number of languages, not of blocks, and a run resumes at a position without replaying.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from langsamp_plugin.data.hashing import key
from langsamp_plugin.data.permutation import permute

MOST = 2**62  # maximum blocks per epoch: positions are int64
_ORDER, _PASS = 1, 2  # stream identifiers of the counter-based random numbers


def draws_per_epoch(
    counts: np.ndarray,
    scheme: str = "alpha",
    alpha: float = 1.0,
    head: Optional[np.ndarray] = None,
    scale: float = 30.0,
    lines: Optional[np.ndarray] = None,
) -> np.ndarray:
    """Return the number of blocks of each language per epoch.

    Args:
        counts: int64 of shape ``(languages,)``, number of blocks of each language; 0 is allowed and draws nothing.
        scheme: ``alpha``: the epoch has as many blocks as the data, distributed by ``p_i ~ count_i ** alpha``
            (fairseq's ``multilingual_masked_lm``; XLM-R, Conneau et al. 2020, used 0.3).
            ``glot500``: each head language gives ``scale * min_count`` blocks, each tail language
            ``scale * min_count * p_i / p_min`` with ``p_i ~ count_i ** alpha`` over the tail (Imani et al. 2023).
        alpha: the exponent; 1 keeps the data's own shares, 0 makes all languages equal.
        head: bool of shape ``(languages,)``; for ``glot500``.
        scale: repeats of the smallest language, for ``glot500``.
        lines: int64 of shape ``(languages,)``, number of sentences of each language. If given, the scheme counts lines,
            as the Glot500 authors did, and a language's blocks repeat as often as the scheme repeats its lines; in
            scheme ``alpha`` the epoch still has as many blocks as the data.

    Returns:
        int64 of shape ``(languages,)``; at least 1 for every language with a block.

    Raises:
        ValueError: an argument is out of range, or no language has a block.
    """
    counts = np.asarray(counts, dtype=np.int64)
    there = counts > 0
    if not there.any():
        raise ValueError("no language has any text to sample from")
    if not 0.0 <= alpha < np.inf:
        raise ValueError(f"the sampling alpha must be >= 0, but is {alpha}")
    amounts = counts if lines is None else np.maximum(np.asarray(lines, dtype=np.int64), 1)
    blocks_each = counts / np.where(there, amounts, 1)  # blocks per line; 1 if blocks are counted
    with np.errstate(over="ignore", invalid="ignore"):  # values beyond the range of floats are refused below
        if scheme == "alpha":
            weights = np.where(there, amounts, 1).astype(np.float64) ** alpha * blocks_each
            draws = weights / weights.sum() * counts.sum()
        elif scheme == "glot500":
            if head is None or scale <= 0:
                raise ValueError(f"scheme glot500 needs the head languages and a scale > 0, but the scale is {scale}")
            smallest = amounts[there].min()
            tail = there & ~head
            weights = np.where(tail, amounts, 1).astype(np.float64) ** alpha
            floor = weights[tail].min() if tail.any() else 1.0
            draws = scale * smallest * np.where(tail, weights / floor, 1.0) * blocks_each
        else:
            raise ValueError(f"the sampling scheme must be alpha or glot500, but is {scheme!r}")
    if not draws.sum() < MOST:  # also true if a power was too large for a float
        raise ValueError(
            f"with alpha {alpha:g} and scale {scale:g} an epoch would have too many blocks to count: lower them"
        )
    return np.where(there, np.maximum(1, np.rint(draws).astype(np.int64)), 0)


class BlockSampler:
    """The order of an epoch.

    A pseudo-random permutation of an epoch's positions mixes the languages. A language's draws then form complete
    passes over its blocks, each pass in a different order, and continue where the last epoch stopped. An upsampled
    language thus repeats complete passes, and every block of a downsampled one is seen before any repeats.

    Args:
        counts: blocks per language, int64 ``(languages,)``.
        draws: draws per epoch, int64 ``(languages,)``, from :func:`draws_per_epoch`.
        keys: uint64 ``(languages,)``, a stable number per language (a hash of its tag), so that the order of a
            language's blocks does not depend on the other languages.
        seed: the run's seed.
        before: draws of each language before the first visit, int64 ``(languages,)``; none by default.
        first_visit: number of that first visit.
    """

    def __init__(
        self,
        counts: np.ndarray,
        draws: np.ndarray,
        keys: np.ndarray,
        seed: int,
        before: Optional[np.ndarray] = None,
        first_visit: int = 0,
    ):
        self.counts = np.asarray(counts, dtype=np.int64)
        self.draws = np.asarray(draws, dtype=np.int64)
        self.keys = np.asarray(keys, dtype=np.uint64)
        self.seed = seed
        self.before = np.zeros_like(self.draws) if before is None else np.asarray(before, dtype=np.int64)
        self.first_visit = first_visit
        self.ends = np.cumsum(self.draws)

    def __len__(self) -> int:
        """Return the number of positions in an epoch."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def locate(self, visit: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Map positions to blocks.

        Args:
            visit: number of earlier epochs on this data.
            positions: int64 of shape ``(n,)``, each in ``[0, len(self))``.

        Returns:
            ``(language, block, pass)``, each int64 of shape ``(n,)``. The pass is the number of earlier passes over the
            language in all epochs: no (language, block, pass) ever repeats.
        """
        positions = np.asarray(positions, dtype=np.int64)
        shuffled = permute(positions, np.array(len(self), dtype=np.int64), key(self.seed, _ORDER, visit))
        language = np.searchsorted(self.ends, shuffled, side="right")
        draw = (
            shuffled - (self.ends[language] - self.draws[language]) + (visit - self.first_visit) * self.draws[language]
        )
        draw = draw + self.before[language]
        count = self.counts[language]
        passes = draw // count
        block = permute(draw % count, count, key(self.seed, _PASS, self.keys[language], passes))
        return language, block, passes
