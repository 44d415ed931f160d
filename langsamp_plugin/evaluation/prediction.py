"""What a fine-tuned model says of a split, and how right it is."""

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
    """Return a label per sentence, or per sentence a list with one per word.

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
                    "the head of the fine-tuned model gives NaN or infinity: lower --lr or use --precision float32"
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
    """Return the scores of a split; a label that training does not have counts as wrong wherever it stands."""
    return score_predictions(predict(model, encoded, labels, kind, pad_id, compute, precision), data, labels, kind)


def score_predictions(predicted: Sequence[Any], data: Labelled, labels: Sequence[str], kind: str) -> dict[str, float]:
    """Return the scores of predictions; words that were cut off are scored only as far as they were seen.

    Args:
        predicted: from :func:`predict`.
        data: the gold side.
        labels: of training.
        kind: ``classification`` or ``tagging``.
    """
    if kind != TAGGING:
        return classification_scores(data.labels, predicted)
    gold = [tags[: len(seen)] for tags, seen in zip(data.labels, predicted)]
    return tagging_scores(gold, predicted, entities=any(label[:2] in ("B-", "I-") for label in labels))
