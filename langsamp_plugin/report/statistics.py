"""Tests whether one model is better than another, over languages and over seeds of fine-tuning.

All languages share a fine-tuned model, so a lucky seed moves all of them together. Resampling languages alone would
mistake that for a difference between models. The unit of randomness in a comparison of *models* is the seed, and also
the language if the claim extends to other languages. The cases:

- several seeds on both sides: a two-level test. The difference of means is compared with its standard error, which
  includes the variance of seeds (within each model, Welch) and that of languages; the degrees of freedom are
  Satterthwaite's. The interval inverts the same test. A two-level bootstrap (seeds of each model, then languages)
  estimates the same variances, but with four or five seeds it is too narrow: ``scripts/benchmarks/false_alarms.py``
  measures both.
- one seed on either side: the variance of seeds is unknown, so there is no test of the models. The interval is over
  languages, describes *this run* only, and is labelled as such.
- no seeds at all (retrieval, where nothing is trained): a bootstrap over languages, and the claim is about languages.
- fewer than six languages: an exact sign-flip test over languages, whose p-value is at least 2 / 2**n; a single
  language has no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np

RESAMPLES = 10_000
FEW_LANGUAGES = 6
MODELS = "models"
"""Subject of a p-value with several seeds."""
RUN = "this run"
"""Subject of a p-value with a single seed: this run's two fine-tuned models."""
LANGUAGES = "languages"
"""Subject of a p-value if nothing is trained."""


class Difference(NamedTuple):
    """Difference between a model and the baseline.

    Args:
        mean: difference of means.
        low, high: 95 % interval; ``None`` for a single language.
        p: two-sided p-value; ``None`` if no test is possible.
        languages: number of languages.
        about: one of :data:`MODELS`, :data:`RUN`, :data:`LANGUAGES`.
        method: short description of the test.
        adjusted: ``p`` after Holm's correction over a report; ``None`` before the correction.
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
    """Indices of resampled languages, drawn once per number of languages.

    Args:
        count: number of resamples.
        seed: seed of the generator.
    """

    def __init__(self, count: int = RESAMPLES, seed: int = 0):
        self.count, self.seed = count, seed
        self._weights: dict[int, np.ndarray] = {}

    def weights(self, languages: int) -> np.ndarray:
        """Return float32 ``(count, languages)``: how often each language is drawn, divided by the number of
        languages."""
        if languages not in self._weights:
            generator = np.random.default_rng([self.seed, languages])
            drawn = generator.multinomial(languages, np.full(languages, 1 / languages), size=self.count)
            self._weights[languages] = (drawn / languages).astype(np.float32)
        return self._weights[languages]


def compare(one: np.ndarray, other: np.ndarray, *, seeds: bool, resamples: Resamples) -> Difference:
    """Compare ``other`` with ``one``.

    Args:
        one, other: float ``(languages, seeds of that model)``, with the same languages as rows.
        seeds: whether columns are fine-tuning runs; retrieval has none.
        resamples: resamples of languages.
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
            p, method = None, f"one seed, so the models are not tested; {count} languages, this run only"
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
    """Return p and a 95 % interval of the difference of means; seeds and languages are sources of variance.

    The variance of seeds is that of each model's mean over languages: Welch's sum of both, with Satterthwaite's degrees
    of freedom. It already contains the language x seed noise. The additional variance of languages is estimated from
    their gains, minus the language x seed noise in them, and is at least 0.
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
    """Return a two-sided p from a bootstrap of studentised means under the null hypothesis, ``(k + 1) / (B + 1)``."""
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
    """Return p-values after Holm's step-down correction; ``None`` is kept."""
    order = sorted((value, place) for place, value in enumerate(values) if value is not None)
    adjusted: list[Optional[float]] = [None] * len(values)
    largest = 0.0
    for rank, (value, place) in enumerate(order):
        largest = max(largest, min(1.0, value * (len(order) - rank)))
        adjusted[place] = largest
    return adjusted


def spell_p(value: Optional[float], resamples: int = RESAMPLES) -> str:
    """Format a p-value for a table; below the resolution of resampling it is a bound."""
    if value is None:
        return "no test"
    smallest = 1 / (resamples + 1)
    return f"{value:.4f}" if value > 1.5 * smallest else "< 0.0002"
