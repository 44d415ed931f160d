"""Results to the paper's tables: groups of languages, model against model, language by language."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.evaluation.results import Result, load_result
from langsamp_plugin.evaluation.tasks import TASKS
from langsamp_plugin.report.comparison import Cell, Difference, Groups, cell, difference


def load_results(paths: Sequence[PathLike]) -> list[Result]:
    """Read results: files, folders of a model, or folders of models.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a file is no result.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_file():
            files.append(path)
        else:
            found = [
                file
                for task in TASKS
                for pattern in (f"{task}.json", f"*/{task}.json")
                for file in sorted(path.glob(pattern))
            ]
            if not found:
                raise FileNotFoundError(f"{path} has no results in it; `langsamp evaluate` makes them")
            files += found
    return [load_result(file) for file in dict.fromkeys(files)]


class Report:
    """Tables of several models on several tasks.

    Args:
        results: what to show; the first model of each task is what the others are compared with.
        groups: which languages are head.

    Attributes:
        tasks: name -> the results of that task.
        shared: name -> the languages that all its results have; only these are in the summary.

    Raises:
        ValueError: two results of one model and task.
    """

    def __init__(self, results: Sequence[Result], groups: Optional[Groups] = None):
        self.groups = groups or Groups()
        self.tasks: dict[str, list[Result]] = {}
        for task in TASKS:
            of_task = [result for result in results if result.task == task]
            names = [result.model for result in of_task]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"there are {names.count(name)} results of {name} on {task}: evaluate with --name")
            if of_task:
                self.tasks[task] = of_task
        self.shared = {
            task: sorted(set.intersection(*(set(result.scores) for result in of_task)))
            for task, of_task in self.tasks.items()
        }

    def summary(self) -> list[tuple[str, str, dict[str, Cell]]]:
        """Return ``(task, model, group -> cell)`` rows."""
        return [
            (
                task,
                result.model,
                {
                    group: cell(result, self.groups.members(group, self.shared[task]), result.metric)
                    for group in Groups.names
                },
            )
            for task, of_task in self.tasks.items()
            for result in of_task
        ]

    def best(self) -> set[tuple[str, str, str]]:
        """Return ``(task, model, group)`` of the best cells, where there is something to compare."""
        found = set()
        rows = self.summary()
        for task, of_task in self.tasks.items():
            for group in Groups.names:
                means = {
                    model: cells[group].mean for name, model, cells in rows if name == task and cells[group].languages
                }
                if len(of_task) > 1 and means:
                    top = max(round(mean, 1) for mean in means.values())
                    found |= {(task, model, group) for model, mean in means.items() if round(mean, 1) == top}
        return found

    def differences(self) -> list[tuple[str, str, str, str, Difference]]:
        """Return ``(task, first model, other model, group, difference)`` rows."""
        return [
            (task, of_task[0].model, other.model, group, difference(of_task[0], other, members, other.metric))
            for task, of_task in self.tasks.items()
            for other in of_task[1:]
            for group in Groups.names
            if (members := self.groups.members(group, self.shared[task]))
        ]

    def notes(self) -> list[str]:
        """Return what a reader must know: languages left out, protocols that differ, what evaluation noted."""
        lines = []
        for task, of_task in self.tasks.items():
            title = TASKS[task].title
            for result in of_task:
                extra = sorted(set(result.scores) - set(self.shared[task]))
                if extra:
                    lines.append(
                        f"{title}: {len(extra)} languages only {result.model} has are not in the summary: {' '.join(extra)}"
                    )
                lines += [f"{title}, {result.model}: {tag} not scored, {why}" for tag, why in result.not_scored.items()]
                lines += [f"{title}, {result.model}: {note}" for note in result.notes]
            settings = {str(sorted(result.settings.items())) + str(result.seeds) + result.source for result in of_task}
            if len(settings) > 1:
                lines.append(f"{title}: THE MODELS WERE NOT RUN WITH THE SAME SETTINGS, see the JSON files")
            hashes = {result.provenance.get("data_hash") for result in of_task}
            if len(hashes) > 1:
                lines.append(f"{title}: the models were not scored on the same data or languages")
            if of_task[0].settings.get("limit"):
                lines.append(f"{title}: at most {of_task[0].settings['limit']} sentences of each file")
            if of_task[0].source != "eng_Latn":
                lines.append(f"{title}: fine-tuned on {of_task[0].source}")
        return lines

    def columns(self, task: str) -> list[str]:
        """Return the heads of the group columns with the number of languages in each."""
        return [f"{group} ({len(self.groups.members(group, self.shared[task]))})" for group in Groups.names]

    def text(self) -> str:
        """Return the summary for a terminal."""
        lines = []
        best = self.best()
        for task in self.tasks:
            width = max(len(result.model) for result in self.tasks[task])
            title = f"{TASKS[task].title} ({TASKS[task].metric})"
            lines.append(f"{title:<{max(width + 2, 20)}}" + "".join(f"{name:>16}" for name in self.columns(task)))
            for name, model, cells in self.summary():
                if name == task:
                    marks = [f"{cells[group]}{'*' if (task, model, group) in best else ' '}" for group in Groups.names]
                    lines.append(f"  {model:<{max(width, 18)}}" + "".join(f"{mark:>16}" for mark in marks))
        if best:
            lines.append("* best of its column")
        for task, one, other, group, gain in self.differences():
            if group == "all":
                lines.append(
                    f"{TASKS[task].title}: {other} less {one} {gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}], "
                    f"p = {gain.p:.4f}, paired bootstrap over {gain.languages} languages"
                )
        return "\n".join(lines)

    def markdown(self, pictures: Sequence[str] = ()) -> str:
        """Return the whole report."""
        best = self.best()
        lines = [
            "# Zero-shot evaluation",
            "",
            "Mean over languages; ± is the standard deviation over seeds; best in bold.",
            "",
        ]
        for task, of_task in self.tasks.items():
            lines += [
                f"## {TASKS[task].title}",
                "",
                f"| model | {' | '.join(self.columns(task))} |",
                "| --- |" + " ---: |" * 5,
            ]
            for name, model, cells in self.summary():
                if name == task:
                    parts = [
                        f"**{cells[group]}**" if (task, model, group) in best else str(cells[group])
                        for group in Groups.names
                    ]
                    lines.append(f"| {model} | {' | '.join(parts)} |")
            gains = [row for row in self.differences() if row[0] == task]
            if gains:
                lines += [
                    "",
                    "| difference | group | languages | points | 95 % interval | p |",
                    "| --- | --- | ---: | ---: | --- | ---: |",
                ]
                lines += [
                    f"| {other} less {one} | {group} | {gain.languages} | {gain.mean:+.2f} | {gain.low:+.2f} to {gain.high:+.2f} | {gain.p:.4f} |"
                    for _, one, other, group, gain in gains
                ]
            settings = ", ".join(f"{key} {value}" for key, value in of_task[0].settings.items())
            seeds = f", seeds {' '.join(map(str, of_task[0].seeds))}" if of_task[0].seeds else ""
            lines += ["", f"Metric {of_task[0].metric}; {settings}{seeds}; from {of_task[0].source}."]
            lines += [
                "",
                *(f"![{TASKS[task].title}]({picture})" for picture in pictures if picture.startswith(task)),
                "",
            ]
        lines += ["## Language by language", ""]
        for task, of_task in self.tasks.items():
            names = " | ".join(result.model for result in of_task)
            lines += [
                f"### {TASKS[task].title}",
                "",
                f"| tag | group | sentences | {names} |",
                "| --- | --- | ---: |" + " ---: |" * len(of_task),
            ]
            for tag, values in self.languages(task):
                scores = " | ".join("-" if value is None else f"{value:.1f}" for value in values)
                size = next(result.sizes[tag] for result in of_task if tag in result.sizes)
                lines.append(f"| {tag} | {'head' if tag in self.groups.heads else 'tail'} | {size:,} | {scores} |")
            lines.append("")
        notes = self.notes()
        if notes:
            lines += ["## Notes", "", *(f"- {note}" for note in notes), ""]
        lines += ["## Where the numbers come from", ""]
        for of_task in self.tasks.values():
            for result in of_task:
                origin = result.provenance
                lines.append(
                    f"- {TASKS[result.task].title}, {result.model}: weights {origin.get('model_hash')}, data {origin.get('data_hash')}, "
                    f"{origin.get('device')}, torch {origin.get('versions', {}).get('torch')}, {origin.get('finished')}: `{origin.get('command')}`"
                )
        return "\n".join(lines) + "\n"

    def languages(self, task: str) -> list[tuple[str, list[Optional[float]]]]:
        """Return ``(tag, mean over seeds of each model)`` of every language that any model has."""
        of_task = self.tasks[task]
        tags = sorted({tag for result in of_task for tag in result.scores})
        return [
            (
                tag,
                [
                    float(np.mean(result.scores[tag][result.metric])) if tag in result.scores else None
                    for result in of_task
                ],
            )
            for tag in tags
        ]

    def latex(self) -> str:
        """Return the summary as a ``tabular`` for the package booktabs."""
        best = self.best()
        lines = [r"\begin{tabular}{llrrrrr}", r"\toprule", "task & model & " + " & ".join(Groups.names) + r" \\"]
        task_before = None
        for task, model, cells in self.summary():
            if task != task_before:
                lines.append(r"\midrule")
            parts = []
            for group in Groups.names:
                text = str(cells[group]).replace("±", r"$\pm$")
                parts.append(rf"\textbf{{{text}}}" if (task, model, group) in best else text)
            title = TASKS[task].title if task != task_before else ""
            safe = "".join(f"\\{character}" if character in "_&%#$" else character for character in model)
            lines.append(f"{title} & {safe} & {' & '.join(parts)} " + r"\\")
            task_before = task
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"

    def save(self, out: PathLike) -> list[Path]:
        """Write ``report.md``, ``summary.csv``, ``differences.csv``, ``languages.csv``, ``summary.tex`` and the pictures."""
        from langsamp_plugin.report.plots import plot_task

        out = Path(out)
        pictures = [plot_task(self, task, out).name for task in self.tasks if self.shared[task]]
        summary = [
            (task, model, group, f"{part.mean:.4f}", "" if part.std is None else f"{part.std:.4f}", part.languages)
            for task, model, cells in self.summary()
            for group, part in cells.items()
            if part.languages
        ]
        differences = [
            (task, one, other, group, *(f"{value:.4f}" for value in gain[:4]), gain.languages)
            for task, one, other, group, gain in self.differences()
        ]
        languages = [
            (task, result.model, tag, metric, seed, f"{value:.4f}")
            for task, of_task in self.tasks.items()
            for result in of_task
            for tag, metrics in sorted(result.scores.items())
            for metric, values in metrics.items()
            for seed, value in zip(result.seeds or ("",), values)
        ]
        for name, header, rows in (
            ("summary.csv", ("task", "model", "group", "mean", "std", "languages"), summary),
            (
                "differences.csv",
                ("task", "first", "other", "group", "mean", "low", "high", "p", "languages"),
                differences,
            ),
            ("languages.csv", ("task", "model", "tag", "metric", "seed", "value"), languages),
        ):
            with atomic_write(out / name) as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow(header)
                writer.writerows(rows)
        for name, content in (("summary.tex", self.latex()), ("report.md", self.markdown(pictures))):
            with atomic_write(out / name) as stream:
                stream.write(content)
        return [
            out / name
            for name in ("report.md", "summary.csv", "differences.csv", "languages.csv", "summary.tex", *pictures)
        ]
