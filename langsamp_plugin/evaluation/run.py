"""``langsamp evaluate``: every task checked before the first is run, everything slow kept under a hash."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from langsamp_plugin.atomic import PathLike, atomic_folder
from langsamp_plugin.evaluation.cache import Cache, hash_model, hash_of, hash_texts
from langsamp_plugin.evaluation.encoding import (
    depth,
    keep_blocks,
    load_encoder,
    load_model,
    load_tokenizer,
    longest_input,
    mean_pooled,
)
from langsamp_plugin.evaluation.results import Result, load_result, model_name, provenance, result_path
from langsamp_plugin.evaluation.retrieval import retrieval_scores
from langsamp_plugin.evaluation.task_data import (
    ENGLISH,
    Labelled,
    Pairs,
    find_labelled,
    read_classified,
    read_tagged,
    read_tatoeba,
    read_verses,
    select_tags,
    task_folder,
)
from langsamp_plugin.evaluation.tasks import CLASSIFICATION, RETRIEVAL, TAGGING, TASKS, Settings, Task
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.progress import progress

PAIR_READERS = {"sr_bible": read_verses, "sr_tatoeba": read_tatoeba}
READERS = {CLASSIFICATION: read_classified, TAGGING: read_tagged}


class TaskPlan(NamedTuple):
    """A task whose data were looked at.

    Args:
        task: which.
        folder: its data.
        settings: how it is run.
        tags: the languages to score.
        pairs: for retrieval.
        files: for fine-tuning: tag -> split -> file.
        not_scored: languages that cannot be, and why.
    """

    task: Task
    folder: Path
    settings: Settings
    tags: list[LangScript]
    pairs: dict[LangScript, Pairs]
    files: dict[LangScript, dict[str, Path]]
    not_scored: dict[str, str]


def evaluate(
    model: PathLike,
    data: PathLike,
    out: PathLike,
    tasks: Sequence[str],
    name: Optional[str] = None,
    source: str = "eng_Latn",
    langs: Iterable[str] = (),
    limit: int = 0,
    layers: Sequence[int] = (),
    spm: Optional[PathLike] = None,
    **changes: Any,
) -> list[Result]:
    """Score a model on tasks and write a JSON for each.

    Args:
        model: a Hugging Face folder of any encoder, or a fairseq checkpoint.
        data: the folder with a folder per task, or of one task alone.
        out: for results, and in ``.cache`` for features and fine-tuned models.
        tasks: names of :data:`~langsamp_plugin.evaluation.tasks.TASKS`.
        name: the model's name in results; by default its folder's.
        source: the language to fine-tune on.
        langs: the tags to score; empty takes all.
        limit: take so many sentences of each file; 0 takes all.
        layers: for retrieval: further blocks to score in the same pass.
        spm: for a checkpoint: its SentencePiece model.
        **changes: fields of :class:`~langsamp_plugin.evaluation.tasks.Settings` that shall differ from the authors'.

    Returns:
        The results in the order of ``tasks``.

    Raises:
        FileNotFoundError: data, a language or the source language is missing; nothing was run yet.
        ValueError: a task is unknown or a file malformed, or there are results of another model of this name.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks:
        raise ValueError(f"--tasks must be of {','.join(TASKS)}, but is {','.join(unknown) or 'empty'}")
    name = model_name(name or Path(model).resolve().name)
    cache = Cache(Path(out) / ".cache")
    plans = [_plan(TASKS[task], data, cache, source, list(langs), limit, changes) for task in tasks]
    folder = model_folder(Path(model), cache, spm)
    model_hash = hash_model(folder)
    for plan in plans:
        path = result_path(out, name, plan.task.name)
        if path.is_file() and load_result(path).provenance.get("model_hash") != model_hash:
            raise ValueError(f"{path} is of another model that was called {name}: choose another --name, or remove it")
    results = []
    for plan in plans:
        if plan.task.kind == RETRIEVAL:
            result = _retrieve(plan, folder, model_hash, name, cache, limit, layers)
        else:
            result = _finetune(plan, folder, model_hash, name, cache, LangScript.from_spelling(source), limit)
        record = provenance(model, model_hash, plan.folder, result.provenance["data_hash"])
        result = result._replace(provenance=record)
        result.save(out)
        results.append(result)
    return results


