"""Neutrality against direct numpy, and on spaces that were made collapsed or neutral."""

import csv
import json

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from small_encoder import save_encoder, save_verses
from support import run

from langsamp_plugin.analysis.neutrality import (
    Pair,
    _heat_map,
    analyze_neutrality,
    improvement,
    pair_scores,
    probe_accuracy,
    read_parallel,
)
from langsamp_plugin.evaluation import features


def cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_pair_scores_against_two_loops():
    generator = np.random.default_rng(0)
    one = generator.normal(size=(12, 6))
    other = one + generator.normal(size=(12, 6))
    parallel = np.mean([cosine(one[i], other[i]) for i in range(12)])
    unrelated = np.mean([cosine(one[i], other[j]) for i in range(12) for j in range(12) if i != j])
    hits = [np.argmax([cosine(a, b) for b in other]) == i for i, a in enumerate(one)]
    back = [np.argmax([cosine(a, b) for b in one]) == i for i, a in enumerate(other)]
    assert pair_scores(one, other) == pytest.approx(
        (parallel, unrelated, parallel - unrelated, 100 * (np.mean(hits) + np.mean(back)) / 2)
    )


def space(shared, own, collapse=0.0, languages=4, sentences=80, width=24):
    """Vectors of sentences: a common meaning, a constant of the language, noise, and one direction that swallows
    all."""
    generator = np.random.default_rng(1)
    meaning = generator.normal(size=(sentences, width)) * shared
    constants = generator.normal(size=(languages, 1, width)) * own
    noise = generator.normal(size=(languages, sentences, width)) * 0.5
    return meaning + constants + noise + collapse * np.ones(width)


def mean_scores(vectors):
    rows = [pair_scores(vectors[i], vectors[j]) for i in range(len(vectors)) for j in range(i)]
    return dict(zip(Pair._fields[2:], np.mean(rows, axis=0)))


def test_a_collapsed_model_is_unmasked():
    """Raw cosine rises when everything moves to one point; margin, retrieval and probe show that nothing was gained."""
    normal, collapsed = space(1.0, 1.0), space(0.2, 1.0, collapse=8.0)
    before, after = mean_scores(normal), mean_scores(collapsed)
    assert after["cosine"] > before["cosine"] + 0.2, "the paper's number alone would call this neutral"
    assert after["margin"] < before["margin"] - 0.2 and after["top1"] < before["top1"]
    assert probe_accuracy(list(collapsed)) > 95


def test_a_neutral_model_is_recognised():
    """Without the languages' own constants cosine, margin and retrieval rise, and the probe falls to chance."""
    tagged, neutral = space(1.0, 1.0), space(1.0, 0.0)
    before, after = mean_scores(tagged), mean_scores(neutral)
    assert all(after[name] > before[name] for name in ("cosine", "margin", "top1"))
    assert probe_accuracy(list(tagged)) > 85 and probe_accuracy(list(neutral)) < 45
    assert abs(probe_accuracy(list(neutral)) - 25) < 15


def test_improvement_by_hand():
    assert improvement(Pair("a", "b", 0.6, 0, 0, 0), Pair("a", "b", 0.5, 0, 0, 0)) == pytest.approx(20)
    assert improvement(Pair("a", "b", 0.1, 0, 0, 0), Pair("a", "b", -0.1, 0, 0, 0)) == pytest.approx(200)
    # A ratio to nearly nothing would be infinite, and its sign chance.
    for nothing in (0.0, 0.009, -0.009):
        assert np.isnan(improvement(Pair("a", "b", 0.5, 0, 0, 0), Pair("a", "b", nothing, 0, 0, 0)))


def test_a_baseline_is_encoded_once_and_has_a_block_of_its_own(tmp_path, monkeypatch):
    """Models of an ablation share a cache; what differs in depth is compared at the block that is right for each."""
    data = save_verses(tmp_path / "data", ("deu_Latn", "rus_Cyrl"))
    shallow = save_encoder(tmp_path / "shallow", num_hidden_layers=2)
    models = [save_encoder(tmp_path / f"deep{number}", num_hidden_layers=5 + number) for number in range(2)]
    calls = []
    real = features.mean_pooled
    monkeypatch.setattr(
        features, "mean_pooled", lambda texts, model, *rest, **named: calls.append(model.config.name_or_path)
        or real(texts, model, *rest, **named),
    )  # fmt: skip
    shared = {"baseline": shallow, "langs": ["eng_Latn", "deu_Latn", "rus_Cyrl"], "cache_folder": tmp_path / "cache"}
    for model in models:
        found = analyze_neutrality(model, data / "sr_bible", tmp_path / model.name / "out", **shared)
    assert found["model"]["layer"] == 4 and found["baseline"]["layer"] == 1, "two thirds up of each"
    assert calls.count(str(shallow)) == 3 and all(calls.count(str(model)) == 3 for model in models)
    calls.clear()
    found = analyze_neutrality(models[0], data / "sr_bible", tmp_path / "other", layer=4, baseline_layer=2, **shared)
    assert (found["model"]["layer"], found["baseline"]["layer"]) == (4, 2) and len(calls) == 6


