"""A better source language than English: for each target the candidate whose embedding is nearest."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.checkpoint.tables import TagTables
from langsamp_plugin.convert.tables_file import load_tables
from langsamp_plugin.evaluation.cache import Cache
from langsamp_plugin.evaluation.results import Result
from langsamp_plugin.evaluation.run import evaluate
from langsamp_plugin.evaluation.task_data import ENGLISH, find_labelled, select_tags, task_folder
from langsamp_plugin.evaluation.tasks import RETRIEVAL, TASKS
from langsamp_plugin.lang_script import LangScript


class Choice(NamedTuple):
    """The source language of a target.

    Args:
        target, source: their tags.
        cosine: of their embeddings.
        english: the cosine of English, for comparison; ``None`` if the table lacks it.
    """

    target: LangScript
    source: LangScript
    cosine: float
    english: Optional[float]


def choose_sources(
    tables: TagTables, targets: Sequence[LangScript], candidates: Sequence[LangScript], with_script: bool = False
) -> tuple[list[Choice], list[LangScript]]:
    """Choose for each target the nearest candidate by cosine; a target is not its own source.

    Args:
        tables: of a trained model.
        targets: languages to choose for.
        candidates: languages that can be fine-tuned on; of equally near ones the first is taken.
        with_script: compare ``E_lang + E_script`` and not ``E_lang`` alone.

    Returns:
        The choices, and the targets that the table lacks.

    Raises:
        ValueError: the model has no language table, or no candidate is in it.
    """
    if not len(tables.languages):
        raise ValueError("the model has no language table: it was trained with --embed-tags script or none")

    def vector(tag: LangScript) -> Optional[torch.Tensor]:
        if tag.language not in tables.languages or (
            with_script and len(tables.scripts) and tag.script not in tables.scripts
        ):
            return None
        row = tables.lang_weight[tables.languages.id(tag.language)]
        return row + tables.script_weight[tables.scripts.id(tag.script)] if with_script and len(tables.scripts) else row

    known = {tag: found for tag in candidates if (found := vector(tag)) is not None}
    if not known:
        raise ValueError(
            f"none of the {len(candidates)} candidates is among the {len(tables.languages)} languages of the model"
        )
    english = vector(ENGLISH)
    choices, unknown = [], []
    for target in targets:
        own = vector(target)
        others = {tag: found for tag, found in known.items() if tag.language != target.language}
        if own is None or not others:
            unknown.append(target)
            continue
        cosines = {tag: _cosine(own, found) for tag, found in others.items()}
        source = max(cosines, key=lambda tag: cosines[tag])
        choices.append(Choice(target, source, cosines[source], None if english is None else _cosine(own, english)))
    return choices, unknown


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=0))


def analyze_sources(
    model: PathLike, task: str, data: PathLike, out: PathLike, candidates: Iterable[str] = (), langs: Iterable[str] = (),
    with_script: bool = False, run: bool = False, limit: int = 0, **changes: Any,
) -> tuple[list[Choice], list[LangScript], list[Result]]:  # fmt: skip
    """Write ``sources.tsv`` and, with ``run``, results of both ways for ``langsamp report``.

    Args:
        model: a checkpoint or an exported folder, with tables.
        task: one that is fine-tuned.
        data: as for ``langsamp evaluate``.
        out: the folder to write.
        candidates: source languages to choose from; empty takes all that have training and dev data, English too.
        langs: the targets; empty takes all with test data.
        with_script: see :func:`choose_sources`.
        run: fine-tune on English and on each distinct source, and score every target both ways.
        limit, **changes: as for ``langsamp evaluate``.

    Returns:
        The choices, the targets that the table lacks, and the two results (empty without ``run``).

    Raises:
        FileNotFoundError: a candidate has no training data.
        ValueError: the task is not fine-tuned, or the model has no language table.
    """
    if task not in TASKS or TASKS[task].kind == RETRIEVAL:
        tunable = [name for name in TASKS if TASKS[name].kind != RETRIEVAL]
        raise ValueError(f"--task must be of {','.join(tunable)}, but is {task}")
    out = Path(out)
    folder = task_folder(TASKS[task], data, Cache(out / ".cache").folder / "data")
    files = find_labelled(folder)
    able = [tag for tag, splits in files.items() if {"train", "dev"} <= splits.keys()]
    sources = select_tags(able, candidates, folder)
    targets = select_tags([tag for tag, splits in files.items() if "test" in splits], langs, folder)
    choices, unknown = choose_sources(load_tables(model), targets, sources, with_script)
    with atomic_write(out / "sources.tsv") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(Choice._fields)
        for choice in choices:
            against = "" if choice.english is None else f"{choice.english:.4f}"
            writer.writerow([choice.target, choice.source, f"{choice.cosine:.4f}", against])
    if not run or not choices:
        return choices, unknown, []
    if ENGLISH not in able:
        raise FileNotFoundError(f"{folder / str(ENGLISH)} has no training data to compare with")
    parts = {}
    for source in dict.fromkeys([ENGLISH, *(choice.source for choice in choices)]):
        tags = [str(choice.target) for choice in choices if source in (ENGLISH, choice.source)]
        (parts[source],) = evaluate(
            model, data, out, [task], f"from_{source}", str(source), tags, limit, **changes
        )  # fmt: skip
    english = parts[ENGLISH]
    chosen = {str(choice.target): parts[choice.source] for choice in choices}
    nearest = english._replace(
        model="nearest",
        source="the nearest language",
        scores={tag: result.scores[tag] for tag, result in chosen.items() if tag in result.scores},
        notes=list(dict.fromkeys(note for result in parts.values() for note in result.notes)),
        curves={},
    )
    english = english._replace(model="english")
    for result in (english, nearest):
        result.save(out)
    return choices, unknown, [english, nearest]
