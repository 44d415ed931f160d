"""Analyses of trained tables against numpy, scikit-learn, or by hand."""

import csv
import json
import math
import re
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from langsamp_plugin.analysis import held_out
from langsamp_plugin.analysis.embedding_map import MapPoint, TableMap, draw_map, marks, write_page
from langsamp_plugin.analysis.embeddings import (
    analyze_embeddings,
    cosine,
    language_agreement,
    neighbours,
    trained_rows,
)
from langsamp_plugin.analysis.families import families_of, read_families
from langsamp_plugin.analysis.projection import principal_components, umap_points
from langsamp_plugin.analysis.tag_swap import SWAPS, _first_blocks, swapped_rows, tag_swap
from langsamp_plugin.checkpoint.weight_names import TABLE_KEYS
from langsamp_plugin.data.tag_losses import group_losses, script_losses, tag_losses
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.modules.tag_embedding import decode_codes


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


def test_tag_swap_takes_a_part_and_never_holds_all_logits(trained, monkeypatch):
    """At most N blocks of each tag, on the device that is asked for, and the head's own loss in blocks."""
    kinds, places = [], []
    real = held_out.masked_lm_loss
    monkeypatch.setattr(
        held_out, "masked_lm_loss", lambda x, *rest: kinds.append(rest[-1]) or places.append(x.device.type)
        or real(x, *rest),
    )  # fmt: skip
    whole, one = tag_swap(trained, device="cpu"), tag_swap(trained, blocks=1, device="cpu")
    assert set(kinds) == {"blocks"} and set(places) == {"cpu"}
    assert 0 < one["masked_tokens"] < whole["masked_tokens"] / 2 and set(one["by_tag"]) == set(whole["by_tag"])
    seen = torch.zeros(3, dtype=torch.int64)
    assert _first_blocks(torch.tensor([0, 2, 0, 2, 0]), seen, 2).tolist() == [True, True, True, True, False]
    assert _first_blocks(torch.tensor([1, 0]), seen, 2).tolist() == [True, False] and seen.tolist() == [4, 1, 2]
    with pytest.raises(ValueError, match="--device must be cpu, cuda or cuda:N, but is 'gpu'"):
        tag_swap(trained, device="gpu")


def test_neighbours_and_agreement_by_hand():
    vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, -0.2]])
    found = neighbours(["aaa", "bbb", "ccc", "ddd"], vectors, 2)
    assert [code for code, _ in found["aaa"]] == ["bbb", "ccc"] and [code for code, _ in found["ddd"]] == ["ccc", "aaa"]
    assert found["aaa"][0][1] == pytest.approx(0.9 / math.hypot(0.9, 0.1))
    scripts = {"aaa": ["Latn"], "bbb": ["Latn", "Cyrl"], "ccc": ["Cyrl"], "ddd": ["Deva"]}
    agreement = language_agreement(found, scripts, {"aaa": "x", "bbb": "x", "ccc": "x", "ddd": "y"})
    # aaa-bbb and bbb-aaa share Latin, ccc-bbb shares Cyrillic, ddd is alone in its script and in its family.
    assert agreement["same_script"] == 75 and agreement["chance"] == pytest.approx(
        100 * np.mean([1 / 3, 2 / 3, 1 / 3, 0])
    )
    assert agreement["same_script_nonlatin"] == 100 and agreement["chance_nonlatin"] == pytest.approx(100 / 3)
    assert agreement["same_family"] == 100 and agreement["chance_family"] == pytest.approx(200 / 3)
    # A language of unknown family is not asked, and is a miss as a neighbour.
    partly = language_agreement(found, scripts, {"aaa": "x", "ccc": "x", "ddd": "y"})
    assert partly["same_family"] == 0 and partly["chance_family"] == pytest.approx(100 / 3)
    assert "same_family" not in language_agreement(found, scripts, {})


