"""Analyses of trained tables against numpy, scikit-learn, or by hand."""

import json
import math

import numpy as np
import pytest
import torch

from langsamp_plugin.analysis.embeddings import (
    analyze_embeddings,
    cosine,
    language_vectors,
    neighbours,
    principal_components,
    script_agreement,
)
from langsamp_plugin.criterions.tag_losses import group_losses, script_losses, tag_losses
from langsamp_plugin.evaluation.tag_swap import SWAPS, swapped_rows, tag_swap
from langsamp_plugin.lang_script import LangScript


def test_validation_groups():
    tags = [LangScript.parse(name) for name in ("eng_Latn", "rus_Cyrl", "acu_Latn", "zul_Latn")]
    sums = np.array([[math.log(2) * 20, 10, 5], [math.log(2) * 30, 10, 0], [math.log(2) * 8, 1, 1], [0, 0, 0]])
    losses = tag_losses(tags, sums)
    assert {str(tag): (round(r.loss, 9), r.accuracy, r.tokens) for tag, r in losses.items()} == {
        "eng_Latn": (2, 50, 10),
        "rus_Cyrl": (3, 0, 10),
        "acu_Latn": (8, 100, 1),
    }
    groups = {name: round(value, 9) for name, value in group_losses(losses).items()}
    assert groups == {
        "loss_macro": round(13 / 3, 9),
        "loss_head": 2.5,
        "loss_tail": 8,
        "loss_latn": 5,
        "loss_nonlatn": 3,
    }
    assert {name: round(v, 9) for name, v in script_losses(losses).items()} == {"Cyrl": 3, "Latn": round(28 / 11, 9)}


def test_swaps_are_wrong_where_they_should_be():
    tags = [LangScript.parse(name) for name in ("eng_Latn", "srp_Cyrl", "srp_Latn", "rus_Cyrl", "hin_Deva")]
    rows = np.array([[0, 0], [1, 1], [1, 0], [2, 1], [3, 2]])
    swaps = swapped_rows(tags, rows)
    assert tuple(swaps) == SWAPS
    changed = {name: (swap != rows).T.tolist() for name, swap in swaps.items()}
    assert changed["right"] == [[False] * 5] * 2
    assert changed["language replaced"] == [[True] * 5, [False] * 5]
    assert changed["script replaced"] == [[False] * 5, [True] * 5]
    assert changed["both replaced"] == [[True] * 5] * 2 and (swaps["both unknown"] == -1).all()
    with pytest.raises(ValueError, match="two languages and two scripts"):
        swapped_rows(tags[:1], rows[:1])


def test_tag_swap_is_the_loss_of_training(demo, trained):
    """The right tag's loss is what fairseq itself logged in validation; unknown tags give vanilla's head."""
    result = tag_swap(trained)
    with open(trained.parent / "validation" / "20.tsv") as stream:
        rows = [line.split("\t") for line in stream]
    logged = {row[1]: float(row[3]) for row in rows if row[0] == "tag"}
    assert {tag: round(losses["right"], 3) for tag, losses in result["by_tag"].items()} == pytest.approx(
        logged, abs=2e-3
    )
    assert set(result["loss"]) == set(SWAPS) and result["masked_tokens"] > 1000
    assert len({round(value, 9) for value in result["loss"].values()}) == 5


def test_neighbours_and_agreement_by_hand():
    vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, -0.2]])
    found = neighbours(["aaa", "bbb", "ccc", "ddd"], vectors, 2)
    assert [code for code, _ in found["aaa"]] == ["bbb", "ccc"] and [code for code, _ in found["ddd"]] == ["ccc", "aaa"]
    assert found["aaa"][0][1] == pytest.approx(0.9 / math.hypot(0.9, 0.1))
    scripts = {"aaa": ["Latn"], "bbb": ["Latn", "Cyrl"], "ccc": ["Cyrl"], "ddd": ["Deva"]}
    agreement = script_agreement(found, scripts)
    # aaa-bbb and bbb-aaa share Latin, ccc-bbb shares Cyrillic, ddd is alone in its script.
    assert agreement["same_script"] == 75 and agreement["chance"] == pytest.approx(
        100 * np.mean([1 / 3, 2 / 3, 1 / 3, 0])
    )
    assert agreement["same_script_nonlatin"] == 100 and agreement["chance_nonlatin"] == pytest.approx(100 / 3)


def test_principal_components_against_scikit_learn():
    from sklearn.decomposition import PCA

    vectors = np.random.default_rng(1).normal(size=(30, 7)) * np.arange(1, 8)
    points, share = principal_components(vectors)
    reference = PCA(2).fit(vectors)
    assert np.allclose(np.abs(points), np.abs(reference.transform(vectors))) and np.allclose(
        share, reference.explained_variance_ratio_
    )


def test_cosine_against_numpy():
    vectors = np.random.default_rng(2).normal(size=(5, 3))
    assert cosine(vectors)[1, 4] == pytest.approx(
        vectors[1] @ vectors[4] / np.linalg.norm(vectors[1]) / np.linalg.norm(vectors[4])
    )


def test_analysis_files(trained, tmp_path):
    result = analyze_embeddings(trained, tmp_path / "analysis")
    found = language_vectors(trained)
    assert found.codes == ["deu", "eng", "hin", "rus", "srp", "zho"] and found.scripts["srp"] == ["Cyrl", "Latn"]
    assert json.loads((tmp_path / "analysis" / "embeddings.json").read_text())["languages"] == 6 == result["languages"]
    assert (tmp_path / "analysis" / "language_pca.png").read_bytes()[:4] == b"\x89PNG"
    assert len((tmp_path / "analysis" / "neighbours.tsv").read_text().splitlines()) == 7


def test_model_without_tables_is_a_clear_error(trained, tmp_path):
    state = torch.load(trained, weights_only=True)
    state["model"] = {
        name: weight
        for name, weight in state["model"].items()
        if "_embedding.weight" not in name and "codes" not in name
    }
    torch.save(state, tmp_path / "vanilla.pt")
    with pytest.raises(ValueError, match="vanilla.pt has no language and no script table"):
        analyze_embeddings(tmp_path / "vanilla.pt", tmp_path / "out")
