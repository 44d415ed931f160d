"""Draws maps of a table: pictures for a paper, and an interactive page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from langsamp_plugin.analysis.families import OTHER
from langsamp_plugin.atomic import atomic_write

PAGE = Path(__file__).with_name("map.html")
TITLES = {"pca": "principal components", "umap": "UMAP by cosine"}
COLOURS = {"script": "script", "family": "family", "head": "head and tail"}
GREY = "#b8b8b8"
LEGEND_WIDTH = 24  # characters that fit next to the map


class MapPoint(NamedTuple):
    """One row of a table.

    Args:
        code: its ISO code.
        name: its English name.
        tags: the tags that it was trained with.
        family: its family, empty if unknown.
        colours: its group in each colouring, such as ``{"script": "Latn", "head": "tail"}``.
        nearest: its nearest neighbours and their cosines.
    """

    code: str
    name: str
    tags: list[str]
    family: str
    colours: dict[str, str]
    nearest: list[tuple[str, float]]


class TableMap(NamedTuple):
    """A table in two dimensions.

    Args:
        noun: ``language`` or ``script``.
        points: its rows.
        projections: float ``(points, 2)`` per kind of projection.
        share: shares of variance of the two principal components.
    """

    noun: str
    points: list[MapPoint]
    projections: dict[str, np.ndarray]
    share: np.ndarray


def marks(groups: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Assign each group a colour and a shape, most frequent first.

    Twenty colours (matplotlib's tab20, dark ones first) and three shapes: no two of the first 60 groups look alike.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    names = sorted(set(groups) - {OTHER}, key=lambda name: (-groups.count(name), name))
    dark_first = [*range(0, 20, 2), *range(1, 20, 2)]
    colours = [to_hex(colormaps["tab20"](number)) for number in dark_first if number not in (14, 15)]
    found = {
        name: (colours[number % len(colours)], "o^s"[number // len(colours) % 3]) for number, name in enumerate(names)
    }
    return {**found, OTHER: (GREY, "o")} if OTHER in groups else found


def draw_map(table: TableMap, out: Path) -> None:
    """Draw each projection in each colouring, as PNG and SVG.

    Labels never overlap: labels without room are omitted, and the title gives the number shown.

    Raises:
        ModuleNotFoundError: matplotlib or textalloc is not installed.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from textalloc import allocate

    for projection, positions in table.projections.items():
        for colouring in table.points[0].colours:
            groups = [point.colours[colouring] for point in table.points]
            look = marks(groups)
            alone = len(look) == len(groups)
            figure = Figure(figsize=(11, 8.5), dpi=130)
            axes = figure.add_axes((0.07, 0.07, 0.74, 0.87))
            for name, (colour, shape) in look.items():
                rows = [row for row, group in enumerate(groups) if group == name]
                label = name if len(name) <= LEGEND_WIDTH else f"{name[: LEGEND_WIDTH - 1]}…"
                label += "" if alone else f" ({len(rows)})"
                axes.scatter(
                    positions[rows, 0], positions[rows, 1], s=16, color=colour, marker=shape, label=label, linewidths=0
                )
            axes.margins(0.06)
            if projection == "pca":
                axes.set(
                    xlabel=f"first principal component ({table.share[0]:.0%} of the variance)",
                    ylabel=f"second principal component ({table.share[1]:.0%})",
                )
            else:
                axes.set(xticks=[], yticks=[])
            axes.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
            x, y = positions.T.astype(float)
            # Well-known languages are labelled first.
            order = sorted(range(len(x)), key=lambda row: table.points[row].colours.get("head") != "head")
            shown = allocate(
                axes, x[order], y[order], [table.points[row].code for row in order], x_scatter=x, y_scatter=y,
                textsize=6.5 if len(x) > 60 else 8, draw_all=False, max_distance=0.05, min_distance=0.006,
                linecolor="0.6", linewidth=0.4,
            )[1]  # fmt: skip
            labelled = sum(text is not None for text in shown)
            title = f"{len(x)} {table.noun} embeddings, {TITLES[projection]}"
            title += "" if alone else f", coloured by {COLOURS[colouring]}"
            axes.set_title(title if labelled == len(x) else f"{title} ({labelled} labelled)", fontsize=10)
            # Keep text as text in the SVG; a fixed salt makes its ids, and so the file, reproducible.
            with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "langsamp"}):
                for kind, metadata in (("png", None), ("svg", {"Date": None})):
                    with atomic_write(out / f"{table.noun}_{projection}_{colouring}.{kind}", "wb") as stream:
                        figure.savefig(stream, format=kind, metadata=metadata)


def write_page(tables: Sequence[TableMap], path: Path, title: str) -> None:
    """Write one self-contained HTML file."""
    data = []
    for table in tables:
        colourings = {}
        for name in table.points[0].colours:
            groups = [point.colours[name] for point in table.points]
            colourings[name] = {"title": COLOURS[name], "groups": groups, "marks": marks(groups)}
        data.append(
            {
                "noun": table.noun,
                "points": [
                    {
                        "code": point.code, "name": point.name, "tags": point.tags[:12],
                        "more": max(0, len(point.tags) - 12),
                        "family": point.family, "nearest": [[code, round(value, 3)] for code, value in point.nearest],
                    }
                    for point in table.points
                ],
                "projections": {
                    kind: {"title": TITLES[kind], "xy": np.round(positions.astype(float), 4).tolist()}
                    for kind, positions in table.projections.items()
                },
                "colourings": colourings,
            }
        )  # fmt: skip
    # "<" is escaped, so that no name can end the script element.
    text = json.dumps({"title": title, "tables": data}, ensure_ascii=False).replace("<", "\\u003c")
    page = PAGE.read_text(encoding="utf-8").replace("/*DATA*/ null", text)
    with atomic_write(path) as stream:
        stream.write(page)
