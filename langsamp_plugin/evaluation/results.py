"""The JSON of one model and task: ``<out>/<model>/<task>.json``."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from langsamp_plugin import __version__
from langsamp_plugin.atomic import PathLike, atomic_write

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
        return Result(**fields)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no result of `langsamp evaluate`: {error}") from error


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
