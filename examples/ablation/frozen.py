"""Classify with frozen features: measures what a model knows before any fine-tuning.

Sentences are mean-pooled at the block two thirds of the way up, as for retrieval. A logistic regression is trained on
English and tested on every language (zero-shot), and also trained on each language that has training sentences. Macro
F1. Fine-tuning would move a small model so far that what it learned in pretraining hardly shows; here nothing of it
moves.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from langsamp_plugin.evaluation.encoding import depth, keep_blocks, load_encoder, mean_pooled
from langsamp_plugin.evaluation.reading.classified import read_classified
from langsamp_plugin.evaluation.reading.labelled import find_labelled
from langsamp_plugin.evaluation.reading.names import ENGLISH
from langsamp_plugin.progress import progress


def fitted(vectors: np.ndarray, labels: list[str]) -> Any:
    """Return a logistic regression trained on float32 ``(n, C)``, which it centres, and n labels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit(
        vectors - vectors.mean(0), labels
    )


def classify(train: tuple[np.ndarray, list[str]], tests: dict[str, tuple[np.ndarray, list[str]]]) -> dict[str, float]:
    """Return macro F1 in percent per test set.

    Args:
        train, tests: float32 ``(n, C)`` and n labels; every set is centred separately, so that the mere difference
            between the language and English does not interfere.
    """
    from sklearn.metrics import f1_score

    model = fitted(*train)
    return {
        tag: 100.0 * float(f1_score(truth, model.predict(x - x.mean(0)), average="macro", zero_division=0))
        for tag, (x, truth) in tests.items()
    }


def majority(labels: list[str]) -> float:
    """Return the macro F1 of always predicting the most frequent label."""
    from sklearn.metrics import f1_score

    most = max(set(labels), key=labels.count)
    return 100.0 * float(f1_score(labels, [most] * len(labels), average="macro", zero_division=0))


class Features:
    """Frozen features of a model at the block two thirds of the way up; each file is encoded once.

    Args:
        folder: Hugging Face folder of the model, which is loaded when first needed.
        precision: of encoding, such as ``bfloat16``.
    """

    def __init__(self, folder: Path, precision: str = "float32"):
        self.folder, self.precision = folder, precision
        self._found: dict[tuple[Path, int], tuple[np.ndarray, list[str]]] = {}

    @cached_property
    def encoder(self) -> tuple[Any, Any, int]:
        """Model, tokenizer and layer."""
        model, tokenizer = load_encoder(self.folder)
        layer = round(depth(model) * 8 / 12)
        keep_blocks(model, layer)
        return model, tokenizer, layer

    def of(self, path: Path, limit: int) -> tuple[np.ndarray, list[str]]:
        """Return vectors, float32 ``(n, C)``, and labels of at most ``limit`` sentences of a file; 0 means all."""
        if (path, limit) not in self._found:
            model, tokenizer, layer = self.encoder
            rows = read_classified(path).evenly(limit)
            vectors, _ = mean_pooled(rows.texts, model, tokenizer, [layer], 160, precision=self.precision)
            self._found[path, limit] = vectors[0], rows.labels
        return self._found[path, limit]


def task_files(folder: Path, langs: list[str]) -> dict[str, dict[str, Path]]:
    """Return tag -> split -> file of a task, for some languages and English; an empty list selects all languages."""
    return {
        str(tag): splits
        for tag, splits in find_labelled(folder)[0].items()
        if not langs or tag == ENGLISH or str(tag) in langs
    }


def score(features: Features, folder: Path, limit: int, langs: list[str], own: bool) -> dict[str, Any]:
    """Score one task: ``zero_shot`` and with ``own`` that (tag -> macro F1), and ``chance``."""
    files = task_files(folder, langs)
    english = features.of(files[str(ENGLISH)]["train"], 0)
    tests, trained = {}, {}
    for tag, splits in progress(files.items(), desc=folder.name, unit="language"):
        if "test" in splits:
            tests[tag] = features.of(splits["test"], limit)
        if own and {"train", "test"} <= splits.keys():
            trained[tag] = features.of(splits["train"], 0 if tag == str(ENGLISH) else limit)
    found = {
        "zero_shot": classify(english, tests),
        "own": {tag: classify(train, {tag: tests[tag]})[tag] for tag, train in trained.items()},
        "chance": float(np.mean([majority(labels) for _, labels in tests.values()])),
        "layer": features.encoder[2],
    }
    return found if own else {name: value for name, value in found.items() if name != "own"}


def frozen_scores(features: Features, data: Path, limit: int, langs: list[str], own: bool = True) -> dict[str, Any]:
    """Score a model on the available classification tasks.

    Args:
        features: of the model.
        data: folder with sib200/ and taxi1500/, or one of them.
        limit: sentences of each file except English's; 0 means all.
        langs: tags to score in addition to English; empty means all.
        own: also train on each language's own sentences.
    """
    return {
        task: score(features, data / task, limit, langs, own)
        for task in ("sib200", "taxi1500")
        if (data / task).is_dir()
    }