def _plan(
    task: Task, data: PathLike, cache: Cache, source: str, langs: list[str], limit: int, changes: dict[str, Any]
) -> TaskPlan:
    settings = task.settings._replace(**{name: value for name, value in changes.items() if value is not None})
    folder = task_folder(task, data, cache.folder / "data")
    if task.kind == RETRIEVAL:
        pairs, not_scored = PAIR_READERS[task.name](folder)
        if limit:
            pairs = {tag: Pairs(part.english[:limit], part.other[:limit]) for tag, part in pairs.items()}
        for tag in list(pairs):
            if len(pairs[tag].other) < settings.min_pairs:
                not_scored[str(tag)] = f"only {len(pairs[tag].other)} pairs, --min-pairs is {settings.min_pairs}"
        there = select_tags(pairs, langs, folder)
        tags = [tag for tag in there if str(tag) not in not_scored]
        if not tags:
            raise ValueError(f"no language of {folder} has {settings.min_pairs} sentences with an English translation")
        return TaskPlan(
            task,
            folder,
            settings,
            tags,
            pairs,
            {},
            {tag: why for tag, why in not_scored.items() if not langs or tag in map(str, there)},
        )
    files = find_labelled(folder)
    start = LangScript.from_spelling(source)
    missing = [split for split in ("train", "dev") if split not in files.get(start, {})]
    if missing:
        able = [str(tag) for tag, splits in files.items() if {"train", "dev"} <= splits.keys()]
        raise FileNotFoundError(
            f"{folder / str(start)} has no {missing[0]} file to fine-tune on; with --source it could be {' '.join(able) or 'none'}"
        )
    not_scored = {}
    tags = []
    for tag in select_tags(files, langs, folder):
        if "test" not in files[tag]:
            not_scored[str(tag)] = "it has no test file"
        elif not READERS[task.kind](files[tag]["test"]).texts:  # also finds a malformed line before hours of training
            not_scored[str(tag)] = "its test file is empty"
        else:
            tags.append(tag)
    if not tags:
        raise ValueError(f"no language of {folder} has a test file with text in it")
    return TaskPlan(task, folder, settings, tags, {}, files, not_scored)


def model_folder(model: Path, cache: Cache, spm: Optional[PathLike] = None) -> Path:
    """Return the Hugging Face folder of a model; a checkpoint is exported once, into the cache."""
    if model.is_dir():
        return model
    from langsamp_plugin.convert.export import export

    if not model.is_file():
        raise FileNotFoundError(f"model {model} is missing: name a Hugging Face folder or a fairseq checkpoint")
    stat = model.stat()
    target = cache.folder / "exported" / hash_of(str(model.resolve()), stat.st_size, stat.st_mtime_ns, str(spm))
    if not target.is_dir():
        export(model, target, spm=spm)
    return target


def _retrieve(
    plan: TaskPlan, folder: Path, model_hash: str, name: str, cache: Cache, limit: int, layers: Sequence[int]
) -> Result:
    model, tokenizer = load_encoder(folder)
    main = plan.settings.layer if plan.settings.layer is not None else round(depth(model) * 8 / 12)
    wanted = sorted({main, *layers})
    if not 0 <= wanted[0] <= wanted[-1] <= depth(model):
        raise ValueError(f"--layer must lie between 0 and {depth(model)}, but is {','.join(map(str, wanted))}")
    keep_blocks(model, wanted[-1])
    max_length = longest_input(model, tokenizer, plan.settings.max_length)
    # English is read once for all languages, whose lists of sentences overlap.
    english = sorted({text for tag in plan.tags for text in plan.pairs[tag].english})
    row = {text: number for number, text in enumerate(english)}
    total = len(english) + sum(len(plan.pairs[tag].other) for tag in plan.tags)
    cut: dict[str, int] = {}

    with progress(total=total, desc=plan.task.name, unit="sentence") as bar:

        def vectors(texts: list[str], what: str) -> np.ndarray:
            def compute() -> np.ndarray:
                found, too_long = mean_pooled(texts, model, tokenizer, wanted, max_length, bar.update)
                cache.json("cut", key, lambda: too_long)
                return found

            key = hash_of(model_hash, hash_texts(texts), wanted, max_length)
            done = bar.n
            found = cache.array("features", key, compute)
            bar.update(len(texts) - (bar.n - done))
            too_long = cache.json("cut", key, lambda: 0)
            if too_long:
                cut[what] = too_long
            return found

        queries = vectors(english, "eng_Latn")
        by_layer: dict[str, dict[str, dict[str, float]]] = {str(layer): {} for layer in wanted}
        for tag in plan.tags:
            pairs = plan.pairs[tag]
            index = vectors(pairs.other, str(tag))
            rows = [row[text] for text in pairs.english]
            for place, layer in enumerate(wanted):
                by_layer[str(layer)][str(tag)] = retrieval_scores(queries[place][rows], index[place])
    scores = {tag: {metric: [value] for metric, value in found.items()} for tag, found in by_layer[str(main)].items()}
    settings = {**_shown(plan.settings, ("max_length", "min_pairs")), "layer": main, "pooling": "mean", "limit": limit}
    data_hash = hash_of({str(tag): hash_texts(*plan.pairs[tag]) for tag in plan.tags})
    return Result(
        plan.task.name, name, plan.task.metric, str(ENGLISH), [], settings, scores,
        {str(tag): len(plan.pairs[tag].other) for tag in plan.tags}, plan.not_scored,
        [f"{count} sentences of {tag} are longer than {max_length} tokens and were cut" for tag, count in cut.items()],
        by_layer if len(wanted) > 1 else {}, {}, {"data_hash": data_hash},
    )  # fmt: skip


