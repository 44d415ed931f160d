"""Reads the results of an ablation: losses, scores and neutrality of each model and seed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from langsamp_plugin.report.groups import Groups

Scores = dict[str, dict[int, dict[str, float]]]
"""model -> seed -> tag -> value."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def name_parts(name: str) -> tuple[str, int]:
    """Return model and seed of ``both-1``; the untrained one has seed 0."""
    model, _, seed = name.partition("-")
    return model, int(seed or 0)


class Run:
    """The results in the folder of an ablation.

    Args:
        folder: the ``--out`` of run.sh.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.names = sorted(path.parent.name for path in (folder / "models").glob("*/done"))
        self.seeds = sorted({seed for _, seed in map(name_parts, self.names) if seed})
        self.groups = Groups()

    def each(self, read: Any) -> dict[str, dict[int, Any]]:
        """Return ``read(name)`` of every model and seed."""
        found: dict[str, dict[int, Any]] = {}
        for name in self.names:
            model, seed = name_parts(name)
            value = read(name)
            if value is not None:
                found.setdefault(model, {})[seed] = value
        return found

    def losses(self) -> Scores:
        """Held-out bits per masked token, the last validation of each."""

        def read(name: str) -> dict[str, float]:
            last = max((self.folder / "models" / name / "validation").glob("*.tsv"), key=lambda path: int(path.stem))
            with open(last, encoding="utf-8") as stream:
                rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["kind"] == "tag"]
            return {row["name"]: float(row["loss_bits"]) for row in rows}

        return self.each(read)

    def results(self, task: str, metric: str) -> Scores:
        """Scores of ``langsamp evaluate``."""

        def read(name: str) -> Any:
            scores = self.stored("results", name, task).get("scores", {})
            return {tag: float(np.mean(values[metric])) for tag, values in scores.items()} or None

        return self.each(read)

    def layers(self, task: str, metric: str) -> dict[int, Scores]:
        """Scores of ``langsamp evaluate`` at each layer."""
        found: dict[int, Scores] = {}
        for model, seeds in self.each(lambda name: self.stored("results", name, task) or None).items():
            for seed, result in seeds.items():
                for layer, by_tag in result["by_layer"].items():
                    of_layer = found.setdefault(int(layer), {}).setdefault(model, {})
                    of_layer[seed] = {tag: float(np.mean(scores[metric])) for tag, scores in by_tag.items()}
        return found

    def stored(self, kind: str, name: str, file: str = "") -> dict[str, Any]:
        """Return the measurements of a model, or an empty object if there are none."""
        path = self.folder / kind / name / f"{file}.json" if file else self.folder / kind / f"{name}.json"
        return read_json(path) if path.is_file() else {}

    def frozen(self, task: str, way: str, kind: str = "frozen") -> Scores:
        """F1 of frozen features."""
        return self.each(lambda name: self.stored(kind, name).get(task, {}).get(way) or None)
