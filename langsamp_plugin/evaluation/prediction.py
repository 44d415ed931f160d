"""Predictions of a fine-tuned model on a split, and their scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Optional

import torch

from langsamp_plugin.evaluation.device import Compute, autocast
from langsamp_plugin.evaluation.encoding import batches_by_length, pad
from langsamp_plugin.evaluation.examples import IGNORED, Encoded
from langsamp_plugin.evaluation.metrics import classification_scores, tagging_scores
from langsamp_plugin.evaluation.reading.labelled import Labelled
from langsamp_plugin.evaluation.tasks import TAGGING


def predict(
    model: Any,
    encoded: Encoded,
    labels: Sequence[str],
    kind: str,
    pad_id: int,
    compute: Compute = Compute(),
    precision: str = "float32",
    on_batch: Optional[Callable[[int], Any]] = None,
) -> list[Any]:
    """Return one label per sentence, or for tagging a list with one label per word.

    Raises:
        ValueError: logits are not finite.
    """
    model.eval()
    found: list[Any] = [None] * len(encoded.examples)
    with torch.inference_mode(), autocast(model.device, precision):
        for rows in batches_by_length([len(example.ids) for example in encoded.examples], compute.batch_tokens):
            tokens, mask = pad([encoded.examples[row].ids for row in rows], pad_id, model.device)
            logits = model(tokens, attention_mask=mask).logits
            if not torch.isfinite(logits).all():
                raise ValueError(
                    "the head of the fine-tuned model produces NaN or infinity: lower --lr or use --precision float32"
                )
            for row, numbers in zip(rows, logits.argmax(-1).cpu()):
                if kind == TAGGING:
                    targets = encoded.examples[row].targets
                    found[row] = [labels[number] for number, goal in zip(numbers.tolist(), targets) if goal != IGNORED]
                else:
                    found[row] = labels[int(numbers)]
            if on_batch is not None:
                on_batch(len(rows))
    if kind != TAGGING:
        return found
    sentences: list[list[str]] = [
        [] for _ in range(1 + max((example.sentence for example in encoded.examples), default=-1))
    ]
    for example, part in zip(encoded.examples, found):
        sentences[example.sentence] += part
    return sentences


def score_split(
    model: Any,
    encoded: Encoded,
    data: Labelled,
    labels: Sequence[str],
    kind: str,
    pad_id: int,
    compute: Compute = Compute(),
    precision: str = "float32",
) -> dict[str, float]:
    """Return the scores of a split; labels that do not occur in training always count as wrong."""
    return score_predictions(predict(model, encoded, labels, kind, pad_id, compute, precision), data, labels, kind)


def score_predictions(predicted: Sequence[Any], data: Labelled, labels: Sequence[str], kind: str) -> dict[str, float]:
    """Return the scores of predictions; words beyond the truncation limit are not scored.

    Args:
        predicted: from :func:`predict`.
        data: the gold side.
        labels: labels of the training data.
        kind: ``classification`` or ``tagging``.
    """
    if kind != TAGGING:
        return classification_scores(data.labels, predicted)
    gold = [tags[: len(seen)] for tags, seen in zip(data.labels, predicted)]
    return tagging_scores(gold, predicted, entities=any(label[:2] in ("B-", "I-") for label in labels))
