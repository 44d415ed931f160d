"""The numbers of a report: means of language groups, comparisons of models, scores by language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, Optional

import numpy as np

from langsamp_plugin.analysis.families import OTHER, read_families
from langsamp_plugin.evaluation.paper_languages import of_the_paper, paper_languages
from langsamp_plugin.evaluation.results import Result
from langsamp_plugin.evaluation.tasks import TASKS
from langsamp_plugin.report.groups import Groups
from langsamp_plugin.report.published import PUBLISHED_ROWS
from langsamp_plugin.report.statistics import RESAMPLES, Difference, Resamples, compare, holm


class Cell(NamedTuple):
    """Mean of a group of languages.

    Args:
        mean: mean over languages and seeds; ``nan`` for an empty group.
        std: standard deviation, over seeds, of the mean over languages (with n - 1); ``None`` for a single run.
        languages: number of languages.
    """

    mean: float
    std: Optional[float]
    languages: int

    def __str__(self) -> str:
        if not self.languages:
            return "-"
        return f"{self.mean:.1f}" + (f" ± {self.std:.1f}" if self.std is not None else "")


class SummaryRow(NamedTuple):
    """The cells of a model on a task, by group; ``published`` rows are the paper's."""

    task: str
    model: str
    cells: dict[str, Cell]
    published: bool = False


class Comparison(NamedTuple):
    """Comparison of a model with the baseline on a group of languages."""

    task: str
    baseline: str
    model: str
    group: str
    gain: Difference


class FamilyEffect(NamedTuple):
    """The mean gain over the languages of a family."""

    task: str
    baseline: str
    model: str
    family: str
    languages: int
    gain: float


def cell(result: Result, tags: Sequence[str], metric: str) -> Cell:
    """Return the mean over some languages."""
    if not tags:
        return Cell(float("nan"), None, 0)
    by_seed = np.array([result.scores[tag][metric] for tag in tags]).mean(0)
    return Cell(float(by_seed.mean()), float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None, len(tags))