def test_families(tmp_path):
    known = read_families()
    assert known["eng"] == "Indo-European" and known["kat"] == "Kartvelian" and len(known) > 500
    found = families_of(["eng", "deu", "kat", "xxx"], known, most=1)
    assert found == {"eng": "Indo-European", "deu": "Indo-European", "kat": "other", "xxx": "other"}
    own = tmp_path / "own.tsv"
    own.write_text("# mine\nname\tlanguage\tfamily\nGerman\tdeu\tGermanic\n\nEnglish\teng\tGermanic\n")
    assert read_families(own) == {"deu": "Germanic", "eng": "Germanic"}
    for text, message in (
        ("deu\tGermanic\n", "must begin with a header of the columns"),
        ("", "must begin with a header"),
        ("language\tfamily\ndeu\n", "line 2: must have 2 fields as the header, but has 1"),
        ("language\tfamily\ndeu\ta\ndeu\tb\n", "line 3: deu is b here and a above"),
    ):
        own.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_families(own)
    own.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="own.tsv is not UTF-8"):
        read_families(own)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 70), min_size=1, max_size=150))
def test_no_two_groups_look_alike(groups):
    look = marks([str(group) for group in groups])
    assert set(look) == set(map(str, groups)) and (len(look) > 54 or len(set(look.values())) == len(look))


def test_umap_is_the_same_each_time_and_takes_few_points():
    rng = np.random.default_rng(0)
    two = np.concatenate([rng.normal(size=(20, 8)) + 6 * sign * np.eye(8)[0] for sign in (1, -1)])
    points = umap_points(two)
    assert np.array_equal(points, umap_points(two))
    within = np.linalg.norm(points[:20] - points[:20].mean(0), axis=1).max()
    assert np.linalg.norm(points[:20].mean(0) - points[20:].mean(0)) > 2 * within
    assert np.isfinite(umap_points(two[:3])).all()


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
    out = tmp_path / "analysis"
    result = analyze_embeddings(trained, out, count=2)
    languages, scripts = trained_rows(trained)
    assert languages.codes == ["deu", "eng", "hin", "rus", "srp", "zho"]
    assert [str(tag) for tag in languages.tags["srp"]] == ["srp_Cyrl", "srp_Latn"]
    assert scripts.codes == ["Cyrl", "Deva", "Hani", "Latn"]
    state = torch.load(trained, weights_only=True)
    weight, codes = (state["model"][f"encoder.lang_embedding.{name}"] for name in ("weight", "codes"))
    row = decode_codes(codes).index("rus")
    assert np.array_equal(languages.vectors[3], weight[row].float().numpy())

    assert json.loads((out / "embeddings.json").read_text())["languages"] == 6 == result["languages"]
    with open(out / "language_cosine.csv", newline="") as stream:
        rows = list(csv.reader(stream))
    by_hand = languages.vectors @ languages.vectors.T / np.outer(*[np.linalg.norm(languages.vectors, axis=1)] * 2)
    assert rows[0][1:] == languages.codes == [row[0] for row in rows[1:]]
    assert np.allclose(np.array([row[1:] for row in rows[1:]], float), by_hand, atol=6e-5)
    assert len((out / "language_neighbours.tsv").read_text().splitlines()) == 7
    assert (out / "script_neighbours.tsv").read_text().splitlines()[0] == (
        "script\ttags\tneighbour_1\tneighbour_2\tcosine_1\tcosine_2"
    )
    for noun, colourings in (("language", ("script", "family", "head")), ("script", ("script",))):
        for projection in ("pca", "umap"):
            for colouring in colourings:
                stem = out / f"{noun}_{projection}_{colouring}"
                assert stem.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
                drawn = ElementTree.parse(stem.with_suffix(".svg"))
                texts = {node.text for node in drawn.iter("{http://www.w3.org/2000/svg}text")}
                assert set(languages.codes if noun == "language" else scripts.codes) <= texts


