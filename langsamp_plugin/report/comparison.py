"""Groups of languages, their means, and whether one model is better than another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Optional

import numpy as np

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.errors import error_context
from langsamp_plugin.evaluation.results import Result
from langsamp_plugin.evaluation.task_data import read_columns
from langsamp_plugin.lang_script import LangScript, head_tags

RESAMPLES = 10_000


class Groups:
    """The paper's groups of languages.

    Args:
        heads: the tags of head languages; by default those that XLM-R was trained on.
    """

    names = ("tail", "head", "Latn", "non-Latn", "all")

    def __init__(self, heads: Optional[Iterable[str]] = None):
        self.heads = frozenset(head_tags() if heads is None else heads)

    def members(self, name: str, tags: Iterable[str]) -> list[str]:
        """Return which of some tags are in a group."""
        tests: dict[str, Callable[[str], bool]] = {
            "tail": lambda tag: tag not in self.heads,
            "head": lambda tag: tag in self.heads,
            "Latn": lambda tag: tag.endswith("_Latn"),
            "non-Latn": lambda tag: not tag.endswith("_Latn"),
            "all": lambda tag: True,
        }
        return [tag for tag in tags if tests[name](tag)]

    @classmethod
    def load(cls, path: PathLike) -> Groups:
        """Read a TSV of ``lang_script`` and ``head`` (1 or 0) with a header, as the authors' lists have it.

        Raises:
            ValueError: the file has other columns, or a line is malformed; the message names file and line.
        """
        rows = read_columns(path, ("lang_script", "head"))
        for number, row in enumerate(rows, 2):
            with error_context(f"{path}, line {number}"):
                LangScript.parse(row["lang_script"])
                if row["head"] not in ("0", "1"):
                    raise ValueError(f"head must be 1 or 0, but is {row['head']!r}")
        return cls(row["lang_script"] for row in rows if row["head"] == "1")


class Cell(NamedTuple):
    """Mean of a group of languages.

    Args:
        mean: over languages and seeds; ``nan`` for an empty group.
        std: standard deviation over seeds of the mean over languages (with n - 1), ``None`` for a single run.
        languages: how many.
    """

    mean: float
    std: Optional[float]
    languages: int

    def __str__(self) -> str:
        if not self.languages:
            return "-"
        return f"{self.mean:.1f}" + (f" ± {self.std:.1f}" if self.std is not None else "")


class Difference(NamedTuple):
    """A model less the first one, languages resampled in pairs.

    Args:
        mean: difference of means.
        low, high: 95 % interval.
        p: two-sided: how often resampled differences lie on the other side of 0, twice.
        languages: how many.
    """

    mean: float
    low: float
    high: float
    p: float
    languages: int


def cell(result: Result, tags: Sequence[str], metric: str) -> Cell:
    """Return the mean over some languages."""
    if not tags:
        return Cell(float("nan"), None, 0)
    by_seed = np.array([result.scores[tag][metric] for tag in tags]).mean(0)
    return Cell(float(by_seed.mean()), float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None, len(tags))


def difference(one: Result, other: Result, tags: Sequence[str], metric: str, seed: int = 0) -> Difference:
    """Return how much better ``other`` is than ``one``, by a paired bootstrap over languages.

    Args:
        one, other: results of one task.
        tags: languages that both have.
        metric: what is compared, the mean over seeds of each language.
        seed: of the resampling.
    """
    gains = np.array([np.mean(other.scores[tag][metric]) - np.mean(one.scores[tag][metric]) for tag in tags])
    generator = np.random.default_rng(seed)
    means = np.array([generator.choice(gains, len(gains)).mean() for _ in range(RESAMPLES)])
    low, high = np.percentile(means, [2.5, 97.5])
    p = min(1.0, 2 * min(float((means <= 0).mean()), float((means >= 0).mean())))
    return Difference(float(gains.mean()), float(low), float(high), p, len(gains))
