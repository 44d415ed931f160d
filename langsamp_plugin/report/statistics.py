"""Is one model better than another: over languages, and over the seeds of fine-tuning.

A fine-tuned model is shared by all languages, so its luck moves them together, and resampling languages alone would
take that for a difference of the models. The unit of randomness of a comparison of *models* is the seed, and the
language where the claim is about languages beyond those at hand. Three cases:

- several seeds on both sides: a two-level test. The difference of means is compared with its standard error, which has
  the variance of seeds (within each model, Welch) and that of languages; the degrees of freedom are Satterthwaite's.
  The interval is the same test turned round. A two-level bootstrap (seeds of each model, then languages) estimates the
  same variances, but with four or five seeds it is too narrow: ``scripts/benchmarks/false_alarms.py`` measures both.
- one seed on either side: nothing is known of the seeds' variance, so there is no test of the models. The interval is
  over languages and says something about *this run* only; it is labelled so.
- no seeds at all (retrieval, where nothing is trained): a bootstrap over languages, and the claim is about languages.
- fewer than six languages: an exact sign-flip test over languages, which cannot say less than 2 / 2**n, and no interval
  for one language.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np

RESAMPLES = 10_000
FEW_LANGUAGES = 6
MODELS, RUN, LANGUAGES = "models", "this run", "languages"
"""What a p-value is about: the models, only this run's two fine-tuned models, or languages where nothing is trained."""


class Difference(NamedTuple):
    """A model minus the baseline.

    Args:
        mean: difference of means.
        low, high: 95 % interval; ``None`` for a single language.
        p: two-sided; ``None`` where no test is possible.
        languages: how many.
        about: one of :data:`MODELS`, :data:`RUN`, :data:`LANGUAGES`.
        method: of the test, in a few words.
        adjusted: ``p`` after Holm's correction over a report; ``None`` until it is known.
    """

    mean: float
    low: Optional[float]
    high: Optional[float]
    p: Optional[float]
    languages: int
    about: str
    method: str
    adjusted: Optional[float] = None


class Resamples:
    """Indices of resampled languages, drawn once for each number of languages.

    Args:
        count: how many resamples.
        seed: of the generator.
    """

    def __init__(self, count: int = RESAMPLES, seed: int = 0):
        self.count, self.seed = count, seed
        self._weights: dict[int, np.ndarray] = {}

    def weights(self, languages: int) -> np.ndarray:
        """Return float32 ``(count, languages)``: how often each language is drawn, divided by their number."""
        if languages not in self._weights:
            generator = np.random.default_rng([self.seed, languages])
            drawn = generator.multinomial(languages, np.full(languages, 1 / languages), size=self.count)
            self._weights[languages] = (drawn / languages).astype(np.float32)
        return self._weights[languages]


def compare(one: np.ndarray, other: np.ndarray, *, seeds: bool, resamples: Resamples) -> Difference:
    """Return how much better ``other`` is than ``one``.

    Args:
        one, other: float ``(languages, seeds of that model)``, rows of the same languages.
        seeds: whether columns are fine-tuning runs; retrieval has none.
        resamples: of languages.
    """
    gains = other.mean(1) - one.mean(1)
    count = len(gains)
    tested = seeds and min(one.shape[1], other.shape[1]) > 1
    p: Optional[float]
    if tested:
        p, low, high = _two_level_test(one, other)
        method = f"two-level test over {one.shape[1]} and {other.shape[1]} seeds and {count} languages"
        if count < FEW_LANGUAGES:
            exact = sign_flip_test(gains)
            p, method = max(p, exact), f"the larger p of seeds and an exact sign-flip test over {count} languages"
        about = MODELS
    else:
        about = RUN if seeds else LANGUAGES
        low, high = _interval(gains, resamples)
        if seeds:
            p, method = None, f"one seed, so no test of the models; {count} languages, of this run only"
        elif count < FEW_LANGUAGES:
            p, method = sign_flip_test(gains), f"exact sign-flip test over {count} languages"
        else:
            p, method = _bootstrap_test(gains, resamples), f"paired bootstrap over {count} languages"
    single = count == 1
    return Difference(
        mean=float(gains.mean()), low=None if single else low, high=None if single else high,
        p=None if single and not tested else p, languages=count, about=about, method=method,
    )  # fmt: skip