def _finetune(
    plan: TaskPlan, folder: Path, model_hash: str, name: str, cache: Cache, source: LangScript, limit: int
) -> Result:
    from langsamp_plugin.evaluation.finetuning import encode, score_split

    kind, settings = plan.task.kind, plan.settings

    def read(path: Path) -> Labelled:
        data = READERS[kind](path)
        if path == plan.files[source]["train"] and len(_labels(data, kind)) == 1:
            raise ValueError(f"{path} has one label only, {_labels(data, kind).pop()!r}: there is nothing to learn")
        return data.thinned(limit)

    train, dev = (read(plan.files[source][split]) for split in ("train", "dev"))
    if not train.texts or not dev.texts:
        raise ValueError(f"{plan.files[source]['train'].parent} has an empty train or dev file")
    tokenizer = load_tokenizer(folder)
    shown = _shown(settings, ("max_length", "lr", "epochs", "batch_size", "accumulate", "eval_steps"))
    scores: dict[str, dict[str, list[float]]] = {str(tag): {} for tag in plan.tags}
    notes: dict[str, None] = {}
    sizes: dict[str, int] = {}
    curves: dict[str, list[list[float]]] = {}
    tests = {tag: read(plan.files[tag]["test"]) for tag in plan.tags}
    for seed in settings.seeds:
        what = hash_of(model_hash, kind, hash_texts(*train), hash_texts(*dev), shown, seed)
        tuned = _Lazy(lambda: _tuned(folder, tokenizer, plan, train, dev, seed, what, cache))  # noqa: B023
        bar = progress(tests.items(), desc=f"{plan.task.name}, seed {seed}: testing", unit="language")
        for tag, test in bar:

            def compute() -> dict[str, Any]:
                model, labels, _ = tuned.value  # noqa: B023
                limit_tokens = longest_input(model, tokenizer, settings.max_length)
                encoded = encode(test, tokenizer, labels, kind, limit_tokens)  # noqa: B023
                return {
                    "scores": score_split(model, encoded, test, labels, kind, tokenizer.pad_token_id),  # noqa: B023
                    "long": encoded.long,
                    "unknown": encoded.unknown,
                }

            found = cache.json("scores", hash_of(what, hash_texts(*test)), compute)
            for metric, value in found["scores"].items():
                scores[str(tag)].setdefault(metric, []).append(value)
            sizes[str(tag)] = len(test.texts)
            if found["long"]:
                how = "split" if kind == TAGGING else "cut"
                notes[
                    f"{found['long']} of {len(test.texts)} sentences of {tag} are longer than {settings.max_length} tokens and were {how}"
                ] = None
            for label, count in sorted(found["unknown"].items()):
                notes[f"{tag} has label {label} {count} times, which {source} does not train; it counts as wrong"] = (
                    None
                )
        curves[str(seed)] = cache.json("curves", what, lambda: [list(point) for point in tuned.value[2]])  # noqa: B023
    for tag, test in tests.items():
        absent = sorted(_labels(train, kind) - _labels(test, kind))
        if absent:
            notes[f"{tag} has no {', '.join(absent)} in its test set"] = None
    data_hash = hash_of(
        hash_texts(*train), hash_texts(*dev), {str(tag): hash_texts(*test) for tag, test in tests.items()}
    )
    return Result(
        plan.task.name, name, plan.task.metric, str(source), list(settings.seeds), {**shown, "limit": limit}, scores, sizes,
        plan.not_scored, list(notes), {}, curves, {"data_hash": data_hash},
    )  # fmt: skip


class _Lazy:
    """A value that is made when it is first asked for: a model is not loaded where every score is known."""

    def __init__(self, make: Any):
        self._make = make
        self._made: list[Any] = []

    @property
    def value(self) -> Any:
        if not self._made:
            self._made.append(self._make())
        return self._made[0]


def _tuned(
    folder: Path, tokenizer: Any, plan: TaskPlan, train: Labelled, dev: Labelled, seed: int, what: str, cache: Cache
) -> tuple[Any, list[str], list[Any]]:
    """Return a fine-tuned model, its labels and the curve of the dev score; trained once and kept."""
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    from langsamp_plugin.evaluation.encoding import device
    from langsamp_plugin.evaluation.finetuning import finetune

    target = cache.folder / "finetuned" / what
    if target.is_dir():
        cls = AutoModelForTokenClassification if plan.task.kind == TAGGING else AutoModelForSequenceClassification
        model = load_model(cls.from_pretrained, target).float().to(device()).eval()
        labels = [model.config.id2label[number] for number in range(model.config.num_labels)]
        return model, labels, cache.json("curves", what, list)
    description = f"{plan.task.name}, seed {seed}: fine-tuning on {len(train.texts)} sentences"
    tuned = finetune(str(folder), tokenizer, plan.task.kind, train, dev, plan.settings, seed, description)
    tuned.model.config.id2label = dict(enumerate(tuned.labels))
    tuned.model.config.label2id = {label: number for number, label in enumerate(tuned.labels)}
    cache.json("curves", what, lambda: [list(point) for point in tuned.curve])
    with atomic_folder(target, marker="config.json") as beside:
        tuned.model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
    return tuned.model, tuned.labels, tuned.curve


def _labels(data: Labelled, kind: str) -> set[str]:
    return {label for row in data.labels for label in (row if kind == TAGGING else [row])}


def _shown(settings: Settings, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in names}
