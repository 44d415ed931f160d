"""The JSON of one model and task: ``<out>/<model>/<task>.json``."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from langsamp_plugin import __version__
from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.evaluation.tasks import TASKS
from langsamp_plugin.lang_script import LangScript

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "scikit-learn", "seqeval", "fairseq", "ve-fairseq")


class Result(NamedTuple):
    """Scores of one model on one task.

    Args:
        task: its name.
        model: the name of the model.
        metric: the one that tables show, a key of the scores.
        source: the language that was fine-tuned on, or that retrieval starts from.
        seeds: of the fine-tuning runs; empty for retrieval.
        settings: what was run.
        scores: tag -> metric -> a value per seed (one for retrieval), percentages.
        sizes: tag -> sentences, or pairs.
        not_scored: tag -> why not.
        notes: what a reader must know.
        by_layer: for retrieval: layer -> tag -> metric -> value.
        curves: for fine-tuning: seed -> ``[[update, dev score], ...]``.
        provenance: hashes, versions, command, time.
    """

    task: str
    model: str
    metric: str
    source: str
    seeds: list[int]
    settings: dict[str, Any]
    scores: dict[str, dict[str, list[float]]]
    sizes: dict[str, int]
    not_scored: dict[str, str]
    notes: list[str]
    by_layer: dict[str, dict[str, dict[str, float]]]
    curves: dict[str, list[list[float]]]
    provenance: dict[str, Any]

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over languages and seeds."""
        values = [sum(scores[metric]) / len(scores[metric]) for scores in self.scores.values()]
        return sum(values) / len(values)

    def save(self, out: PathLike) -> Path:
        """Write ``<out>/<model>/<task>.json``."""
        path = result_path(out, self.model, self.task)
        with atomic_write(path) as stream:
            json.dump(self._asdict(), stream, indent=1, ensure_ascii=False)
        return path


FIELDS: dict[str, type] = {
    "task": str, "model": str, "metric": str, "source": str, "seeds": list, "settings": dict, "scores": dict, "sizes": dict,
    "not_scored": dict, "notes": list, "by_layer": dict, "curves": dict, "provenance": dict,
}  # fmt: skip
"""The types of a result's fields, as JSON has them."""


def result_path(out: PathLike, model: str, task: str) -> Path:
    """Return where a result lies."""
    return Path(out) / model / f"{task}.json"


def load_result(path: PathLike) -> Result:
    """Read a result.

    Raises:
        ValueError: the file is none.
    """
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(fields, dict) or fields.keys() != FIELDS.keys():
            raise ValueError(f"it must be an object of {' '.join(FIELDS)}")
        for name, kind in FIELDS.items():
            if not isinstance(fields[name], kind):
                raise ValueError(f"{name} must be a {kind.__name__}, but is {str(fields[name])[:60]}")
        result = Result(**fields)
        _check(result)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no result of `langsamp evaluate`: {error}") from error
    return result


def model_name(name: str) -> str:
    """Return a model's name, which becomes that of a folder.

    Raises:
        ValueError: it would be a folder elsewhere.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(
            f"the name of a model becomes that of its folder of results and cannot be {name!r}: --name NAME"
        )
    return name


def _check(result: Result) -> None:
    """Raise ``ValueError`` unless every language has numbers for the metric, one per seed."""
    model_name(result.model)
    if result.task not in TASKS:
        raise ValueError(f"task must be of {' '.join(TASKS)}, but is {result.task!r}")
    if not result.scores:
        raise ValueError("it has no scores")
    runs = max(1, len(result.seeds))
    for tag, metrics in result.scores.items():
        LangScript.parse(tag)
        if not isinstance(metrics, dict) or result.metric not in metrics:
            raise ValueError(f"{tag} has no {result.metric}")
        for metric, values in metrics.items():
            numbers = isinstance(values, list) and all(isinstance(value, (int, float)) for value in values)
            if not numbers or len(values) != runs or not all(map(math.isfinite, values)):
                raise ValueError(f"{metric} of {tag} must be {runs} numbers, but is {str(values)[:60]}")


def provenance(model: PathLike, model_hash: str, data: PathLike, data_hash: str) -> dict[str, Any]:
    """Return where a result comes from."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "model": str(Path(model).resolve()),
        "model_hash": model_hash,
        "data": str(Path(data).resolve()),
        "data_hash": data_hash,
        "langsamp_plugin": __version__,
        "versions": versions,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
