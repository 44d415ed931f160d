"""User-defined tasks, read from a small JSON file."""

from __future__ import annotations

import json
import re
from pathlib import Path

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.evaluation.tasks import CLASSIFICATION, KINDS, RETRIEVAL, SENTENCES, TASKS, WORDS, Settings, Task

METRICS = {
    RETRIEVAL: ("top10", "top1", "top5", "reverse1", "reverse5", "reverse10"),
    CLASSIFICATION: ("f1", "accuracy"),
    "tagging": ("f1", "f1_words", "f1_macro", "f1_spans"),
}
REQUIRED = ("name", "kind", "folder")
NUMBERS = ("max_length", "most_pairs", "min_pairs", "lr", "epochs", "batch_size", "accumulate", "eval_steps")
"""Settings that the file may change."""


def read_task(path: PathLike) -> Task:
    """Read a task: an object with ``name``, ``kind``, ``folder``, and optionally ``title``, ``metric`` and settings.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: a field is missing or unknown, or has an invalid value.
    """
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a JSON object that describes a task: {error}") from error
    if not isinstance(fields, dict) or not set(REQUIRED) <= fields.keys():
        raise ValueError(
            f"{path} must be an object with {', '.join(REQUIRED)}, and may have title, metric and settings"
        )
    unknown = sorted(fields.keys() - {*REQUIRED, "title", "metric", *NUMBERS})
    if unknown:
        raise ValueError(f"{path}: unknown field {unknown[0]!r}; known are title, metric, {', '.join(NUMBERS)}")
    name, kind = fields["name"], fields["kind"]
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name) or name in TASKS:
        raise ValueError(f"{path}: name must be letters, digits, - and _, and not a built-in task, but is {name!r}")
    if kind not in KINDS:
        raise ValueError(f"{path}: kind must be one of {', '.join(KINDS)}, but is {kind!r}")
    metric = fields.get("metric", METRICS[kind][0])
    if metric not in METRICS[kind]:
        raise ValueError(f"{path}: metric must be one of {', '.join(METRICS[kind])}, but is {metric!r}")
    if not isinstance(fields["folder"], str) or not fields["folder"]:
        raise ValueError(f"{path}: folder must be a path below --data, but is {fields['folder']!r}")
    changes = {field: fields[field] for field in NUMBERS if field in fields}
    for field, value in changes.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**31:
            raise ValueError(f"{path}: {field} must be a number from 0 up, but is {value!r}")
        if field != "lr":
            if value != int(value):
                raise ValueError(f"{path}: {field} must be a whole number, but is {value!r}")
            changes[field] = int(value)
    base = {RETRIEVAL: Settings(), CLASSIFICATION: SENTENCES}.get(kind, WORDS)
    return Task(
        name, str(fields.get("title", name)), kind, metric, "own", base._replace(**changes),
        f"{fields['folder']}: as of the built-in tasks of this kind", "own", "own", "own", folder=fields["folder"],
    )  # fmt: skip


def find_tasks(names: list[str]) -> list[Task]:
    """Return the tasks of ``--tasks``: built-in ones by name, user-defined ones by file.

    Raises:
        ValueError: a name is unknown.
    """
    unknown = [name for name in names if name not in TASKS and not name.endswith(".json")]
    if unknown or not names:
        raise ValueError(
            f"--tasks must be one or more of {','.join(TASKS)}, or a task's .json file, but is "
            f"{','.join(unknown) or 'empty'}"
        )
    return [TASKS[name] if name in TASKS else read_task(name) for name in dict.fromkeys(names)]
