"""``langsamp evaluate``: checks every task before running the first, and caches everything slow."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.evaluation.cache import Cache, hash_model, hash_of
from langsamp_plugin.evaluation.cost import READING, Cost, measured_speed, model_size, plan_cost
from langsamp_plugin.evaluation.device import AUTO, BATCH_TOKENS, Compute, check_precision
from langsamp_plugin.evaluation.encoding import load_tokenizer
from langsamp_plugin.evaluation.local_models import find_model
from langsamp_plugin.evaluation.own_task import find_tasks
from langsamp_plugin.evaluation.plan import TaskPlan, make_plan
from langsamp_plugin.evaluation.results import Result, load_result, model_name, result_path
from langsamp_plugin.evaluation.tasks import FIXED, PUBLISHED, RETRIEVAL

TOKENIZER_FILES = ("sentencepiece.bpe.model", "dict.txt", "tokenizer_ids.json", "tokenizer/tokenizer.json")
"""Files of a data folder, or next to a checkpoint, that an export depends on in addition to the checkpoint."""


class Evaluation(NamedTuple):
    """A checked evaluation request.

    Args:
        plans: the tasks that can be run.
        left_out: tasks that cannot be run, and why.
        folder: the model's folder.
        model_hash: hash of its files.
        name: name of the model in results.
        revision: commit of a cached model.
        cache: cache within the folder of results.
        compute: device, precision and batch size.
    """

    plans: list[TaskPlan]
    left_out: dict[str, str]
    folder: Path
    model_hash: str
    name: str
    revision: str
    cache: Cache
    compute: Compute


def evaluate(
    model: PathLike,
    data: PathLike,
    out: PathLike,
    tasks: Sequence[str],
    *,
    name: Optional[str] = None,
    layers: Sequence[int] = (),
    keep_models: bool = False,
    log_samples: bool = False,
    left_out: Optional[dict[str, str]] = None,
    prune: bool = False,
    **options: Any,
) -> list[Result]:
    """Score a model on tasks and write one JSON file per task.

    Args:
        model: a Hugging Face folder of any encoder, a fairseq checkpoint, or the name of a model in the local cache.
        data: the folder with one folder per task, or the folder of a single task.
        out: folder for results; features and scores are cached in its ``.cache``.
        tasks: names of :data:`~langsamp_plugin.evaluation.tasks.TASKS`, or JSON files of user-defined tasks.
        name: the model's name in results; by default its folder's.
        layers: for retrieval: additional blocks to score in the same pass.
        keep_models: keep fine-tuned weights in the cache.
        log_samples: write predictions per sentence to ``<out>/<model>/samples``.
        left_out: receives the tasks that cannot be run, and why.
        prune: remove languages of earlier runs that are no longer in the data.
        **options: options of :func:`prepare`.

    Returns:
        The results in the order of ``tasks``.

    Raises:
        FileNotFoundError: data, a language or the source language is missing in all tasks; nothing has run yet.
        ValueError: a task is unknown or a file malformed, or results of another model of this name exist.
    """
    everything = _are_all_languages(**options)
    if prune and not everything:
        raise ValueError("--prune needs all languages of the data: leave out --langs, --languages and --protocol")
    prepared = prepare(model, data, out, tasks, name=name, **options)
    if left_out is not None:
        left_out.update(prepared.left_out)
    results = []
    shared = {
        "folder": prepared.folder, "model_hash": prepared.model_hash, "revision": prepared.revision,
        "name": prepared.name, "cache": prepared.cache, "compute": prepared.compute,
    }  # fmt: skip
    for plan in prepared.plans:
        if plan.task.kind == RETRIEVAL:
            from langsamp_plugin.evaluation.retrieval_run import run_retrieval

            result = run_retrieval(plan, layers=layers, **shared)  # type: ignore[arg-type]
        else:
            from langsamp_plugin.evaluation.finetuning_run import run_finetuning

            samples = Path(out) / prepared.name / "samples" if log_samples else None
            result = run_finetuning(plan, keep_models=keep_models, samples=samples, **shared)  # type: ignore[arg-type]
        there = {*map(str, plan.tags), *plan.not_scored} if everything else None
        results.append(load_result(result.save(out, there, prune)))
    return results


def _are_all_languages(*, langs: Iterable[str] = (), languages: str = "", protocol: str = FIXED, **others: Any) -> bool:
    """Return whether the options request every language of the data."""
    return not list(langs) and languages in ("", "all") and protocol != PUBLISHED


def prepare(
    model: PathLike,
    data: PathLike,
    out: PathLike,
    tasks: Sequence[str],
    *,
    name: Optional[str] = None,
    revision: Optional[str] = None,
    source: str = "eng_Latn",
    langs: Iterable[str] = (),
    languages: str = "",
    protocol: str = FIXED,
    limit: int = 0,
    spm: Optional[PathLike] = None,
    device: str = "",
    precision: str = AUTO,
    batch_tokens: int = BATCH_TOKENS,
    **changes: Any,
) -> Evaluation:
    """Check everything that an evaluation needs.

    Args:
        model, data, out, tasks, name: as for :func:`evaluate`.
        revision: revision of a model in the local Hugging Face cache.
        source: the language to fine-tune on.
        langs: the tags to score; empty means all.
        languages: ``all``, ``paper`` or a file with one tag per line; by default the paper's for ``published``, else
            all.
        protocol: ``fixed`` or ``published``.
        limit: maximum number of sentences per file, evenly spaced; 0 means all.
        spm: SentencePiece model of a checkpoint.
        device, precision, batch_tokens: see :class:`~langsamp_plugin.evaluation.device.Compute`.
        **changes: fields of :class:`~langsamp_plugin.evaluation.tasks.Settings` that override the protocol's.
    """
    chosen = find_tasks(list(tasks))
    compute = Compute(device, check_precision(precision), batch_tokens)
    compute.where()
    languages = languages or ("paper" if protocol == PUBLISHED else "all")
    if not Path(data).is_dir():
        raise FileNotFoundError(f"data folder {data} is missing; `langsamp evaluate --list` says where to get the data")
    found = find_model(model, revision)
    name = model_name(name or found.name)
    cache = Cache(Path(out) / ".cache")
    plans, left_out = [], {}
    first: Optional[Exception] = None
    for task in chosen:
        wanted = {field: value for field, value in changes.items() if value is not None}
        try:
            settings = task.protocol(protocol)._replace(**wanted)
            plan = make_plan(
                task, data, unpacked=cache.folder / "data", settings=settings, source=source, langs=langs,
                languages=languages, limit=limit,
            )  # fmt: skip
            plans.append(plan)
        except (FileNotFoundError, ValueError) as error:
            first = first or error
            left_out[task.name] = str(error)
    if not plans:
        assert first is not None
        raise first
    folder = model_folder(found.path, cache, spm)
    model_hash = hash_model(folder)
    for plan in plans:
        path = result_path(out, name, plan.task.name)
        if path.is_file() and load_result(path).provenance.get("model_hash") != model_hash:
            raise ValueError(
                f"{path} belongs to another model with the name {name}: choose another --name, or remove it"
            )
    return Evaluation(plans, left_out, folder, model_hash, name, found.revision, cache, compute)


def reckon(prepared: Evaluation, layers: Sequence[int] = (), keep_models: bool = False) -> list[Cost]:
    """Return the cost of each task on this machine."""
    size = model_size(prepared.folder)
    start = time.perf_counter()
    tokenizer = load_tokenizer(prepared.folder)
    loading = time.perf_counter() - start + 4 * size.parameters / READING
    speed = measured_speed(prepared.folder, size, prepared.compute)
    return [
        plan_cost(
            plan, size=size, speed=speed, tokenizer=tokenizer, layers=layers, keep_models=keep_models, loading=loading
        )
        for plan in prepared.plans
    ]


def model_folder(model: Path, cache: Cache, spm: Optional[PathLike] = None) -> Path:
    """Return the Hugging Face folder of a model; a checkpoint is exported once, into the cache.

    Args:
        model: a folder or a checkpoint.
        cache: where a checkpoint is exported to.
        spm: the SentencePiece model of a checkpoint; the export depends on its content.
    """
    if model.is_dir():
        return model
    from langsamp_plugin.checkpoint.loading import load_checkpoint
    from langsamp_plugin.checkpoint.options import training_data_folder
    from langsamp_plugin.convert.export import export

    if not model.is_file():
        raise FileNotFoundError(f"model {model} is missing: name a Hugging Face folder or a fairseq checkpoint")
    stat = model.stat()
    # The files that map text to rows are read from these places; with other contents it is another model.
    folders = [model.parent, *filter(None, [training_data_folder(load_checkpoint(model))])]
    files = [folder / name for folder in folders for name in TOKENIZER_FILES] + ([Path(spm)] if spm else [])
    contents = {str(file): hashlib.blake2b(file.read_bytes()).hexdigest() for file in files if file.is_file()}
    target = cache.folder / "exported" / hash_of(str(model.resolve()), stat.st_size, stat.st_mtime_ns, contents)
    if not target.is_dir():
        export(model, target, spm=spm)
    return target
