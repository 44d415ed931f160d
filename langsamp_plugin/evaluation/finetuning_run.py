"""Runs a fine-tuned task: trains one model per seed and scores every language with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from langsamp_plugin.atomic import PathLike, atomic_folder, atomic_write
from langsamp_plugin.evaluation.cache import Cache, hash_of, hash_texts, software_key
from langsamp_plugin.evaluation.device import Compute
from langsamp_plugin.evaluation.encoding import load_model, load_tokenizer, longest_input
from langsamp_plugin.evaluation.examples import encode
from langsamp_plugin.evaluation.finetuning import FineTunedModel, finetune
from langsamp_plugin.evaluation.plan import TaskPlan
from langsamp_plugin.evaluation.prediction import predict, score_predictions
from langsamp_plugin.evaluation.provenance import environment, origin, summarise
from langsamp_plugin.evaluation.reading.labelled import Labelled, labels_of
from langsamp_plugin.evaluation.results import Result
from langsamp_plugin.evaluation.tasks import TAGGING, Settings
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.progress import progress

SHOWN = ("protocol", "max_length", "lr", "epochs", "batch_size", "accumulate", "eval_steps")


MARKER = "config.json"
"""A folder of weights without it is left over from an interrupted removal."""


class SeedRun:
    """One seed of a fine-tuned task; the model is trained or loaded when it is first needed.

    Args:
        plan: the task with its data.
        seed: seed of the run.
        folder: the model's folder.
        tokenizer: the model's tokenizer.
        key: hash of everything that the fine-tuned model depends on.
        cache: where models, curves and scores are stored.
        compute: device and precision.
        samples: folder for predictions, or ``None``.
    """

    def __init__(
        self, plan: TaskPlan, *, seed: int, folder: Path, tokenizer: Any, key: str, cache: Cache, compute: Compute,
        samples: Optional[Path],
    ):  # fmt: skip
        self.plan, self.seed, self.folder, self.tokenizer = plan, seed, folder, tokenizer
        self.key, self.cache, self.compute, self.samples = key, cache, compute, samples
        self.precision = compute.finetuning_precision(plan.settings.precision)
        self._model: Optional[FineTunedModel] = None

    @property
    def weights(self) -> Path:
        """Where the fine-tuned model is stored while languages are scored."""
        return self.cache.folder / "finetuned" / self.key

    @property
    def model(self) -> FineTunedModel:
        """The fine-tuned model, new or left by an interrupted run."""
        if self._model is None:
            self._model = self._load() if (self.weights / MARKER).is_file() else self._train()
        return self._model

    def score(self, tag: LangScript, test: Labelled) -> dict[str, Any]:
        """Return ``scores``, ``long``, ``unknown`` and ``made`` of a language."""
        name = hash_of(self.key, hash_texts(*test))
        if self.samples is not None and not self._sample_file(tag).is_file():
            value = self._test(tag, test)
            return dict(self.cache.json("scores", name, lambda: value))
        return dict(self.cache.json("scores", name, lambda: self._test(tag, test)))

    def curve(self) -> dict[str, Any]:
        """Return the dev scores of the training and the machine that it ran on."""
        return dict(self.cache.json("curves", self.key, lambda: self._curve_of(self.model)))

    def drop(self) -> None:
        """Remove the fine-tuned weights."""
        self._model = None
        # First, so that the leftovers of a run that is killed here do not look like a model.
        (self.weights / MARKER).unlink(missing_ok=True)
        shutil.rmtree(self.weights, ignore_errors=True)

    def _test(self, tag: LangScript, test: Labelled) -> dict[str, Any]:
        kind, settings = self.plan.task.kind, self.plan.settings
        tuned = self.model
        limit = longest_input(tuned.model, self.tokenizer, settings.max_length)
        encoded = encode(test, self.tokenizer, tuned.labels, kind, limit, settings.recipe)
        predicted = predict(
            tuned.model, encoded, tuned.labels, kind, self.tokenizer.pad_token_id, self.compute, self.precision
        )
        if self.samples is not None:
            write_samples(self._sample_file(tag), test, predicted)
        return {
            "scores": score_predictions(predicted, test, tuned.labels, kind),
            "long": encoded.long,
            "unknown": encoded.unknown,
            "made": environment(tuned.model.device, self.precision),
        }

    def _sample_file(self, tag: LangScript) -> Path:
        assert self.samples is not None
        return self.samples / f"{self.plan.task.name}.{tag}.{self.seed}.{self.key[:8]}.jsonl"

    def _curve_of(self, tuned: FineTunedModel) -> dict[str, Any]:
        return {
            "curve": [list(point) for point in tuned.curve],
            "made": environment(tuned.model.device, self.precision),
        }

    def _train(self) -> FineTunedModel:
        plan = self.plan
        tuned = finetune(
            str(self.folder), self.tokenizer, kind=plan.task.kind, train=plan.train, dev=plan.dev,
            settings=plan.settings,
            seed=self.seed, compute=self.compute,
            description=f"{plan.task.name}, seed {self.seed}: fine-tuning on {len(plan.train.texts)} sentences",
        )  # fmt: skip
        tuned.model.config.id2label = dict(enumerate(tuned.labels))
        tuned.model.config.label2id = {label: number for number, label in enumerate(tuned.labels)}
        self.cache.json("curves", self.key, lambda: self._curve_of(tuned))
        if self.weights.is_dir():
            shutil.rmtree(self.weights)
        with atomic_folder(self.weights, MARKER) as unfinished:
            tuned.model.save_pretrained(unfinished)
            self.tokenizer.save_pretrained(unfinished)
        return tuned

    def _load(self) -> FineTunedModel:
        from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

        tagging = self.plan.task.kind == TAGGING
        cls = AutoModelForTokenClassification if tagging else AutoModelForSequenceClassification
        model = load_model(cls.from_pretrained, self.weights).float().to(self.compute.where()).eval()
        labels = [model.config.id2label[number] for number in range(model.config.num_labels)]
        return FineTunedModel(model, labels, [], 0.0)


def write_samples(path: Path, test: Labelled, predicted: Sequence[Any]) -> None:
    """Write one line per sentence: index, text, label and prediction."""
    with atomic_write(path) as stream:
        for place, (text, label, found) in enumerate(zip(test.texts, test.labels, predicted)):
            row = {"row": place, "text": text, "gold": label, "predicted": found}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def run_finetuning(
    plan: TaskPlan, *, folder: Path, model_hash: str, revision: str, name: str, cache: Cache, compute: Compute,
    keep_models: bool = False, samples: Optional[PathLike] = None,
) -> Result:  # fmt: skip
    """Fine-tune once per seed and score every language; weights are removed after a seed's last language.

    Args:
        plan: the task with its data.
        folder: the model's folder.
        model_hash: hash of its files.
        revision: commit of a cached model.
        name: name of the model in the result.
        cache: where curves and scores are stored.
        compute: device and precision.
        keep_models: keep fine-tuned weights in the cache.
        samples: folder for predictions per sentence.
    """
    settings, kind = plan.settings, plan.task.kind
    tokenizer = load_tokenizer(folder)
    shown = _settings(settings, compute)
    train_hash = hash_of(hash_texts(*plan.train), hash_texts(*plan.dev))
    scores: dict[str, dict[str, list[float]]] = {str(tag): {} for tag in plan.tags}
    notes: dict[str, None] = dict.fromkeys(plan.notes)
    curves: dict[str, list[list[float]]] = {}
    made: list[dict[str, Any]] = []
    for seed in settings.seeds:
        key = hash_of(*software_key(), model_hash, kind, train_hash, shown, seed)
        run = SeedRun(
            plan, seed=seed, folder=folder, tokenizer=tokenizer, key=key, cache=cache, compute=compute,
            samples=None if samples is None else Path(samples),
        )  # fmt: skip
        for tag, test in progress(plan.tests.items(), desc=f"{plan.task.name}, seed {seed}: testing", unit="language"):
            found = run.score(tag, test)
            made.append(found["made"])
            for metric, value in found["scores"].items():
                scores[str(tag)].setdefault(metric, []).append(value)
            notes.update(dict.fromkeys(_test_notes(plan, tag, test, found)))
        trained = run.curve()
        curves[str(seed)] = trained["curve"]
        made.append(trained["made"])
        if not keep_models:
            run.drop()
    notes.update(dict.fromkeys(_absent_labels(plan)))
    data_hashes = {str(tag): hash_texts(*test) for tag, test in plan.tests.items()}
    record = origin(
        folder,
        model_hash=model_hash,
        revision=revision,
        data=plan.folder,
        data_hashes=data_hashes,
        train_hash=train_hash,
    )
    return Result(
        task=plan.task.name, model=name, metric=plan.task.main_metric(settings.protocol), source=str(plan.source),
        seeds=list(settings.seeds), settings={**shown, "limit": plan.limit}, scores=scores,
        sizes={str(tag): len(test.texts) for tag, test in plan.tests.items()}, not_scored=plan.not_scored,
        notes=list(notes), by_layer={}, curves=curves, provenance={**record, **summarise(made)}, title=plan.task.title,
    )  # fmt: skip


def _settings(settings: Settings, compute: Compute) -> dict[str, Any]:
    """Return what a result and its cache keys say of how it was run."""
    shown = {field: getattr(settings, field) for field in SHOWN}
    return {
        **shown, "recipe": settings.recipe._asdict(), "device": compute.where().type,
        "precision": compute.finetuning_precision(settings.precision), "batch_tokens": compute.batch_tokens,
    }  # fmt: skip


def _test_notes(plan: TaskPlan, tag: LangScript, test: Labelled, found: dict[str, Any]) -> list[str]:
    """Return notes about a language's test set."""
    notes = []
    if found["long"]:
        split = plan.task.kind == TAGGING and not plan.settings.recipe.cut_long
        notes.append(
            f"{found['long']} of {len(test.texts)} sentences of {tag} are longer than {plan.settings.max_length} "
            f"tokens and were {'split' if split else 'truncated'}"
        )
    for label, count in sorted(found["unknown"].items()):
        notes.append(
            f"label {label}, {count} times in {tag}, does not occur in the training data of {plan.source} and "
            "counts as wrong"
        )
    return notes


def _absent_labels(plan: TaskPlan) -> list[str]:
    labels = labels_of(plan.train)
    absent = {tag: sorted(labels - labels_of(test)) for tag, test in plan.tests.items()}
    return [f"{tag} has no {', '.join(names)} in its test set" for tag, names in absent.items() if names]
