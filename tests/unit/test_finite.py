"""A model that yields NaN or infinity is refused wherever it would be scored, and never counts as right."""

import numpy as np
import pytest
from small_encoder import change_weights, save_encoder, save_topics, save_verses

from langsamp_plugin.analysis.neutrality import pair_scores
from langsamp_plugin.evaluation.device import Compute
from langsamp_plugin.evaluation.encoding import load_encoder
from langsamp_plugin.evaluation.examples import Encoded, Example
from langsamp_plugin.evaluation.finetuning import new_model
from langsamp_plugin.evaluation.prediction import predict
from langsamp_plugin.evaluation.retrieval import retrieval_scores
from langsamp_plugin.evaluation.run import evaluate

WEIGHT = "encoder.layer.1.output.dense.weight"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_broken_weight_is_named(tmp_path, value):
    """One weight of block 1: retrieval would be 100 % and F1 that of a constant answer."""
    folder = save_encoder(tmp_path / "model")
    change_weights(folder, WEIGHT, lambda weight: weight[3].fill_(value))
    save_topics(save_verses(tmp_path / "data"))
    with pytest.raises(ValueError, match=rf"model must have finite weights, but {WEIGHT} contains NaN or infinity"):
        evaluate(folder, tmp_path / "data", tmp_path / "out", ["sr_bible"])
    with pytest.raises(
        ValueError, match=rf"model must have finite weights, but \w+\.{WEIGHT} contains NaN or infinity"
    ):
        evaluate(folder, tmp_path / "data", tmp_path / "out", ["sib200"], epochs=1, seeds=(1,))
    assert not list((tmp_path / "out").glob("model/*.json"))


def test_features_that_overflow_are_named_with_their_block(tmp_path):
    folder = save_encoder(tmp_path / "model")
    change_weights(folder, "encoder.layer.1.output.LayerNorm.weight", lambda weight: weight.fill_(3e38))
    load_encoder(folder)  # the weights themselves are finite
    with pytest.raises(
        ValueError, match=r"model must produce finite features, but block 2 produces NaN or infinity for"
    ):
        evaluate(folder, save_verses(tmp_path / "data"), tmp_path / "out", ["sr_bible"])


def test_a_run_that_diverges_ends(tmp_path):
    folder, data = save_encoder(tmp_path / "model"), save_topics(tmp_path / "data")
    with pytest.raises(ValueError, match=r"fine-tuning .*model diverged: the loss of update \d+ is (nan|inf)"):
        evaluate(folder, data, tmp_path / "out", ["sib200"], lr=1e30, epochs=3, seeds=(1,))


def test_logits_that_are_not_finite(tmp_path):
    model = new_model(str(save_encoder(tmp_path)), "classification", ["a", "b"], 1)
    model.classifier.out_proj.bias.data[0] = float("inf")
    encoded = Encoded([Example([0, 5, 2], [0], 0)], 0, {})
    with pytest.raises(ValueError, match="the head of the fine-tuned model produces NaN or infinity"):
        predict(model, encoded, ["a", "b"], "classification", 1, Compute("cpu"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("side", ["queries", "index"])
def test_vectors_that_cannot_be_compared(value, side):
    vectors = {"queries": np.random.default_rng(0).normal(size=(30, 4))}
    vectors["index"] = vectors["queries"].copy()
    assert retrieval_scores(**vectors)["top1"] == 100.0
    vectors[side][7, 2] = value
    for score in (lambda: retrieval_scores(**vectors), lambda: pair_scores(*vectors.values())):
        with pytest.raises(ValueError, match=f"the {side} must be finite vectors, but row 7 contains NaN or infinity"):
            score()