def test_a_picture_of_many_languages_is_no_larger(tmp_path, monkeypatch):
    """Sides grow up to 24 inches, and above 30 languages no number is written into a cell."""
    sizes, written = [], []
    monkeypatch.setattr(Axes, "text", lambda axes, x, y, text, **style: written.append(text))
    monkeypatch.setattr(Figure, "savefig", lambda figure, stream, **how: sizes.append(max(figure.get_size_inches())))
    for count in (10, 30, 31, 500):
        written.clear()
        values = np.random.default_rng(0).normal(size=count * (count - 1) // 2)
        _heat_map([f"l{number}_Latn" for number in range(count)], values.tolist(), "improvement", tmp_path)
        assert len(written) == (len(values) if count <= 30 else 0)
    assert sizes[0] < sizes[2] < sizes[4] < sizes[6] <= 24


def test_data_of_both_layouts(tmp_path):
    for tag, shift in (("eng_Latn", 0), ("zho_Hans", 1), ("swh_Latn", 2), ("rus_Cyrl", 0)):
        rows = [f"{number}\ttopic\t{tag} {number}" for number in range(shift, 14)]
        (tmp_path / "tsv" / tag).mkdir(parents=True)
        (tmp_path / "tsv" / tag / "test.tsv").write_text("index_id\tcategory\ttext\n" + "\n".join(rows) + "\n")
        (tmp_path / "txt").mkdir(exist_ok=True)
        (tmp_path / "txt" / f"{tag}.txt").write_text("".join(f"{n}\t{tag} {n}\n" for n in range(shift, 14)))
    for kind in ("tsv", "txt"):
        texts, missing = read_parallel(tmp_path / kind, (), 0)
        assert list(texts) == ["eng_Latn", "rus_Cyrl", "zho_Hans", "swh_Latn"] and len(texts["eng_Latn"]) == 12
        assert [rows[0].split()[1] for rows in texts.values()] == ["10"] * 4 and "jpn_Jpan" in missing
        with pytest.raises(FileNotFoundError, match="no fra_Latn"):
            read_parallel(tmp_path / kind, ["fr"], 0)
        with pytest.raises(ValueError, match="at least 3 of the requested languages, but has 2"):
            read_parallel(tmp_path / kind, ["eng_Latn", "rus_Cyrl"], 0)
    (tmp_path / "txt" / "rus_Cyrl.txt").write_text("5\ttext\n")
    with pytest.raises(ValueError, match="at least 10 sentences in all of .* but has 1"):
        read_parallel(tmp_path / "txt", (), 0)


def test_files_and_command(demo, exported, trained, tmp_path):
    data, langs = demo / "corpus" / "aligned", "eng_Latn,deu_Latn,hin_Deva,rus_Cyrl"
    output = run(
        "langsamp", "analyze", "neutrality", exported, "--baseline", trained, "--data", data, "--langs", langs,
        "--layer", 2, "--out", tmp_path / "out",
    )  # fmt: skip
    assert "4 languages" in output and "the probe's chance is 25.0 %" in output
    with open(tmp_path / "out" / "neutrality.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6 and all(float(row["improvement_percent"]) == 0 for row in rows), "a model and its checkpoint"
    result = json.loads((tmp_path / "out" / "neutrality.json").read_text())
    assert result["model"] == {**result["baseline"]} and result["model"]["layer"] == 2
    assert (tmp_path / "out" / "neutrality.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in (tmp_path / "out" / "neutrality.svg").read_bytes()
    alone = analyze_neutrality(exported, data, tmp_path / "alone", langs=langs.split(","), limit=20)
    assert alone["baseline"] is None and alone["sentences"] == 20 and len(alone["model"]["pairs"]) == 6
