"""The result file of one model and task: ``<out>/<model>/<task>.json``, with a separate file per settings."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple, Optional

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.evaluation.cache import hash_of
from langsamp_plugin.evaluation.tasks import TASKS
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.lock import hold
from langsamp_plugin.place import LOCK


class Result(NamedTuple):
    """Scores of one model on one task.

    Args:
        task: its name.
        model: the name of the model.
        metric: the metric that tables show, a key of the scores.
        source: the language of fine-tuning, or of retrieval queries.
        seeds: seeds of the fine-tuning runs; empty for retrieval.
        settings: settings of the run.
        scores: tag -> metric -> one value per seed (a single one for retrieval), in percent.
        sizes: tag -> number of sentences or pairs.
        not_scored: tag -> reason.
        notes: notes for readers.
        by_layer: for retrieval: layer -> tag -> metric -> value.
        curves: for fine-tuning: seed -> ``[[update, dev score], ...]``.
        provenance: hashes, versions, command, time.
        incomplete: tag -> seed -> metric -> value, for languages that lack some of the seeds.
        title: title of a user-defined task in tables.
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
    incomplete: dict[str, dict[str, dict[str, float]]] = {}  # noqa: RUF012
    title: str = ""

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over languages and seeds."""
        values = [sum(scores[metric]) / len(scores[metric]) for scores in self.scores.values()]
        return sum(values) / len(values)

    def save(self, out: PathLike, languages: Optional[Collection[str]] = None, prune: bool = False) -> Path:
        """Write ``<out>/<model>/<task>.json``, merged with an existing result of the same settings.

        If that file has other settings, the name is ``<task>.<hash>.json``.

        Args:
            out: the folder of results.
            languages: all languages of the data, if all were requested; scores of other languages from earlier runs
                stay in the file but do not count in means.
            prune: remove such languages.

        Raises:
            ValueError: the existing file belongs to another model of this name, or is not a result.
        """
        folder = Path(out) / self.model
        folder.mkdir(parents=True, exist_ok=True)
        with hold(folder / LOCK, folder, wait_s=math.inf):  # one process at a time merges its result with the file
            path = free_path(self, out)
            result = join(load_result(path), self) if path.is_file() else self
            if languages is not None:
                result = leave_out_earlier(result, languages, prune)
            _write(result, path)
        return path


FIELDS: dict[str, type] = {
    "task": str, "model": str, "metric": str, "source": str, "seeds": list, "settings": dict, "scores": dict,
    "sizes": dict,
    "not_scored": dict, "notes": list, "by_layer": dict, "curves": dict, "provenance": dict,
}  # fmt: skip
"""The JSON types of a result's fields."""

LATER_FIELDS: dict[str, type] = {"incomplete": dict, "title": str}
"""Fields that results of earlier versions lack."""


def _write(result: Result, path: Path) -> None:
    with atomic_write(path) as stream:
        json.dump(result._asdict(), stream, indent=1, ensure_ascii=False, allow_nan=False)


def result_path(out: PathLike, model: str, task: str) -> Path:
    """Return the path of the first result of a model and task."""
    return Path(out) / model / f"{task}.json"


def run_identity(result: Result) -> dict[str, Any]:
    """Return the fields that must be equal for two results to be parts of one run."""
    return {
        "settings": result.settings,
        "source": result.source,
        "metric": result.metric,
        "model": result.provenance.get("model_hash"),
        "train": result.provenance.get("train_hash"),
    }


def free_path(result: Result, out: PathLike) -> Path:
    """Return the file for a result: the one with the same settings, or a new one.

    Raises:
        ValueError: an existing file belongs to another model of this name, or is not a result.
    """
    first = result_path(out, result.model, result.task)
    digest = hash_of(result.settings, result.source, result.provenance.get("train_hash"))[:8]
    named = first.with_name(f"{result.task}.{digest}.json")
    for path in (first, named):
        if not path.is_file():
            return path
        there = load_result(path)
        if there.provenance.get("model_hash") != result.provenance.get("model_hash"):
            raise ValueError(
                f"{path} belongs to another model with the name {result.model}: choose another --name, or remove it"
            )
        if run_identity(there) == run_identity(result):
            return path
    return named


EARLIER = "scored by earlier runs, but not in the data now"
SHOWN = 10
"""Maximum number of tags listed in a note."""

Values = dict[str, dict[str, dict[str, float]]]
"""tag -> seed -> metric -> value."""


def values_of(result: Result) -> Values:
    """Return every value of a result; retrieval's seed is empty."""
    values: Values = {
        tag: {seed: dict(scores) for seed, scores in seeds.items()} for tag, seeds in result.incomplete.items()
    }
    for tag, metrics in result.scores.items():
        for place, seed in enumerate(result.seeds or [""]):
            values.setdefault(tag, {})[str(seed)] = {name: column[place] for name, column in metrics.items()}
    return values