class Report:
    """Tables of several models on several tasks.

    Args:
        results: the results to show.
        groups: defines head and tail languages.
        baseline: the model that all others are compared with in every task; by default the first.
        metrics: task -> the metric to show instead of the default.
        published: also show the paper's numbers.
        families: language -> family; by default the built-in list.
        resamples: number of bootstrap samples.

    Attributes:
        tasks: name -> the results of that task.
        shared: name -> the languages that all its results contain; only these are in the summary.

    Raises:
        ValueError: a model has two results for a task, the baseline or metric does not exist, or no language is common
            to all models.
    """

    def __init__(
        self,
        results: Sequence[Result],
        groups: Optional[Groups] = None,
        *,
        baseline: Optional[str] = None,
        metrics: Optional[Mapping[str, str]] = None,
        published: bool = False,
        families: Optional[Mapping[str, str]] = None,
        resamples: int = RESAMPLES,
    ):
        self.groups = groups or Groups()
        self.published = published
        self._metrics = dict(metrics or {})
        self._families = families
        self._resamples = Resamples(resamples)
        self.tasks: dict[str, list[Result]] = {}
        names = dict.fromkeys([*TASKS, *sorted({result.task for result in results} - TASKS.keys())])
        for task in names:
            of_task = [result for result in results if result.task == task]
            models = [result.model for result in of_task]
            for name in models:
                if models.count(name) > 1:
                    raise ValueError(
                        f"{name} must have one result on {task}, but has {models.count(name)}: give different models "
                        "different names with `langsamp evaluate --name`"
                    )
            if of_task:
                self.tasks[task] = of_task
        every = list(dict.fromkeys(result.model for result in results))
        if baseline is not None and baseline not in every:
            raise ValueError(f"--baseline must be one of {', '.join(every)}, but is {baseline!r}")
        self.baseline = baseline if baseline is not None else every[0]
        self.shared = {
            task: sorted(set.intersection(*(set(result.scores) for result in of_task)))
            for task, of_task in self.tasks.items()
        }
        if not any(self.shared.values()):
            raise ValueError(
                f"no language has scores of all models ({', '.join(every)}), so nothing can be compared: name results "
                "of the same languages"
            )
        self._check_metrics()

    def _check_metrics(self) -> None:
        for task, metric in self._metrics.items():
            if task not in self.tasks:
                raise ValueError(f"--metric must name one of the tasks {', '.join(self.tasks)}, but names {task}")
            for result in self.tasks[task]:
                known = sorted(set.intersection(*(set(scores) for scores in result.scores.values())))
                if metric not in known:
                    raise ValueError(f"--metric of {task} must be one of {', '.join(known)}, but is {metric!r}")

    def metric(self, task: str) -> str:
        """Return the metric shown for a task."""
        return self._metrics.get(task, self.tasks[task][0].metric)

    def title(self, task: str) -> str:
        """Return the name of a task in tables."""
        return TASKS[task].title if task in TASKS else self.tasks[task][0].title or task

    def members(self, task: str, group: str) -> list[str]:
        """Return the languages of a group that all models were scored on."""
        return self.groups.members(group, self.shared[task], task)

    @cached_property
    def summary(self) -> list[SummaryRow]:
        """One row per task and model, followed by the paper's rows with ``published``."""
        rows = []
        for task, of_task in self.tasks.items():
            metric = self.metric(task)
            rows += [
                SummaryRow(
                    task, result.model,
                    {group: cell(result, self.members(task, group), metric) for group in Groups.names},
                )
                for result in of_task
            ]  # fmt: skip
            if self.published and task in paper_languages():
                rows += self._published_rows(task)
        return rows

    def _published_rows(self, task: str) -> list[SummaryRow]:
        heads = paper_languages()[task]
        sizes = {group: len(self.groups.members(group, heads, task)) for group in Groups.names}
        return [
            SummaryRow(
                task, row.model,
                {
                    group: Cell(row.values[task][group], None, sizes[group])
                    if group in row.values[task] else Cell(float("nan"), None, 0)
                    for group in Groups.names
                },
                published=True,
            )
            for row in PUBLISHED_ROWS
        ]  # fmt: skip

    @cached_property
    def best(self) -> set[tuple[str, str, str]]:
        """``(task, model, group)`` of the best cells among the user's models, if there are several."""
        found = set()
        for task, of_task in self.tasks.items():
            for group in Groups.names:
                means = {
                    row.model: row.cells[group].mean
                    for row in self.summary
                    if row.task == task and not row.published and row.cells[group].languages
                }
                if len(of_task) > 1 and means:
                    top = max(round(mean, 1) for mean in means.values())
                    found |= {(task, model, group) for model, mean in means.items() if round(mean, 1) == top}
        return found

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Comparisons of every model with the baseline, per task and group, with Holm's correction over all of them."""
        rows: list[Comparison] = []
        for task, of_task in self.tasks.items():
            first = next((result for result in of_task if result.model == self.baseline), None)
            if first is None:
                continue
            for other in of_task:
                if other is first:
                    continue
                for group in Groups.names:
                    tags = self.members(task, group)
                    if tags:
                        gain = self._gain(first, other, tags, self.metric(task))
                        rows.append(Comparison(task, first.model, other.model, group, gain))
        adjusted = holm([row.gain.p for row in rows])
        return [row._replace(gain=row.gain._replace(adjusted=value)) for row, value in zip(rows, adjusted)]

    def _gain(self, one: Result, other: Result, tags: Sequence[str], metric: str) -> Difference:
        sides = [np.array([result.scores[tag][metric] for tag in tags], dtype=float) for result in (one, other)]
        seeds = bool(one.seeds) and bool(other.seeds)
        return compare(*sides, seeds=seeds, resamples=self._resamples)

    @cached_property
    def family_effects(self) -> list[FamilyEffect]:
        """The gain over the baseline per family with at least two languages, and the mean over families."""
        families = self._families if self._families is not None else read_families()
        rows = []
        for task, of_task in self.tasks.items():
            metric = self.metric(task)
            first = next((result for result in of_task if result.model == self.baseline), None)
            for other in of_task if first is not None else ():
                if other is first:
                    continue
                assert first is not None
                gains: dict[str, list[float]] = {}
                for tag in self.shared[task]:
                    gain = float(np.mean(other.scores[tag][metric]) - np.mean(first.scores[tag][metric]))
                    gains.setdefault(families.get(tag[:3], OTHER), []).append(gain)
                known = {name: values for name, values in sorted(gains.items()) if len(values) > 1 and name != OTHER}
                rows += [
                    FamilyEffect(task, first.model, other.model, name, len(values), float(np.mean(values)))
                    for name, values in known.items()
                ]
                if len(known) > 1:
                    mean = float(np.mean([np.mean(values) for values in known.values()]))
                    count = sum(map(len, known.values()))
                    rows.append(FamilyEffect(task, first.model, other.model, "mean of families", count, mean))
        return rows

    def columns(self, task: str) -> list[str]:
        """Return the headings of the group columns, with the number of languages in each."""
        return [f"{group} ({len(self.members(task, group))})" for group in Groups.names]

    def coverage(self, task: str) -> str:
        """Return how many of the paper's languages a task covers; empty for a task that is not in the paper."""
        known = paper_languages().get(task)
        if not known:
            return ""
        count = of_the_paper(task, self.shared[task])
        others = max(0, len(self.shared[task]) - count)
        return f"{count} of the paper's {len(known)} languages" + (f", and {others} others" if others else "")

    def languages(self, task: str) -> list[tuple[str, list[Optional[float]]]]:
        """Return ``(tag, mean over seeds of each model)`` for every language of any model."""
        of_task, metric = self.tasks[task], self.metric(task)
        tags = sorted({tag for result in of_task for tag in result.scores})
        return [
            (
                tag,
                [float(np.mean(result.scores[tag][metric])) if tag in result.scores else None for result in of_task],
            )
            for tag in tags
        ]
