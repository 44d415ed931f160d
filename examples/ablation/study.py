"""Reads the results of the study of an encoder: runs of several lengths, and the unchanged encoder."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
from languages import KNOWN, SOURCES, known
from outcome import Run, Scores

from langsamp_plugin.report.groups import Groups
from langsamp_plugin.report.statistics import Difference, Resamples, compare

ARMS = ("vanilla", "lang", "script", "both", "even", "pairs", "shuffled")
UNTOUCHED = "untouched"
COLUMNS = ("tail", "head", "known badly", "known well", "all")
RESAMPLES = Resamples()


class Metric(NamedTuple):
    """A score of every language.

    Args:
        name: its name in tables.
        digits: number of decimals.
        read: scores of a run.
        sign: 1 if higher is better, -1 if lower is.
    """

    name: str
    digits: int
    read: Callable[[Run], Scores]
    sign: int = 1


def _probe(task: str, kind: str = "frozen") -> Callable[[Run], Scores]:
    def read(run: Run) -> Scores:
        """Scores without the language that the classifier was trained on."""
        return {
            model: {
                seed: {tag: value for tag, value in by_tag.items() if tag not in SOURCES}
                for seed, by_tag in seeds.items()
            }
            for model, seeds in run.frozen(task, "zero_shot", kind).items()
        }

    return read


METRICS = (
    Metric("held-out loss, bits", 3, lambda run: run.losses(), -1),
    Metric("SR-T, top-1", 2, lambda run: run.results("sr_tatoeba", "top1")),
    Metric("SR-B, top-10", 2, lambda run: run.results("sr_bible", "top10")),
    Metric("SIB200", 2, _probe("sib200")),
    Metric("Taxi1500", 2, _probe("taxi1500")),
    Metric("NER", 2, _probe("ner", "tagging")),
    Metric("POS", 2, _probe("pos", "tagging")),
)
"""The metrics of the seven tests; see encoder.md."""
RETRIEVAL = {"SR-T, top-1": ("sr_tatoeba", "top1"), "SR-B, top-10": ("sr_bible", "top10")}
BEST_BY = ("SR-T, top-1", "SR-B, top-10", "SIB200")


class Study:
    """The folder of a study.

    Args:
        folder: the ``--out`` of run.sh.

    Attributes:
        runs: length of training in updates -> its run.
        encoder: the run that has only the unchanged encoder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        lengths = sorted(int(path.name.partition("-")[2]) for path in folder.glob("updates-*"))
        runs = {length: Run(folder / f"updates-{length}") for length in lengths}
        self.runs = {length: run for length, run in runs.items() if run.names}
        self.encoder = Run(folder / UNTOUCHED)
        with open(folder / "languages.tsv", encoding="utf-8") as stream:
            self.languages = list(csv.DictReader(stream, delimiter="\t"))
        self.groups = Groups()

    def scores(self, metric: Metric, length: int) -> Scores:
        """Return the scores of the arms of a length, and of the unchanged encoder."""
        return {**metric.read(self.runs[length]), **metric.read(self.encoder)}

    @cached_property
    def known(self) -> dict[str, float]:
        """How well the unchanged encoder knew each language."""
        retrieval: dict[str, list[tuple[float, float]]] = {}
        for task in ("sr_tatoeba", "sr_bible"):
            result = self.encoder.stored("results", UNTOUCHED, task)
            for tag, values in result.get("scores", {}).items():
                retrieval.setdefault(tag, []).append((values["top1"][0], result["sizes"][tag]))
        found = self.encoder.stored("frozen", UNTOUCHED).get("sib200", {})
        return known(retrieval, found.get("zero_shot", {}), found.get("chance", 0.0))

    def members(self, column: str, tags: list[str]) -> list[str]:
        """Return which tags belong to a column."""
        if column == "known badly":
            return [tag for tag in tags if tag in self.known and self.known[tag] < KNOWN]
        if column == "known well":
            return [tag for tag in tags if self.known.get(tag, 0.0) >= KNOWN]
        return self.groups.members(column, tags)

    def seeds(self, scores: Scores, model: str, against: str) -> list[int]:
        """Return the seeds that two models share; the unchanged encoder has no seed and is paired with all."""
        if against == UNTOUCHED:
            return sorted(scores.get(model, {}))
        return sorted(scores.get(model, {}).keys() & scores.get(against, {}).keys())

    def difference(self, scores: Scores, model: str, against: str, column: str = "all") -> Optional[Difference]:
        """Compare two models, paired by seed and language, with a two-level interval if there are several seeds.

        Paired data have one variance of seeds instead of two: the gains of each seed are compared with zero.
        """
        seeds = self.seeds(scores, model, against)
        if not seeds or against not in scores:
            return None
        base = {seed: scores[against][0 if against == UNTOUCHED else seed] for seed in seeds}
        shared = set.intersection(*(set(scores[model][seed]) & set(base[seed]) for seed in seeds))
        tags = self.members(column, sorted(shared))
        if not tags:
            return None
        gains = np.array([[scores[model][seed][tag] - base[seed][tag] for seed in seeds] for tag in tags])
        return compare(np.zeros_like(gains), gains, seeds=True, resamples=RESAMPLES)

    def mean(self, scores: Scores, model: str, column: str = "all") -> list[float]:
        """Return the mean over languages of each seed."""
        found = []
        for by_tag in scores.get(model, {}).values():
            tags = self.members(column, sorted(by_tag))
            if tags:
                found.append(float(np.mean([by_tag[tag] for tag in tags])))
        return found

    def missing(self) -> list[str]:
        """Return what run.sh has not yet trained or measured."""
        plan = dict(line.split("=", 1) for line in (self.folder / "plan").read_text(encoding="utf-8").splitlines())
        found = []
        for length in plan["lengths"].split(","):
            run = self.runs.get(int(length), Run(self.folder / f"updates-{length}"))
            for arm in plan["arms"].split() or ARMS:
                for seed in plan["seeds"].split(","):
                    name = f"{arm}-{seed}"
                    if name not in run.names:
                        found.append(f"{name} of {length} updates")
                    elif not run.stored("neutrality", name, "neutrality"):
                        found.append(f"measurements of {name} of {length} updates")
        return found

    def best(self) -> Optional[tuple[str, int, float]]:
        """Return the arm, length and mean of the best model by encoder.md's rule, of those that have all its scores."""
        length = max(self.runs)
        found = [self.scores(metric, length) for metric in METRICS if metric.name in BEST_BY]
        measured = [scores for scores in found if any(arm in scores for arm in ARMS)]
        totals = {}
        for arm in ARMS:
            means = [self.mean(scores, arm) for scores in measured]
            if means and all(means):
                totals[arm] = float(np.mean([np.mean(values) for values in means]))
        arm = max(totals, key=lambda arm: totals[arm], default=None)
        return None if arm is None else (arm, length, totals[arm])


def transfer_scores(run: Run) -> dict[str, Scores]:
    """Return SIB200 from the nearest source, and from English, with equally many sentences."""
    found = run.each(lambda name: run.stored("transfer", name) or None)
    return {
        way: {
            model: {seed: {tag: row[way] for tag, row in rows.items()} for seed, rows in seeds.items()}
            for model, seeds in found.items()
        }
        for way in ("english", "nearest")
    }


def neutrality(run: Run) -> dict[str, dict[int, dict[str, float]]]:
    """Return the measurements of neutrality of each model."""
    return run.each(lambda name: run.stored("neutrality", name, "neutrality").get("model"))
