"""One picture per task: models against the baseline, or a model's languages in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from langsamp_plugin.atomic import atomic_write

COLOURS = {"tail": "#c2571a", "head": "#2166ac"}
MARKS = {True: "o", False: "^"}
NAMED = 8  # languages whose tag is written into the picture
PER_ROW = 3


class LanguageScores(NamedTuple):
    """A language that all models have.

    Args:
        tag: such as ``deu_Latn``.
        head: whether it is head.
        scores: one per model, the baseline first.
    """

    tag: str
    head: bool
    scores: list[float]


class Point(NamedTuple):
    """A language in a picture."""

    tag: str
    head: bool
    x: float
    y: float


def plot_task(rows: Sequence[LanguageScores], *, models: Sequence[str], title: str, metric: str, path: Path) -> Path:
    """Draw a task and return the picture's path.

    With two models or more, each language is a point, the baseline across and another model up, a panel per model; with
    one model, its languages stand in order of their scores. Colour tells head from tail, shape Latin script from
    others.

    Args:
        rows: the languages.
        models: their names, the baseline first.
        title: of the task.
        metric: what is drawn.
        path: of the picture.
    """
    from matplotlib.figure import Figure

    panels = max(1, len(models) - 1)
    columns = min(PER_ROW, panels)
    lines = -(-panels // columns)
    size = (7.5, 3.8) if len(models) == 1 else (5.2 * columns, 5 * lines)
    figure = Figure(figsize=size, layout="constrained")
    for panel in range(panels):
        axes = figure.add_subplot(lines, columns, panel + 1)
        if len(models) == 1:
            _draw_in_order(axes, rows, metric)
        else:
            _draw_against(axes, rows, models, panel + 1)
        axes.legend(fontsize=7)
    figure.suptitle(f"{title}, {len(rows)} languages", fontsize=10)
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png", dpi=150)
    return path


def _draw_against(axes: Any, rows: Sequence[LanguageScores], models: Sequence[str], other: int) -> None:
    """Draw one model over the baseline."""
    from textalloc import allocate

    points = [Point(row.tag, row.head, row.scores[0], row.scores[other]) for row in rows]
    low = min(min(point.x, point.y) for point in points) - 2
    high = max(max(point.x, point.y) for point in points) + 2
    axes.plot([low, high], [low, high], color="#999999", linewidth=0.8, zorder=0)
    axes.set(xlabel=models[0], ylabel=models[other], xlim=(low, high), ylim=(low, high), aspect="equal")
    _scatter(axes, points)
    named = sorted(points, key=lambda point: -abs(point.y - point.x))[:NAMED]
    allocate(
        axes, [point.x for point in named], [point.y for point in named], [point.tag for point in named],
        x_scatter=[point.x for point in points], y_scatter=[point.y for point in points],
        textsize=6.5, linecolor="0.6", linewidth=0.4,
    )  # fmt: skip


def _draw_in_order(axes: Any, rows: Sequence[LanguageScores], metric: str) -> None:
    """Draw a model's languages from the lowest score to the highest."""
    ordered = sorted(rows, key=lambda row: row.scores[0])
    points = [Point(row.tag, row.head, float(place), row.scores[0]) for place, row in enumerate(ordered)]
    axes.set(xlabel="languages in order", ylabel=metric + ", %", ylim=(0, 104), xlim=(-2, len(points) * 1.08))
    axes.set_xticks([])
    _scatter(axes, points)
    # Right below a point nothing else is drawn, as the languages are in order.
    for place in np.linspace(0, len(points) - 1, min(NAMED, len(points))).round().astype(int):
        point = points[place]
        axes.annotate(point.tag, (point.x, point.y), xytext=(4, -9), textcoords="offset points", fontsize=6.5)


def _scatter(axes: Any, points: Sequence[Point]) -> None:
    for group, colour in COLOURS.items():
        for latin, mark in MARKS.items():
            chosen = [
                point for point in points if point.head == (group == "head") and point.tag.endswith("_Latn") == latin
            ]
            if chosen:
                label = f"{group}, {'Latin' if latin else 'other'} script"
                x, y = [point.x for point in chosen], [point.y for point in chosen]
                axes.scatter(x, y, s=16, color=colour, marker=mark, label=label, alpha=0.8)
