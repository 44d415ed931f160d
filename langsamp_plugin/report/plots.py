"""Draws one picture per task: models against the baseline, or a single model's languages in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from langsamp_plugin.atomic import atomic_write

COLOURS = {"tail": "#c2571a", "head": "#2166ac"}
MARKS = {True: "o", False: "^"}
NAMED = 8  # maximum number of languages labelled in a picture
PER_ROW = 3
MOST_PANELS = 9
LONGEST_NAME = 60
MANY = 300  # with more languages than this, points are small and translucent


class LanguageScores(NamedTuple):
    """A language that all models were scored on.

    Args:
        tag: such as ``deu_Latn``.
        head: whether it is a head language.
        scores: one score per model, the baseline's first.
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

    With two or more models there is one panel per model other than the baseline: each language is a point, with the
    baseline's score on the x axis and the difference on the y axis. A single model's languages are sorted by score.
    Colour marks head and tail, shape marks Latin and other scripts. Of more than :data:`MOST_PANELS` models, those
    whose means differ most from the baseline's are drawn, and the title says so.

    Args:
        rows: the languages.
        models: names of the models, the baseline first.
        title: title of the task.
        metric: the metric to draw.
        path: path of the picture.
    """
    from matplotlib.figure import Figure

    shown = most_different(rows, len(models)) if len(models) > 1 else [0]
    columns = min(PER_ROW, len(shown))
    lines = -(-len(shown) // columns)
    size = (7.5, 4.2) if len(models) == 1 else (max(6.0, 5.0 * columns), 3.8 * lines + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    for panel, other in enumerate(shown):
        axes = figure.add_subplot(lines, columns, panel + 1)
        if len(models) == 1:
            _draw_in_order(axes, rows, metric)
        else:
            _draw_against(axes, rows, models, other)
    # Outside the axes, where it covers no point.
    figure.legend(*_legend(figure), loc="outside lower center", ncols=5, fontsize=8, frameon=False, markerscale=1.5)
    figure.suptitle("\n".join(picture_title(rows, models, title, metric, len(shown))), fontsize=10)
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png", dpi=150)
    return path


def most_different(rows: Sequence[LanguageScores], models: int) -> list[int]:
    """Return the indices of the models to draw, in their original order."""
    scores = np.array([row.scores for row in rows])
    gains = np.abs((scores[:, 1:] - scores[:, :1]).mean(axis=0))
    return sorted(1 + int(place) for place in np.argsort(-gains, kind="stable")[:MOST_PANELS])


def picture_title(
    rows: Sequence[LanguageScores], models: Sequence[str], title: str, metric: str, shown: int
) -> list[str]:
    """Return the lines of a title, which say what is drawn and what is omitted."""
    lines = [f"{title}, {metric}, {len(rows):,} languages"]
    if len(models) > 1:
        lines.append(f"y axis: difference from {_short(models[0])}; x axis: its score")
    if len(models) - 1 > shown:
        lines.append(
            f"{shown} of {len(models) - 1} models, those whose means differ most; all are in summary.csv and "
            "languages.csv"
        )
    if len(rows) > NAMED:
        lines.append(
            f"labels: the {NAMED} languages that differ most" if len(models) > 1 else f"labels: {NAMED} languages"
        )
    return lines


def _legend(figure: Any) -> tuple[list[Any], list[str]]:
    """Return the legend entries of all panels without duplicates."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for mark, label in zip(*axes.get_legend_handles_labels()):
            found.setdefault(label, mark)
    labels = sorted(found)
    return [found[label] for label in labels], labels


def _short(name: str) -> str:
    """Return a model's name, with its middle elided if it is too long for an axis."""
    if len(name) <= LONGEST_NAME:
        return name
    half = (LONGEST_NAME - 3) // 2
    return f"{name[:half]}...{name[-half:]}"


def _draw_against(axes: Any, rows: Sequence[LanguageScores], models: Sequence[str], other: int) -> None:
    """Draw one model against the baseline."""
    from textalloc import allocate

    points = [Point(row.tag, row.head, row.scores[0], row.scores[other] - row.scores[0]) for row in rows]
    across, up = ([getattr(point, name) for point in points] for name in ("x", "y"))
    room = max(1.0, 0.15 * (max(up) - min(up)))  # room for labels
    axes.axhline(0, color="#999999", linewidth=0.8, zorder=0)
    axes.axhline(float(np.mean(up)), color="#000000", linewidth=0.8, linestyle=":", zorder=3, label="mean")
    axes.set_title(f"{_short(models[other])}: {np.mean(up):+.1f}", fontsize=9)
    axes.set(xlim=(min(across) - 2, max(across) + 2), ylim=(min(0.0, *up) - room, max(0.0, *up) + room))
    _scatter(axes, points)
    named = sorted(points, key=lambda point: -abs(point.y))[:NAMED]
    allocate(
        axes, [point.x for point in named], [point.y for point in named], [point.tag for point in named],
        x_scatter=[point.x for point in points], y_scatter=[point.y for point in points],
        textsize=6.5, linecolor="0.6", linewidth=0.4,
    )  # fmt: skip


def _draw_in_order(axes: Any, rows: Sequence[LanguageScores], metric: str) -> None:
    """Draw a model's languages from the lowest score to the highest."""
    ordered = sorted(rows, key=lambda row: row.scores[0])
    points = [Point(row.tag, row.head, float(place), row.scores[0]) for place, row in enumerate(ordered)]
    axes.set(xlabel="languages sorted by score", ylabel=metric + ", %", ylim=(0, 104), xlim=(-2, len(points) * 1.08))
    axes.set_xticks([])
    _scatter(axes, points)
    # The languages are sorted, so the space below and right of a point is free.
    for place in np.linspace(0, len(points) - 1, min(NAMED, len(points))).round().astype(int):
        point = points[place]
        axes.annotate(point.tag, (point.x, point.y), xytext=(4, -9), textcoords="offset points", fontsize=6.5)


def _scatter(axes: Any, points: Sequence[Point]) -> None:
    for group, colour in COLOURS.items():
        for latin, mark in MARKS.items():
            size, alpha = (16, 0.8) if len(points) <= MANY else (6, 0.45)
            chosen = [
                point for point in points if point.head == (group == "head") and point.tag.endswith("_Latn") == latin
            ]
            if chosen:
                label = f"{group}, {'Latin' if latin else 'other'} script"
                x, y = [point.x for point in chosen], [point.y for point in chosen]
                axes.scatter(x, y, s=size, color=colour, marker=mark, label=label, alpha=alpha, linewidths=0)
