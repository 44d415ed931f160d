"""Metrics against scikit-learn, seqeval, brute force and by hand."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score as seqeval_f1
from sklearn.metrics import f1_score

from langsamp_plugin.evaluation import retrieval
from langsamp_plugin.evaluation.metrics import classification_scores, tagging_scores
from langsamp_plugin.evaluation.retrieval import ranks, retrieval_scores


def brute_force(queries, index, k):
    """Count hits one query at a time, with Python's own sort."""
    hits = 0
    for row, query in enumerate(queries):
        scores = [float(query @ other / np.linalg.norm(query) / np.linalg.norm(other)) for other in index]
        hits += row in sorted(range(len(index)), key=lambda other: -scores[other])[:k]
    return 100 * hits / len(queries)


def test_retrieval_against_brute_force(monkeypatch):
    generator = np.random.default_rng(0)
    index = generator.normal(size=(60, 16))
    queries = index + generator.normal(size=(60, 16)) * 1.6
    monkeypatch.setattr(retrieval, "BLOCK", 7)  # several blocks, the last one short
    found = retrieval_scores(queries, index)
    for k in (1, 5, 10):
        assert found[f"top{k}"] == pytest.approx(brute_force(queries, index, k))
        assert found[f"reverse{k}"] == pytest.approx(brute_force(index, queries, k))
    assert 0 < found["top1"] < found["top10"] < 100 and found["top5"] != found["reverse5"]
    assert found["chance10"] == pytest.approx(100 / 6)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 1000))
def test_ranks(count, block, seed):
    generator = np.random.default_rng(seed)
    queries, index = generator.normal(size=(2, count, 5))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, index)]
    order = np.argsort(-(unit[0] @ unit[1].T), axis=1)
    expected = [1 + list(row).index(number) for number, row in enumerate(order)]
    before, retrieval.BLOCK = retrieval.BLOCK, block
    try:
        assert ranks(queries, index).tolist() == expected
    finally:
        retrieval.BLOCK = before


def test_collapsed_model_retrieves_nothing():
    found = retrieval_scores(np.ones((30, 4)), np.ones((30, 4)))
    assert found["top10"] == found["reverse10"] == 0.0


LABELS = ["travel", "sports", "health", "politics"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=40))
def test_classification_against_scikit_learn(rows):
    gold, predicted = zip(*rows)
    found = classification_scores(gold, predicted)
    assert found["f1"] == pytest.approx(100 * f1_score(gold, predicted, average="macro", zero_division=0))
    assert found["accuracy"] == pytest.approx(100 * np.mean([a == b for a, b in rows]))


def test_macro_f1_by_hand():
    gold, predicted = ["a", "a", "b", "b"], ["a", "b", "b", "b"]
    # a: precision 1, recall 1/2; b: precision 2/3, recall 1.
    assert classification_scores(gold, predicted)["f1"] == pytest.approx(100 * (2 / 3 + 4 / 5) / 2)


SPANS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(SPANS), st.sampled_from(SPANS)), min_size=1, max_size=8),
        min_size=1,
        max_size=6,
    )
)
def test_entities_against_seqeval(sentences):
    gold = [[pair[0] for pair in sentence] for sentence in sentences]
    predicted = [[pair[1] for pair in sentence] for sentence in sentences]
    found = tagging_scores(gold, predicted, entities=True)
    assert found["f1"] == found["f1_spans"] == pytest.approx(100 * seqeval_f1(gold, predicted, zero_division=0))
    flat = [label for row in gold for label in row], [label for row in predicted for label in row]
    assert found["f1_words"] == pytest.approx(100 * f1_score(*flat, average="micro", zero_division=0))


def test_spans_of_plain_tags_merge_neighbours():
    """Why POS is scored by word: one wrong word costs the authors' script two or three spans."""
    gold = [["DET", "NOUN", "NOUN", "NOUN", "VERB"]]
    predicted = [["DET", "NOUN", "VERB", "NOUN", "VERB"]]
    found = tagging_scores(gold, predicted, entities=False)
    assert found["f1"] == found["f1_words"] == 80.0
    # Spans of the gold side: DET, NOUN, VERB; of the prediction: DET, NOUN, VERB, NOUN, VERB; two are the same.
    assert found["f1_spans"] == pytest.approx(100 * 2 * 2 / (3 + 5))
    # The published number is seqeval's of the bare tags, which cannot tell SCONJ from CCONJ.
    found = tagging_scores([["SCONJ", "NOUN"]], [["CCONJ", "NOUN"]], entities=False)
    assert found["f1"] == 50.0 and found["f1_spans"] == 100.0


UPOS = ["ADJ", "ADP", "CCONJ", "INTJ", "NOUN", "PUNCT", "SCONJ", "SYM", "VERB", "X"]


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(UPOS), st.sampled_from(UPOS)), min_size=1, max_size=8),
        min_size=1,
        max_size=4,
    )
)
def test_spans_of_plain_tags_are_seqevals(sentences):
    gold, predicted = ([[pair[side] for pair in sentence] for sentence in sentences] for side in (0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = 100 * seqeval_f1(gold, predicted, zero_division=0)
    found = tagging_scores(gold, predicted, entities=False)
    assert found["f1_spans"] == pytest.approx(expected)
    flat = [label for row in gold for label in row], [label for row in predicted for label in row]
    assert found["f1"] == pytest.approx(100 * np.mean([one == other for one, other in zip(*flat)]))


def test_entities_by_hand():
    gold = [["B-PER", "I-PER", "O", "B-LOC"]]
    predicted = [["B-PER", "O", "O", "B-LOC"]]
    found = tagging_scores(gold, predicted, entities=True)
    assert found["f1"] == 50.0 and found["f1_words"] == 75.0
