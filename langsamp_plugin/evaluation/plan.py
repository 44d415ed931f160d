"""Plans a task: reads its data before anything slow begins, and lists what cannot be scored and why."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.evaluation.paper_languages import paper_tag, wanted_languages
from langsamp_plugin.evaluation.reading.aligned import PairData, Pairs, read_flores, read_tatoeba, read_verses
from langsamp_plugin.evaluation.reading.archives import task_folder
from langsamp_plugin.evaluation.reading.belebele import read_belebele
from langsamp_plugin.evaluation.reading.classified import read_classified
from langsamp_plugin.evaluation.reading.labelled import Files, Labelled, find_labelled, labels_of
from langsamp_plugin.evaluation.reading.names import select_tags, task_tag
from langsamp_plugin.evaluation.reading.tagged import BIO, UPOS, read_tagged
from langsamp_plugin.evaluation.tasks import CLASSIFICATION, RETRIEVAL, TAGGING, Settings, Task
from langsamp_plugin.lang_script import LangScript

READERS = {CLASSIFICATION: read_classified, TAGGING: read_tagged}
SHOWN = 5


class TaskPlan(NamedTuple):
    """A task with its data.

    Args:
        task: the task.
        folder: folder of its data.
        settings: settings of the run.
        tags: the languages to score.
        not_scored: languages that cannot be scored, and why.
        notes: notes for readers of the scores.
        limit: maximum number of sentences per file; 0 means all.
        pairs: data of a retrieval task.
        train, dev: data of the source language, for fine-tuning.
        tests: test data, for fine-tuning.
        source: the language to fine-tune on.
    """

    task: Task
    folder: Path
    settings: Settings
    tags: list[LangScript]
    not_scored: dict[str, str]
    notes: list[str]
    limit: int
    pairs: dict[LangScript, Pairs]
    train: Labelled
    dev: Labelled
    tests: dict[LangScript, Labelled]
    source: LangScript


def read_pairs(task: Task, folder: Path) -> PairData:
    """Read the parallel sentences of a retrieval task, in any supported layout.

    Raises:
        FileNotFoundError: the folder has none.
    """
    if task.name == "sr_tatoeba" or any(folder.glob("tatoeba.*")):
        return read_tatoeba(folder)
    if any(folder.glob("*.jsonl")):
        return read_belebele(folder)
    if any(folder.glob("*.devtest")) or any(folder.glob("*.dev")) or (folder / "devtest").is_dir():
        return read_flores(folder)
    return read_verses(folder)


def make_plan(
    task: Task,
    data: PathLike,
    *,
    unpacked: Path,
    settings: Settings,
    source: str,
    langs: Iterable[str],
    languages: str,
    limit: int,
) -> TaskPlan:
    """Read and check the data of a task.

    Args:
        task: the task.
        data: the folder with one folder per task.
        unpacked: folder to unpack archives into.
        settings: settings of the run.
        source: the language to fine-tune on.
        langs: the tags to score; empty means all.
        languages: ``all``, ``paper`` or a file with one tag per line.
        limit: maximum number of sentences per file; 0 means all.

    Raises:
        FileNotFoundError: data, all languages or the source language are missing.
        ValueError: no language can be scored.
    """
    folder = task_folder(task, data, unpacked)
    read = _plan_retrieval if task.kind == RETRIEVAL else _plan_finetuning
    return read(task, folder, settings, task_tag(source), list(langs), languages, limit)


def _choose(
    there: Iterable[LangScript], not_scored: dict[str, str], langs: list[str], languages: str, task: Task, folder: Path
) -> tuple[list[LangScript], dict[str, str]]:
    """Return the languages to score, and those that were requested but are missing or left out."""
    there = list(there)
    listed = wanted_languages(languages, task.name)
    if listed is not None:
        there = [
            tag
            for tag in there
            if str(tag) in listed or (languages == "paper" and paper_tag(task.name, str(tag)) is not None)
        ]
    asked = [str(task_tag(lang)) for lang in langs]
    reasons = "; ".join(f"{tag}: {why}" for tag, why in not_scored.items() if not asked or tag in asked)
    if not there or (asked and not {str(tag) for tag in there} & set(asked)):
        if reasons and (not asked or set(asked) & not_scored.keys()):
            raise ValueError(f"no language of {folder} can be scored: {reasons[:600]}")
        if not there:
            raise FileNotFoundError(f"{folder} has none of the languages of --languages {languages}")
    chosen, missing = select_tags(there, langs, folder)
    absent = {tag: not_scored.get(tag, "it is not in the data") for tag in missing}
    if listed is not None and languages != "paper":
        absent.update({tag: "it is not in the data" for tag in sorted(listed - {str(tag) for tag in there})})
    return chosen, absent if langs else {**not_scored, **absent}


def _plan_retrieval(
    task: Task, folder: Path, settings: Settings, source: LangScript, langs: list[str], languages: str, limit: int
) -> TaskPlan:
    found = read_pairs(task, folder)
    pairs = {}
    not_scored = dict(found.left_out)
    for tag, part in found.pairs.items():
        # Sentences that lack text on either side cannot be retrieved.
        rows = [row for row in range(len(part.other)) if part.english[row] and part.other[row]]
        part = Pairs([part.english[row] for row in rows], [part.other[row] for row in rows])
        if len(rows) < settings.min_pairs:
            not_scored[str(tag)] = f"only {len(rows)} pairs, --min-pairs is {settings.min_pairs}"
        else:
            pairs[tag] = part.evenly(settings.most_pairs).evenly(limit)
    if not found.pairs and not_scored:
        raise ValueError(f"no language of {folder} can be scored: {_some(not_scored)}")
    tags, not_scored = _choose(sorted(pairs), not_scored, langs, languages, task, folder)
    empty = Labelled([], [])
    return TaskPlan(
        task=task, folder=folder, settings=settings, tags=tags, not_scored=not_scored, notes=found.notes, limit=limit,
        pairs=pairs, train=empty, dev=empty, tests={}, source=source,
    )  # fmt: skip


def _plan_finetuning(
    task: Task, folder: Path, settings: Settings, source: LangScript, langs: list[str], languages: str, limit: int
) -> TaskPlan:
    files, not_scored = find_labelled(folder, task.wikipedia)
    train, dev = _source_data(task, folder, files, source, limit)
    tests: dict[LangScript, Labelled] = {}
    chosen, missing = _choose(sorted(files), not_scored, langs, languages, task, folder)
    not_scored = missing
    for tag in chosen:
        test, why = _read_test(task, files[tag])
        if test is None:
            not_scored[str(tag)] = why
        else:
            tests[tag] = test.evenly(limit)
    if not tests:
        raise ValueError(f"no language of {folder} can be scored: {_some(not_scored)}")
    notes = _label_notes(task, labels_of(train), source)
    return TaskPlan(
        task=task, folder=folder, settings=settings, tags=list(tests), not_scored=not_scored, notes=notes, limit=limit,
        pairs={}, train=train, dev=dev, tests=tests, source=source,
    )  # fmt: skip


def _source_data(task: Task, folder: Path, files: Files, source: LangScript, limit: int) -> tuple[Labelled, Labelled]:
    """Return training and dev data of the source language."""
    absent = [split for split in ("train", "dev") if split not in files.get(source, {})]
    if absent:
        able = [str(tag) for tag, splits in files.items() if {"train", "dev"} <= splits.keys()]
        raise FileNotFoundError(
            f"{folder / str(source)} has no {absent[0]} file to fine-tune on; --source could be "
            f"{' '.join(able) or 'none'}"
        )
    read = READERS[task.kind]
    train, dev = (read(files[source][split]) for split in ("train", "dev"))
    for split, data in (("train", train), ("dev", dev)):
        if not data.texts:
            raise ValueError(
                f"{files[source][split]} has no sentence with a label: add some, or choose another --source"
            )
    labels = labels_of(train)
    if len(labels) == 1:
        raise ValueError(
            f"{files[source]['train']} must have at least two labels, but has only {labels.pop()!r}: add sentences "
            "with other labels"
        )
    return train.evenly(limit), dev.evenly(limit)


def _read_test(task: Task, splits: dict[str, Path]) -> tuple[Optional[Labelled], str]:
    if "test" not in splits:
        return None, "it has no test file"
    try:
        test = READERS[task.kind](splits["test"])
    except ValueError as error:
        return None, str(error)
    return (test, "") if test.texts else (None, f"{splits['test']} has no sentence with a label")


def _label_notes(task: Task, labels: set[str], source: LangScript) -> list[str]:
    """Return a note if the labels of a tagging task are neither BIO nor UPOS."""
    if task.kind != TAGGING:
        return []
    plain = {label for label in labels if not BIO.fullmatch(label)}
    odd = sorted(plain - UPOS)
    return [f"labels of {source} are neither BIO nor UPOS: {', '.join(odd[:SHOWN])}"] if odd else []


def _some(reasons: dict[str, str]) -> str:
    return "; ".join(f"{tag}: {why}" for tag, why in list(reasons.items())[:SHOWN])
