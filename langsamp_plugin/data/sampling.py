"""Which block is trained on when: a pure function of (seed, epoch, position) and the table of counts.

Stage 1, :func:`draws_per_epoch`: how many blocks each language gives an epoch.
Stage 2, :class:`BlockSampler`: position in the epoch -> (language, block, pass). Nothing is materialised, so memory and
start-up grow with the number of languages and not of blocks, and a run resumes at a position without replaying.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from langsamp_plugin.data.hashing import key
from langsamp_plugin.data.permutation import permute

MOST = 2**62  # blocks of an epoch: places in it are int64
_ORDER, _PASS = 1, 2  # names of streams of random numbers


def draws_per_epoch(
    counts: np.ndarray,
    scheme: str = "alpha",
    alpha: float = 1.0,
    head: Optional[np.ndarray] = None,
    scale: float = 30.0,
    lines: Optional[np.ndarray] = None,
) -> np.ndarray:
    """Return how many blocks of each language an epoch has.

    Args:
        counts: int64 of shape ``(languages,)``, blocks that each language has; 0 is allowed and draws nothing.
        scheme: ``alpha``: the epoch has as many blocks as the data, shared out by ``p_i ~ count_i ** alpha``
            (fairseq's ``multilingual_masked_lm``; XLM-R, Conneau et al. 2020, used 0.3).
            ``glot500``: each head language gives ``scale * min_count`` blocks, each tail language
            ``scale * min_count * p_i / p_min`` with ``p_i ~ count_i ** alpha`` over the tail (Imani et al. 2023).
        alpha: the exponent; 1 keeps the data's own shares, 0 makes all languages equal.
        head: bool of shape ``(languages,)``; for ``glot500``.
        scale: repeats of the smallest language, for ``glot500``.
        lines: int64 of shape ``(languages,)``, sentences that each language has. With it the scheme counts lines, as
            the Glot500 authors did, and a language's blocks repeat as often as the scheme
            repeats its lines; in scheme ``alpha`` the epoch still has as many blocks as the data.

    Returns:
        int64 of shape ``(languages,)``; at least 1 for every language that has a block.

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
    blocks_each = counts / np.where(there, amounts, 1)  # blocks of one line; 1 where blocks are counted
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large for a float is refused below
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
    if not draws.sum() < MOST:  # also where a power was too large for a float
        raise ValueError(
            f"with alpha {alpha:g} and scale {scale:g} an epoch would have more blocks than can be counted: lower them"
        )
    return np.where(there, np.maximum(1, np.rint(draws).astype(np.int64)), 0)


class BlockSampler:
    """The order of an epoch.

    Positions of an epoch go through a pseudo-random permutation, which mixes the languages; a language's draws then
    walk through complete passes over its blocks, each pass in an order of its own, and resume where the last epoch
    stopped. So an upsampled language repeats complete passes, and all of a downsampled one is seen before any block
    comes twice.

    Args:
        counts: blocks per language, int64 ``(languages,)``.
        draws: draws per epoch, int64 ``(languages,)``, from :func:`draws_per_epoch`.
        keys: uint64 ``(languages,)``, a stable number for each language (a hash of its tag), so that the order of a
            language's blocks does not depend on which other languages are there.
        seed: the run's seed.
        before: draws of each language that came before the first visit, int64 ``(languages,)``; none by default.
        first_visit: number of the visit that they came before.
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
            visit: how many epochs were trained on this data before, from 0.
            positions: int64 of shape ``(n,)``, each in ``[0, len(self))``.

        Returns:
            ``(language, block, pass)``, each int64 of shape ``(n,)``. The pass counts how often the language was gone
            through before, over all epochs: no (language, block, pass) ever comes twice.
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
