"""Order of training pairs: a pure function of the seed and of the pair's place in the run.

The first sentence of a pair is drawn like blocks: languages by ``p ~ count ** alpha``, each in complete passes over its
sentences. The second is the same message in another language: the pivot if it has the message, else a uniformly drawn
other language. Nothing is materialised.
"""

from __future__ import annotations

import math
from typing import Callable, NamedTuple, Optional

import numpy as np

from langsamp_plugin.data.hashing import key, to_unit
from langsamp_plugin.data.sampling import BlockSampler, draws_per_epoch

_PARTNER, _PAIR = 5, 6  # stream identifiers of the hash; 1 and 2 belong to the block sampler, 3 and 4 to the data set


class PairPlace(NamedTuple):
    """The location of the two sentences of a pair.

    Args:
        place: its number in the run.
        languages: indices of both languages.
        rows: rows of both sentences in their language.
        message: number of the message.
        key: uint64, the source of all further randomness about it.
    """

    place: int
    languages: tuple[int, int]
    rows: tuple[int, int]
    message: int
    key: int


class PairSampler:
    """The endless order of pairs.

    Args:
        counts: sentences per language, int64 ``(languages,)``.
        keys: uint64 ``(languages,)``, a stable number for each language, see
            :class:`~langsamp_plugin.data.sampling.BlockSampler`.
        alpha: exponent of the languages' shares.
        seed: the run's seed.
        message: maps ``(language, row)`` to the message number.
        sentences: maps a message number to the ``(languages, rows)`` of its sentences, at least two.
        pivot: index of the language preferred for the second sentence; ``None`` for none.
    """

    def __init__(
        self,
        *,
        counts: np.ndarray,
        keys: np.ndarray,
        alpha: float,
        seed: int,
        message: Callable[[int, int], int],
        sentences: Callable[[int], tuple[np.ndarray, np.ndarray]],
        pivot: Optional[int] = None,
    ):
        self.blocks = BlockSampler(counts, draws_per_epoch(counts, "alpha", alpha), keys, seed)
        self.seed, self.pivot = seed, pivot
        self._message, self._sentences = message, sentences

    def pairs(self, start: int, stop: int) -> list[PairPlace]:
        """Return the pairs of a range of places, which start at 0 and have no end."""
        places = np.arange(start, stop, dtype=np.int64)
        language, row = np.empty_like(places), np.empty_like(places)
        visits = places // len(self.blocks)
        for visit in np.unique(visits).tolist():
            here = visits == visit
            language[here], row[here], _ = self.blocks.locate(visit, places[here] % len(self.blocks))
        chosen = to_unit(key(self.seed, _PARTNER, places))
        keys = key(self.seed, _PAIR, places)
        return [
            self._with_partner(*pair)
            for pair in zip(places.tolist(), language.tolist(), row.tolist(), chosen.tolist(), keys.tolist())
        ]

    def _with_partner(self, place: int, language: int, row: int, unit: float, pair_key: int) -> PairPlace:
        message = self._message(language, row)
        languages, rows = self._sentences(message)
        others = np.flatnonzero(languages != language)
        pivot = (
            np.flatnonzero(languages == self.pivot) if self.pivot is not None and language != self.pivot else others[:0]
        )
        partner = int(pivot[0] if len(pivot) else others[int(unit * len(others))])
        return PairPlace(place, (language, int(languages[partner])), (row, int(rows[partner])), message, pair_key)


class PairSchedule(NamedTuple):
    """Selects the rounds with pairs, spread as evenly as possible.

    A round is one batch of every worker. The first position of its blocks decides, so that a resumed run and all
    workers agree.

    Args:
        share: share of rounds with pairs, above 0 and at most 1.
        pairs: number of pairs per worker in such a round.
    """

    share: float
    pairs: int

    def rounds_before(self, number: int) -> int:
        """Return the number of rounds with pairs among the first ``number``."""
        return math.floor(number * self.share + 1e-9)

    def places(self, number: int, worker: int, workers: int) -> Optional[tuple[int, int]]:
        """Return the range of places of one worker's pairs in a round, counted over the run; ``None`` without pairs."""
        before = self.rounds_before(number)
        if self.rounds_before(number + 1) == before:
            return None
        start = (before * workers + worker) * self.pairs
        return start, start + self.pairs