@pytest.mark.parametrize("count", [200, 500])
def test_labels_never_overlap(tmp_path, monkeypatch, count):
    """Hundreds of points in one heap: some labels are left out, and of those that are drawn none covers another."""
    boxes = {}

    def measure(figure, stream, format, **options):
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes[format] = {text.get_text(): text.get_window_extent(renderer) for text in figure.axes[0].texts}
        boxes["title"] = figure.axes[0].get_title()

    monkeypatch.setattr(Figure, "savefig", measure)
    rng = np.random.default_rng(0)
    codes = [a + b + c for c in "vwxyz" for b in "klmnopqrst" for a in "abcdefghij"][:count]
    points = [MapPoint(code, code, [], "", {"head": "head" if n < 9 else "tail"}, []) for n, code in enumerate(codes)]
    draw_map(TableMap("language", points, {"umap": rng.normal(size=(count, 2))}, np.array([0.5, 0.5])), tmp_path)
    for drawn in (boxes["png"], boxes["svg"]):
        assert count // 4 < len(drawn) < count
        assert count > 200 or set(codes[:9]) <= set(drawn), "head languages come first where there is room"
        assert not [(one, other) for (one, a), (other, b) in combinations(drawn.items(), 2) if a.overlaps(b)]
    assert f"({len(boxes['png'])} labelled)" in boxes["title"]


def test_a_long_name_in_the_legend_is_shortened(tmp_path):
    names = ["Unified Canadian Aboriginal Syllabics", "Wide" * 20, "Latn"]
    points = [MapPoint(name[:3], name, [], "", {"family": name}, []) for name in names]
    draw_map(TableMap("language", points, {"umap": np.eye(3)[:, :2]}, np.array([0.5, 0.5])), tmp_path)
    drawn = (tmp_path / "language_umap_family.svg").read_text(encoding="utf-8")
    assert "Unified Canadian Aborig…" in drawn and "Latn" in drawn and not any(name in drawn for name in names[:2])


def test_page_needs_nothing_else_and_runs_no_foreign_code(tmp_path):
    point = MapPoint("abc", "</script><script>alert(1)", ["abc_Latn"], "<b>", {"script": "Latn"}, [("abd", 0.5)])
    table = TableMap("language", [point] * 3, {"pca": np.eye(3)[:, :2]}, np.array([0.5, 0.5]))
    write_page([table], tmp_path / "map.html", "a <model>")
    text = (tmp_path / "map.html").read_text()
    assert text.count("<script>") == text.count("</script>") == 1 and "<b>" not in text
    assert not re.search(r"(src|href)=|@import|url\(|fetch\(", text)
    data = json.loads(re.search(r"const data = (.*);", text)[1])
    assert data["title"] == "a <model>" and data["tables"][0]["points"][0]["name"] == point.name
    assert data["tables"][0]["projections"]["pca"]["xy"] == [[1, 0], [0, 1], [0, 0]]


def test_projector_files_are_what_tensorboard_reads(trained, tmp_path):
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    analyze_embeddings(trained, tmp_path)
    folder = tmp_path / "projector"
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert [embedding.tensor_name for embedding in config.embeddings] == ["language", "script"]
    for embedding, table in zip(config.embeddings, trained_rows(trained)):
        vectors = np.loadtxt(folder / embedding.tensor_path, delimiter="\t")
        metadata = (folder / embedding.metadata_path).read_text().splitlines()
        assert np.allclose(vectors, table.vectors, rtol=1e-5) and len(metadata) == len(table.codes) + 1
        assert [line.split("\t")[0] for line in metadata[1:]] == table.codes


def test_too_few_languages(trained, tmp_path):
    state = torch.load(trained, weights_only=True)
    state["task_state"]["tags"] = ["eng_Latn", "deu_Latn", "srp_Latn", "srp_Cyrl"][:2]
    torch.save(state, tmp_path / "two.pt")
    with pytest.raises(ValueError, match="two.pt was trained on 2 languages; a map of them needs at least 3"):
        analyze_embeddings(tmp_path / "two.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_model_without_tables_is_a_clear_error(trained, tmp_path):
    state = torch.load(trained, weights_only=True)
    state["model"] = {name: weight for name, weight in state["model"].items() if name not in TABLE_KEYS}
    torch.save(state, tmp_path / "vanilla.pt")
    with pytest.raises(ValueError, match="vanilla.pt has no language and no script table"):
        analyze_embeddings(tmp_path / "vanilla.pt", tmp_path / "out")
