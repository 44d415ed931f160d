"""Converts results to formats of other tools: mteb's JSON, and model card metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.evaluation.results import Result
from langsamp_plugin.evaluation.tasks import CLASSIFICATION, RETRIEVAL, TASKS

CARD_TASKS = {RETRIEVAL: "sentence-similarity", CLASSIFICATION: "text-classification"}


def mteb_result(result: Result) -> dict[str, Any]:
    """Return a result as mteb writes it: a list of subsets of the test split, scores from 0 to 1.

    Args:
        result: the result of one model and task; with several seeds, their mean is the score and each seed is listed as
            well.
    """
    title = TASKS[result.task].title if result.task in TASKS else result.title
    subsets = []
    for tag, metrics in sorted(result.scores.items()):
        scores = {name: float(np.mean(values)) / 100 for name, values in metrics.items()}
        pair = not result.seeds
        languages = [tag.replace("_", "-"), *(["eng-Latn"] if pair else [])]
        subsets.append(
            {
                "hf_subset": f"{tag}-eng_Latn" if pair else tag,
                "languages": languages,
                "main_score": scores[result.metric],
                **scores,
                **({} if pair else {"scores_per_experiment": _by_seed(result, metrics)}),
            }
        )
    return {
        "dataset_revision": str(result.provenance.get("data_hash", "")),
        "task_name": title,
        "mteb_version": "1.14.0",
        "scores": {"test": subsets},
        "evaluation_time": None,
        "kg_co2_emissions": None,
    }


def _by_seed(result: Result, metrics: dict[str, list[float]]) -> list[dict[str, float]]:
    return [
        {"seed": seed, **{name: values[place] / 100 for name, values in metrics.items()}}
        for place, seed in enumerate(result.seeds)
    ]


def card_metadata(results: Sequence[Result]) -> str:
    """Return the ``model-index`` of a model card as YAML, formatted by Hugging Face's own library.

    Args:
        results: results of one model.
    """
    from huggingface_hub import EvalResult, ModelCardData

    entries = []
    for result in results:
        kind = TASKS[result.task].kind if result.task in TASKS else RETRIEVAL if not result.seeds else CLASSIFICATION
        title = TASKS[result.task].title if result.task in TASKS else result.title
        for tag, metrics in sorted(result.scores.items()):
            entries.append(
                EvalResult(
                    task_type=CARD_TASKS.get(kind, "token-classification"), dataset_type=result.task,
                    dataset_name=f"{title} ({tag})", dataset_config=tag, dataset_split="test",
                    metric_type=result.metric, metric_value=round(float(np.mean(metrics[result.metric])), 4),
                    dataset_revision=str(result.provenance.get("data_hashes", {}).get(tag, "")) or None,
                )
            )  # fmt: skip
    return str(ModelCardData(model_name=results[0].model, eval_results=entries).to_yaml()) + "\n"


def save_exchange(results: Sequence[Result], out: PathLike) -> list[Path]:
    """Write ``mteb/<model>/<task>.json`` and ``cards/<model>.yml``."""
    paths = []
    for result in results:
        path = Path(out) / "mteb" / safe_name(result.model) / f"{result.task}.json"
        with atomic_write(path) as stream:
            json.dump(mteb_result(result), stream, indent=2)
        paths.append(path)
    for model in dict.fromkeys(result.model for result in results):
        path = Path(out) / "cards" / f"{safe_name(model)}.yml"
        with atomic_write(path) as stream:
            stream.write(card_metadata([result for result in results if result.model == model]))
        paths.append(path)
    return paths


def safe_name(model: str) -> str:
    """Return a model's name as a file name."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in model)
