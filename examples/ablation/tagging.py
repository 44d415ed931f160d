"""Tags words with frozen features: NER and POS by a linear classifier on the states of each word's first piece.

It is trained only on the task's source language and tested on the others; entity F1 for NER, F1 over words for POS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from frozen import Features, fitted, task_files
from languages import SOURCES

from langsamp_plugin.evaluation.device import autocast
from langsamp_plugin.evaluation.encoding import batches_by_length, longest_input, pad
from langsamp_plugin.evaluation.examples import encode
from langsamp_plugin.evaluation.metrics import tagging_scores
from langsamp_plugin.evaluation.reading.labelled import Labelled, labels_of
from langsamp_plugin.evaluation.reading.tagged import read_tagged
from langsamp_plugin.evaluation.tasks import TAGGING
from langsamp_plugin.modules.ignored import IGNORED
from langsamp_plugin.progress import progress

TRAIN = 300
"""Sentences of the source language, evenly spaced."""


def word_vectors(rows: Labelled, features: Features, labels: list[str]) -> np.ndarray:
    """Return the state of each word's first piece, float32 ``(words, C)`` in the order of the text."""
    model, tokenizer, layer = features.encoder
    examples = encode(rows, tokenizer, labels, TAGGING, longest_input(model, tokenizer, 256)).examples
    found: list[Any] = [None] * len(examples)
    with torch.inference_mode(), autocast(model.device, features.precision):
        for batch in batches_by_length([len(example.ids) for example in examples]):
            tokens, mask = pad([examples[row].ids for row in batch], tokenizer.pad_token_id, model.device)
            states = model(tokens, attention_mask=mask, output_hidden_states=True).hidden_states[layer]
            for place, row in enumerate(batch):
                first = [spot for spot, target in enumerate(examples[row].targets) if target != IGNORED]
                found[row] = states[place, first].float().cpu().numpy()
    return np.concatenate(found)


def tag(model: Any, vectors: np.ndarray, rows: Labelled) -> list[list[str]]:
    """Return a label per word, grouped as the sentences of ``rows``."""
    labels = [str(label) for label in model.predict(vectors - vectors.mean(0))]
    ends = np.cumsum([len(row) for row in rows.labels])
    return [labels[end - len(row) : end] for end, row in zip(ends.tolist(), rows.labels)]


def source_of(files: dict[str, dict[str, Path]]) -> Optional[str]:
    """Return the tag of the source language among a task's files."""
    return next((name for name in SOURCES if "train" in files.get(name, {})), None)


def tagging(features: Features, data: Path, limit: int, langs: list[str]) -> dict[str, Any]:
    """Score a model on the available tagging tasks: task -> ``source`` and ``zero_shot`` (tag -> F1 in percent).

    Args:
        features: of the model.
        data: folder with ner/ and pos/, or one of them.
        limit: test sentences per language; 0 means all.
        langs: tags to score; empty means all.
    """
    result = {}
    for task in ("ner", "pos"):
        files = task_files(data / task, []) if (data / task).is_dir() else {}
        source = source_of(files)
        if source is None:
            continue
        train = read_tagged(files[source]["train"]).evenly(TRAIN)
        labels = sorted(labels_of(train))
        model = fitted(word_vectors(train, features, labels), [label for row in train.labels for label in row])
        scores = {}
        for name, splits in progress(files.items(), desc=task, unit="language"):
            if "test" in splits and (not langs or name in langs):
                rows = read_tagged(splits["test"]).evenly(limit)
                predicted = tag(model, word_vectors(rows, features, labels), rows)
                scores[name] = tagging_scores(rows.labels, predicted, task == "ner")["f1"]
        result[task] = {"source": source, "zero_shot": scores}
    return result
