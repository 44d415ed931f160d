"""One picture per task: model against model, or a model's languages in order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from langsamp_plugin.atomic import atomic_write
from langsamp_plugin.evaluation.tasks import TASKS

if TYPE_CHECKING:
    from langsamp_plugin.report.report import Report

COLOURS = {"tail": "#c2571a", "head": "#2166ac"}
MARKS = {True: "o", False: "^"}
NAMED = 8  # languages whose tag is written into the picture


def plot_task(report: Report, task: str, out: Path) -> Path:
    """Draw a task and return the picture's path.

    With two models or more, each language is a point, the first model across and the last one up; with one model, its
    languages stand in order of their scores. Colour tells head from tail, shape Latin script from others.
    """
    from matplotlib.figure import Figure
    from textalloc import allocate

    rows = []  # languages that all models have
    for tag, values in report.languages(task):
        scores = [value for value in values if value is not None]
        if len(scores) == len(values):
            rows.append((tag, scores))
    models = [result.model for result in report.tasks[task]]
    figure = Figure(figsize=(5.2, 5) if len(models) > 1 else (7.5, 3.8), layout="constrained")
    axes = figure.add_subplot()
    if len(models) > 1:
        points = [(tag, scores[0], scores[-1]) for tag, scores in rows]
        low = min(min(x, y) for _, x, y in points) - 2
        high = max(max(x, y) for _, x, y in points) + 2
        axes.plot([low, high], [low, high], color="#999999", linewidth=0.8, zorder=0)
        axes.set(xlabel=models[0], ylabel=models[-1], xlim=(low, high), ylim=(low, high), aspect="equal")
        named = sorted(points, key=lambda point: -abs(point[2] - point[1]))[:NAMED]
    else:
        ordered = sorted(rows, key=lambda row: row[1][0])
        points = [(tag, float(place), scores[0]) for place, (tag, scores) in enumerate(ordered)]
        axes.set(
            xlabel="languages in order", ylabel=TASKS[task].metric + ", %", ylim=(0, 104), xlim=(-2, len(points) * 1.08)
        )
        axes.set_xticks([])
        named = [
            points[place] for place in np.linspace(0, len(points) - 1, min(NAMED, len(points))).round().astype(int)
        ]
    for group, colour in COLOURS.items():
        for latin, mark in MARKS.items():
            chosen = [
                point
                for point in points
                if (point[0] in report.groups.heads) == (group == "head") and point[0].endswith("_Latn") == latin
            ]
            if chosen:
                label = f"{group}, {'Latin' if latin else 'other'} script"
                x, y = [x for _, x, _ in chosen], [y for _, _, y in chosen]
                axes.scatter(x, y, s=16, color=colour, marker=mark, label=label, alpha=0.8)
    if len(models) > 1:
        allocate(
            axes, [x for _, x, _ in named], [y for _, _, y in named], [tag for tag, _, _ in named],
            x_scatter=[x for _, x, _ in points], y_scatter=[y for _, _, y in points],
            textsize=6.5, linecolor="0.6", linewidth=0.4,
        )  # fmt: skip
    else:
        for (
            tag,
            place,
            score,
        ) in named:  # right below a point: the languages are in order, so that nothing else is there
            axes.annotate(tag, (place, score), xytext=(4, -9), textcoords="offset points", fontsize=6.5)
    axes.set_title(f"{TASKS[task].title}, {len(points)} languages", fontsize=10)
    axes.legend(fontsize=7)
    path = out / f"{task}.png"
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png", dpi=150)
    return path