def join(old: Result, new: Result) -> Result:
    """Merge the languages and seeds of two results; values of the new one take precedence."""
    values = values_of(old)
    for tag, seeds in values_of(new).items():
        if _data_of(old, tag) != _data_of(new, tag):
            values[tag] = {}  # the language's file has changed since then
        values.setdefault(tag, {}).update(seeds)
    return arrange(
        new._replace(
            sizes=dict(sorted({**old.sizes, **new.sizes}.items())),
            not_scored={tag: why for tag, why in {**old.not_scored, **new.not_scored}.items() if tag not in values},
            notes=list(dict.fromkeys([*_kept_notes(old, new), *new.notes])),
            by_layer={
                layer: dict(sorted({**old.by_layer.get(layer, {}), **new.by_layer.get(layer, {})}.items()))
                for layer in sorted({*old.by_layer, *new.by_layer}, key=int)
            },
            curves={**old.curves, **new.curves},
            provenance=join_provenance(old.provenance, new.provenance),
        ),
        values,
    )


def _data_of(result: Result, tag: str) -> Any:
    return result.provenance.get("data_hashes", {}).get(tag)


def _kept_notes(old: Result, new: Result) -> list[str]:
    """Return the notes of the old result, except those about languages that were scored again."""
    return [note for note in old.notes if not any(tag in note for tag in new.scores)]


def leave_out_earlier(result: Result, languages: Collection[str], prune: bool) -> Result:
    """Return a result without the scores of languages that are no longer in the data.

    Args:
        result: the result, merged with that of earlier runs.
        languages: the current languages of the data.
        prune: remove them; otherwise they become incomplete languages, and a note names them.
    """
    values = values_of(result)
    earlier = sorted(values.keys() - set(languages))
    notes = [note for note in result.notes if not note.startswith(EARLIER)]
    if prune:
        kept = {tag: seeds for tag, seeds in result.incomplete.items() if tag not in earlier}
        sizes = {tag: size for tag, size in result.sizes.items() if tag not in earlier}
        result = result._replace(sizes=sizes)
    else:
        kept = {**result.incomplete, **{tag: values[tag] for tag in earlier}}
        if earlier:
            more = f" and {len(earlier) - SHOWN} more" if len(earlier) > SHOWN else ""
            notes.append(
                f"{EARLIER}: {' '.join(earlier[:SHOWN])}{more}: they are excluded from means, and --prune removes them"
            )
    return result._replace(
        scores={tag: scores for tag, scores in result.scores.items() if tag not in earlier},
        incomplete=dict(sorted(kept.items())),
        notes=notes,
    )


def join_provenance(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Merge the provenance of two results; each environment is listed once."""
    computed = list({hash_of(part): part for part in [*old.get("computed", []), *new.get("computed", [])]}.values())
    hashes = {**old.get("data_hashes", {}), **new.get("data_hashes", {})}
    return {**new, "computed": computed, "data_hashes": dict(sorted(hashes.items())), "data_hash": hash_of(hashes)}


def arrange(result: Result, values: Values) -> Result:
    """Return a result with its values set: the most complete set of seeds in ``scores``, the rest in ``incomplete``."""
    counts: dict[tuple[str, ...], int] = {}
    for seeds in values.values():
        key = tuple(sorted(seeds, key=lambda seed: int(seed or 0)))
        counts[key] = counts.get(key, 0) + 1
    every = max(counts, key=lambda key: (len(key) * sum(set(key) <= set(seeds) for seeds in values.values()), len(key)))
    scores: dict[str, dict[str, list[float]]] = {}
    incomplete: Values = {}
    for tag in sorted(values):
        seeds = values[tag]
        if set(every) <= seeds.keys():
            scores[tag] = {name: [seeds[seed][name] for seed in every] for name in seeds[every[0]]}
        extra = {seed: seeds[seed] for seed in sorted(seeds) if tag not in scores or seed not in every}
        if extra:
            incomplete[tag] = extra
    return result._replace(
        scores=scores, incomplete=incomplete, seeds=[] if every == ("",) else [int(seed) for seed in every]
    )


def load_result(path: PathLike) -> Result:
    """Read a result.

    Raises:
        ValueError: the file is not a result.
    """
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
        later = LATER_FIELDS.keys()
        if not isinstance(fields, dict) or fields.keys() - later != FIELDS.keys():
            raise ValueError(f"it must be an object of {' '.join(FIELDS)}")
        for name, kind in {**FIELDS, **{name: LATER_FIELDS[name] for name in later & fields.keys()}}.items():
            if not isinstance(fields[name], kind):
                raise ValueError(f"{name} must be a {kind.__name__}, but is {str(fields[name])[:60]}")
        result = Result(**fields)
        _check(result)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a result of `langsamp evaluate`: {error}") from error
    return result


def model_name(name: str) -> str:
    """Return a model's name after checking that it can name a folder.

    Raises:
        ValueError: the name would leave the folder of results.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(
            f"the name of a model must be usable as a folder name, but is {name!r}: choose another with --name"
        )
    return name


def _check(result: Result) -> None:
    """Raise ``ValueError`` unless every language has numbers for the metric, one per seed."""
    model_name(result.model)
    if result.task not in TASKS and not (result.title and result.task.replace("-", "").replace("_", "").isalnum()):
        raise ValueError(f"task must be one of {' '.join(TASKS)}, but is {result.task!r}")
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
                raise ValueError(f"{metric} of {tag} must be {runs} finite numbers, but is {str(values)[:60]}")
