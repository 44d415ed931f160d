"""Chooses source languages: for each target, the candidate whose embedding is nearest."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch

from langsamp_plugin.analysis.embeddings import main_script, trained_tags
from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.checkpoint.tables import TagTables
from langsamp_plugin.convert.tables_file import load_tables
from langsamp_plugin.evaluation.cache import Cache
from langsamp_plugin.evaluation.reading.archives import task_folder
from langsamp_plugin.evaluation.reading.labelled import Files, find_labelled
from langsamp_plugin.evaluation.reading.names import ENGLISH, select_tags
from langsamp_plugin.evaluation.results import Result
from langsamp_plugin.evaluation.run import evaluate
from langsamp_plugin.evaluation.tasks import RETRIEVAL, TASKS
from langsamp_plugin.lang_script import LangScript


class SourceChoice(NamedTuple):
    """The source language of a target.

    Args:
        target, source: their tags.
        cosine: cosine of their embeddings.
        english: cosine of the target and English, for comparison; ``None`` if the table lacks English.
    """

    target: LangScript
    source: LangScript
    cosine: float
    english: Optional[float]


class SourceComparison(NamedTuple):
    """Result of :func:`analyze_sources`.

    Args:
        choices: one source per target.
        unknown: targets that the model was not trained on, or that have no candidate.
        results: results of English and of the nearest source; empty without ``run``.
        notes: notes for readers.
    """

    choices: list[SourceChoice]
    unknown: list[LangScript]
    results: list[Result]
    notes: list[str]


def choose_sources(
    tables: TagTables,
    targets: Sequence[LangScript],
    candidates: Sequence[LangScript],
    with_script: bool = False,
    trained: Optional[Iterable[LangScript]] = None,
) -> tuple[list[SourceChoice], list[LangScript]]:
    """Choose the nearest candidate of each target by cosine; a target is never its own source.

    Candidates can be equally near, such as the scripts of one language. The target's script then takes precedence,
    followed by the language's usual script.

    Args:
        tables: tables of a trained model.
        targets: languages to choose sources for.
        candidates: possible source languages.
        with_script: compare ``E_lang + E_script`` instead of ``E_lang`` alone.
        trained: the tags that the model was trained on; rows of other languages are untrained and are ignored. ``None``
            uses every row.

    Returns:
        The choices, and the targets without one.

    Raises:
        ValueError: the model has no language table, or it was trained on none of the candidates.
    """
    if not len(tables.languages):
        raise ValueError("the model has no language table: it was trained with --embed-tags script or none")
    languages = None if trained is None else {tag.language for tag in trained}
    scripts = None if trained is None else {tag.script for tag in trained}

    def vector(tag: LangScript) -> Optional[torch.Tensor]:
        if tag.language not in tables.languages or (languages is not None and tag.language not in languages):
            return None
        row = tables.lang_weight[tables.languages.id(tag.language)]
        if not with_script or not len(tables.scripts):
            return row
        if tag.script not in tables.scripts or (scripts is not None and tag.script not in scripts):
            return None
        return row + tables.script_weight[tables.scripts.id(tag.script)]

    known = {tag: found for tag in candidates if (found := vector(tag)) is not None}
    if not known:
        raise ValueError(
            f"none of the {len(candidates)} candidates is among the {len(tables.languages)} languages of the model"
            + ("" if languages is None else f" or the {len(languages)} that it was trained on")
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
        source = max(cosines, key=lambda tag: (cosines[tag], *_script_rank(tag, target, cosines)))
        choices.append(
            SourceChoice(target, source, cosines[source], None if english is None else _cosine(own, english))
        )
    return choices, unknown


def _script_rank(tag: LangScript, target: LangScript, cosines: Iterable[LangScript]) -> tuple[bool, bool]:
    """Rank a candidate's script: the target's script first, then the usual one of its language."""
    written = sorted(other.script for other in cosines if other.language == tag.language)
    return tag.script == target.script, tag.script == main_script(tag.language, written)


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=0))


def analyze_sources(
    model: PathLike,
    task: str,
    data: PathLike,
    out: PathLike,
    *,
    candidates: Iterable[str] = (),
    langs: Iterable[str] = (),
    with_script: bool = False,
    run: bool = False,
    **options: Any,
) -> SourceComparison:
    """Write ``sources.tsv`` and, with ``run``, results of both sources for ``langsamp report``.

    Args:
        model: a checkpoint or an exported folder, with tables.
        task: a fine-tuned task.
        data: as for ``langsamp evaluate``.
        out: the folder to write; results of the individual sources are in its ``.cache``.
        candidates: source languages to choose from; empty means all with training and dev data, including English.
        langs: the targets; empty means all with test data. English, the source of the baseline, is excluded.
        with_script: see :func:`choose_sources`.
        run: fine-tune on English and on each distinct source, and score every target with both.
        **options: as for :func:`~langsamp_plugin.evaluation.run.evaluate`.

    Raises:
        FileNotFoundError: a candidate has no training data.
        ValueError: the task is not fine-tuned, or the model has no language table.
    """
    if task not in TASKS or TASKS[task].kind == RETRIEVAL:
        tunable = [name for name in TASKS if TASKS[name].kind != RETRIEVAL]
        raise ValueError(f"--task must be one of {','.join(tunable)}, but is {task}")
    out = Path(out)
    folder = task_folder(TASKS[task], data, Cache(out / ".cache").folder / "data")
    files, _ = find_labelled(folder, TASKS[task].wikipedia)
    able = [tag for tag, splits in files.items() if {"train", "dev"} <= splits.keys()]
    sources, lacking = select_tags(able, candidates, folder)
    if lacking:
        raise FileNotFoundError(f"{folder} has no training data of {' '.join(lacking)}")
    targets, notes = _targets(files, langs, folder, run)
    trained = [LangScript.parse(name) for name in trained_tags(model)]
    choices, unknown = choose_sources(load_tables(model), targets, sources, with_script, trained)
    _write_choices(out / "sources.tsv", choices)
    if choices:
        share = 100 * sum(choice.source == ENGLISH for choice in choices) / len(choices)
        notes.append(f"the nearest source of {share:.0f} % of the targets is English itself")
    if not run or not choices:
        return SourceComparison(choices, unknown, [], notes)
    if ENGLISH not in able:
        raise FileNotFoundError(f"{folder / str(ENGLISH)} has no training data to compare with")
    results = _run_both_ways(model, task, data, out, choices, options)
    return SourceComparison(
        choices, unknown, [result._replace(notes=[*result.notes, *notes]) for result in results], notes
    )


def _targets(files: Files, langs: Iterable[str], folder: Path, run: bool) -> tuple[list[LangScript], list[str]]:
    """Return the targets; with ``run``, English is excluded, because its baseline would be supervised."""
    targets, missing = select_tags([tag for tag, splits in files.items() if "test" in splits], langs, folder)
    notes = [f"{tag} has no test data" for tag in missing]
    if run and ENGLISH in targets:
        targets.remove(ENGLISH)
        notes.append("eng_Latn is not a target: a model fine-tuned on English would be supervised, not zero-shot")
    return targets, notes


def _write_choices(path: Path, choices: Sequence[SourceChoice]) -> None:
    with atomic_write(path) as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(SourceChoice._fields)
        for choice in choices:
            against = "" if choice.english is None else f"{choice.english:.4f}"
            writer.writerow([choice.target, choice.source, f"{choice.cosine:.4f}", against])


def _run_both_ways(
    model: PathLike, task: str, data: PathLike, out: Path, choices: Sequence[SourceChoice], options: dict[str, Any]
) -> list[Result]:
    """Fine-tune on every distinct source, and write the results of English and of the nearest source."""
    parts: dict[LangScript, Result] = {}
    for source in dict.fromkeys([ENGLISH, *(choice.source for choice in choices)]):
        tags = [str(choice.target) for choice in choices if source in (ENGLISH, choice.source)]
        # Partial results stay in the cache, where no report looks for them.
        (parts[source],) = evaluate(
            model,
            data,
            out / ".cache" / "parts",
            [task],
            name=f"from_{source}",
            source=str(source),
            langs=tags,
            **options,
        )
    english = parts[ENGLISH]
    chosen = {str(choice.target): parts[choice.source] for choice in choices}
    nearest = english._replace(
        model="nearest",
        source="the nearest language",
        scores={tag: result.scores[tag] for tag, result in chosen.items() if tag in result.scores},
        notes=list(dict.fromkeys(note for result in parts.values() for note in result.notes)),
        curves={},
    )
    english = english._replace(
        model="english", scores={tag: english.scores[tag] for tag in chosen if tag in english.scores}
    )
    for result in (english, nearest):
        result.save(out)
    return [english, nearest]
