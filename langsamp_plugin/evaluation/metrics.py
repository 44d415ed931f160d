"""Metrics of labelled sentences and words, in percent."""

from __future__ import annotations

import warnings
from collections.abc import Sequence


def classification_scores(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Return macro F1 over the labels that occur on either side, and accuracy."""
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "f1": 100.0 * float(f1_score(gold, predicted, average="macro", zero_division=0)),
        "accuracy": 100.0 * float(accuracy_score(gold, predicted)),
    }


def tagging_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], entities: bool
) -> dict[str, float]:
    """Return the scores of tagged sentences.

    Args:
        gold, predicted: one label per word.
        entities: the labels are spans (``B-PER``, ``I-PER``): ``f1`` is then seqeval's entity F1, and else F1 over
            words, which with one label per word equals accuracy.

    Returns:
        ``f1``, ``f1_words`` (micro), ``f1_macro`` over labels, ``f1_spans``: seqeval's entity F1 of the labels as they
        are. The authors report it for POS, where it treats the first letter of a tag as a prefix: equal neighbours are
        one span, except those of SCONJ and SYM, and SCONJ and CCONJ are one label.
    """
    from seqeval.metrics import f1_score as span_f1
    from sklearn.metrics import f1_score

    flat_gold = [label for labels in gold for label in labels]
    flat_predicted = [label for labels in predicted for label in labels]
    words = 100.0 * float(f1_score(flat_gold, flat_predicted, average="micro", zero_division=0))
    macro = 100.0 * float(f1_score(flat_gold, flat_predicted, average="macro", zero_division=0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*seems not to be NE tag")
        spans = 100.0 * float(span_f1([list(row) for row in gold], [list(row) for row in predicted], zero_division=0))
    return {"f1": spans if entities else words, "f1_words": words, "f1_macro": macro, "f1_spans": spans}
