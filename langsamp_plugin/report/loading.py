"""Finds results on disk and merges those that are parts of one run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.evaluation.results import FIELDS, Result, join, load_result, run_identity, values_of
from langsamp_plugin.evaluation.tasks import TASKS


def load_results(paths: Sequence[PathLike]) -> list[Result]:
    """Read results from files, folders of a model, or folders of models, and merge parts of one run.

    Raises:
        FileNotFoundError: no result was found.
        ValueError: a file is not a result, or two files contain the same languages and seeds of a model.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_file():
            files.append(path)
            continue
        found = [
            file for pattern in ("*.json", "*/*.json") for file in sorted(path.glob(pattern)) if _may_be_result(file)
        ]
        if not found:
            raise FileNotFoundError(f"{path} has no results in it; `langsamp evaluate` makes them")
        files += sorted(found, key=_task_order)
    loaded = [(file, load_result(file)) for file in dict.fromkeys(files)]
    return _with_names_of_their_own(_joined(loaded))


def _task_order(path: Path) -> tuple[int, str]:
    name = path.name.split(".")[0]
    return (list(TASKS).index(name) if name in TASKS else len(TASKS), str(path))


def _may_be_result(path: Path) -> bool:
    """Return whether a file is named like a result, or is a result of a user-defined task."""
    if path.name.split(".")[0] in TASKS:
        return True
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and fields.keys() >= FIELDS.keys()


def _joined(loaded: Sequence[tuple[Path, Result]]) -> list[Result]:
    parts: list[tuple[Path, Result]] = []
    for path, result in loaded:
        for place, (first, other) in enumerate(parts):
            same = (other.task, other.model) == (result.task, result.model)
            if not same or run_identity(other) != run_identity(result):
                continue
            one, two = values_of(other), values_of(result)
            if any(one[tag].keys() & two[tag].keys() for tag in one.keys() & two.keys()):
                raise ValueError(
                    f"{first} and {path} have the same languages and seeds of {result.model} on {result.task}: name "
                    "only one of them, or evaluate with --name"
                )
            parts[place] = (first, join(other, result))
            break
        else:
            parts.append((path, result))
    return [result for _, result in parts]


def _with_names_of_their_own(results: list[Result]) -> list[Result]:
    """Rename results of one model and task whose settings differ, so that the names show the difference."""
    named = []
    for result in results:
        others = [other for other in results if (other.task, other.model) == (result.task, result.model)]
        if len(others) > 1 and any(other.settings != result.settings for other in others):
            keys = sorted({key for other in others for key in other.settings} - {"recipe"})
            changed = {
                key: result.settings.get(key)
                for key in keys
                if any(other.settings.get(key) != result.settings.get(key) for other in others)
            }
            shown = ", ".join(f"{key} {value}" for key, value in changed.items())
            result = result._replace(model=f"{result.model} [{shown}]")
        named.append(result)
    return named