def _two_level_test(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Return p and a 95 % interval of the difference of means, with seeds and languages as sources of variance.

    The variance of seeds is that of each model's mean over languages, Welch's sum of both with Satterthwaite's degrees
    of freedom. It has the noise of language x seed in it already. What languages add beyond that is estimated from
    their gains, less the noise of language x seed in them, and not below 0.
    """
    from scipy.stats import t

    count = len(one)
    parts = []
    noise = 0.0
    for side in (one, other):
        runs = side.shape[1]
        shift = side.mean(0)
        parts.append((float(shift.var(ddof=1)) / runs, runs - 1))
        residual = side - side.mean(1, keepdims=True) - shift[None, :] + side.mean()
        noise += float((residual**2).sum()) / max((count - 1) * (runs - 1), 1) / runs
    gains = other.mean(1) - one.mean(1)
    if count > 1:
        parts.append((max(0.0, float(gains.var(ddof=1)) - noise) / count, count - 1))
    variance = sum(part for part, _ in parts)
    mean = float(gains.mean())
    if variance <= 0.0:
        return (1.0 if mean == 0 else 1.0 / (RESAMPLES + 1)), mean, mean
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts if part > 0)
    error = variance**0.5
    half = float(t.ppf(0.975, freedom)) * error
    return float(2 * t.sf(abs(mean) / error, freedom)), mean - half, mean + half


def _bootstrap_test(gains: np.ndarray, resamples: Resamples) -> float:
    """Return a two-sided p by a bootstrap of studentised means under the null, ``(k + 1) / (B + 1)``."""
    deviation = gains.std(ddof=1)
    mean = gains.mean()
    if deviation < 1e-12:
        return 1.0 if abs(mean) < 1e-12 else 1.0 / (resamples.count + 1)
    weights = resamples.weights(len(gains))
    centred = gains - mean
    means = weights @ centred
    spreads = np.sqrt(np.maximum(weights @ centred**2 - means**2, 1e-24) * len(gains) / (len(gains) - 1))
    extreme = int((np.abs(means / spreads) >= abs(mean) / deviation).sum())
    return (extreme + 1) / (resamples.count + 1)


def _interval(gains: np.ndarray, resamples: Resamples) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean over resampled languages."""
    low, high = np.percentile(resamples.weights(len(gains)) @ gains, [2.5, 97.5])
    return float(low), float(high)


def sign_flip_test(gains: np.ndarray) -> float:
    """Return the exact two-sided p of a mean under flips of every sign: at least ``2 / 2**n``."""
    count = len(gains)
    signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)[None, :]) & 1)
    sums = np.abs(signs @ gains)
    return float((sums >= abs(gains.sum()) - 1e-9 * max(1.0, float(sums.max()))).mean())


def holm(values: Sequence[Optional[float]]) -> list[Optional[float]]:
    """Return p-values after Holm's step-down correction; ``None`` stays."""
    order = sorted((value, place) for place, value in enumerate(values) if value is not None)
    adjusted: list[Optional[float]] = [None] * len(values)
    largest = 0.0
    for rank, (value, place) in enumerate(order):
        largest = max(largest, min(1.0, value * (len(order) - rank)))
        adjusted[place] = largest
    return adjusted


def spell_p(value: Optional[float], resamples: int = RESAMPLES) -> str:
    """Return a p-value as a table shows it; one below what resampling can tell is a bound."""
    if value is None:
        return "no test"
    smallest = 1 / (resamples + 1)
    return f"{value:.4f}" if value > 1.5 * smallest else "< 0.0002"
