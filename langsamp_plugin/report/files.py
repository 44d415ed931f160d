"""Writes the files of a report: Markdown, LaTeX, CSV, pictures, and formats of other tools."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Optional

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.report.latex import report_latex
from langsamp_plugin.report.markdown import report_markdown
from langsamp_plugin.report.plots import LanguageScores, plot_task
from langsamp_plugin.report.report import Report


def save_report(report: Report, out: PathLike) -> list[Path]:
    """Write ``report.md``, its tables as CSV and LaTeX, and pictures.

    Returns:
        The paths, ``report.md`` first.
    """
    out = Path(out)
    pictures = [draw(report, task, out).name for task in report.tasks if report.shared[task]]
    tables: dict[str, tuple[Sequence[str], Any]] = {
        "summary.csv": (("task", "model", "group", "mean", "std", "languages"), _summary_rows(report)),
        "differences.csv": (
            ("task", "first", "other", "group", "mean", "low", "high", "p", "holm", "languages", "about", "method"),
            [
                (row.task, row.baseline, row.model, row.group, *map(_number, row.gain[:4]), _number(row.gain.adjusted),
                 row.gain.languages, row.gain.about, row.gain.method)
                for row in report.comparisons
            ],
        ),
        "families.csv": (
            ("task", "first", "other", "family", "languages", "mean"),
            [(*row[:5], _number(row.gain)) for row in report.family_effects],
        ),
        "languages.csv": (("task", "model", "tag", "metric", "seed", "value"), _language_rows(report)),
    }  # fmt: skip
    for name, (header, rows) in tables.items():
        write_csv(out / name, header, rows)
    for name, content in (("summary.tex", report_latex(report)), ("report.md", report_markdown(report, pictures))):
        with atomic_write(out / name) as stream:
            stream.write(content)
    return [out / name for name in ("report.md", *tables, "summary.tex", *pictures)]


def draw(report: Report, task: str, out: Path) -> Path:
    """Draw the languages of a task that all models have."""
    results = report.tasks[task]
    order = sorted(range(len(results)), key=lambda place: results[place].model != report.baseline)
    rows = [
        LanguageScores(tag, report.groups.is_head(tag, task), [float(values[place] or 0.0) for place in order])
        for tag, values in report.languages(task)
        if all(value is not None for value in values)
    ]
    models = [results[place].model for place in order]
    return plot_task(
        rows, models=models, title=report.title(task), metric=report.metric(task), path=out / f"{task}.png"
    )


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file."""
    with atomic_write(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _number(value: Optional[float]) -> str:
    return "" if value is None else f"{value:.4f}"


def _summary_rows(report: Report) -> list[Sequence[Any]]:
    return [
        (row.task, row.model, group, _number(part.mean), _number(part.std), part.languages)
        for row in report.summary
        for group, part in row.cells.items()
        if part.languages
    ]


def _language_rows(report: Report) -> list[Sequence[Any]]:
    return [
        (task, result.model, tag, metric, seed, _number(value))
        for task, of_task in report.tasks.items()
        for result in of_task
        for tag, metrics in sorted(result.scores.items())
        for metric, values in metrics.items()
        for seed, value in zip(result.seeds or ("",), values)
    ]
