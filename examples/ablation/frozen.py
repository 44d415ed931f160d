"""Classify with frozen features: what a model knows before anybody fine-tunes it.

Sentences are mean-pooled two thirds up, as for retrieval, and a logistic regression is trained on them: on English and
tested on every language (zero-shot), and on each language's own training sentences where it has any. Macro F1.
Fine-tuning would move a small model so far that what it learned in pretraining hardly shows; here nothing of it moves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from langsamp_plugin.evaluation.encoding import depth, keep_blocks, load_encoder, mean_pooled
from langsamp_plugin.evaluation.reading.classified import read_classified
from langsamp_plugin.evaluation.reading.labelled import Labelled, find_labelled
from langsamp_plugin.evaluation.reading.names import ENGLISH
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.progress import progress


def classify(train: tuple[np.ndarray, list[str]], tests: dict[str, tuple[np.ndarray, list[str]]]) -> dict[str, float]:
    """Return macro F1 in percent per test set.

    Args:
        train, tests: float32 ``(n, C)`` and n labels; every set is centred separately, so that what only tells the
            language from English is not in the way.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    vectors, labels = train
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit(
        vectors - vectors.mean(0), labels
    )
    return {
        tag: 100.0 * float(f1_score(truth, model.predict(x - x.mean(0)), average="macro", zero_division=0))
        for tag, (x, truth) in tests.items()
    }


def majority(labels: list[str]) -> float:
    """Return the macro F1 of always saying the most frequent label."""
    from sklearn.metrics import f1_score

    most = max(set(labels), key=labels.count)
    return 100.0 * float(f1_score(labels, [most] * len(labels), average="macro", zero_division=0))


def score(model: Any, tokenizer: Any, folder: Path, limit: int, langs: list[str]) -> dict[str, Any]:
    """Score one task: ``zero_shot`` and ``own`` (tag -> macro F1), and ``chance``."""
    layer = round(depth(model) * 8 / 12)

    def read(path: Path, tag: LangScript, split: str) -> Labelled:
        return read_classified(path).evenly(0 if tag == ENGLISH and split == "train" else limit)

    def encode(rows: Labelled) -> tuple[np.ndarray, list[str]]:
        return mean_pooled(rows.texts, model, tokenizer, [layer], 160, bar.update)[0][0], rows.labels

    files = {
        tag: splits
        for tag, splits in find_labelled(folder)[0].items()
        if not langs or tag == ENGLISH or str(tag) in langs
    }
    sets = {
        tag: {split: read(path, tag, split) for split, path in splits.items() if split != "dev"}
        for tag, splits in files.items()
    }
    total = sum(len(rows.texts) for splits in sets.values() for rows in splits.values())
    with progress(total=total, desc=folder.name, unit="sentence") as bar:
        encoded = {str(tag): {split: encode(rows) for split, rows in splits.items()} for tag, splits in sets.items()}
    tests = {tag: splits["test"] for tag, splits in encoded.items() if "test" in splits}
    own = {tag: splits["train"] for tag, splits in encoded.items() if "train" in splits and "test" in splits}
    return {
        "zero_shot": classify(encoded[str(ENGLISH)]["train"], tests),
        "own": {tag: classify(train, {tag: tests[tag]})[tag] for tag, train in own.items()},
        "chance": float(np.mean([majority(labels) for _, labels in tests.values()])),
        "layer": layer,
    }


def frozen_scores(folder: Path, data: Path, limit: int, langs: list[str]) -> dict[str, Any]:
    """Score a model on the available classification tasks.

    Args:
        folder: of the model, as Hugging Face has it.
        data: folder with sib200/ and taxi1500/, or one of them.
        limit: sentences of each file but English's; 0 takes all.
        langs: tags to score in addition to English; empty takes all.
    """
    model, tokenizer = load_encoder(folder)
    keep_blocks(model, round(depth(model) * 8 / 12))
    return {
        task: score(model, tokenizer, data / task, limit, langs)
        for task in ("sib200", "taxi1500")
        if (data / task).is_dir()
    }
