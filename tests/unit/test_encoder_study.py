"""The rules and the statistics of examples/ablation's encoder study, on results that are written by hand."""

import json

import numpy as np
import pytest
from scipy.stats import t
from support import ROOT

TAGS = ("deu_Latn", "eng_Latn", "rus_Cyrl", "tat_Cyrl", "wol_Latn", "bam_Latn", "kab_Latn")
SEEDS = (1, 2, 3)


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples" / "ablation")


def put(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def write_model(folder, name, scores):
    """Write what Study reads of a model: one number per language stands for each score."""
    put(folder / "models" / name / "done", "")
    rows = [f"tag\t{tag}\t{value}" for tag, value in scores.items()]
    put(folder / "models" / name / "validation" / "9.tsv", "\n".join(["kind\tname\tloss_bits", *rows]) + "\n")
    by_tag = {tag: {"top1": [value], "top10": [value]} for tag, value in scores.items() if tag != "eng_Latn"}
    result = {"scores": by_tag, "sizes": dict.fromkeys(by_tag, 50), "by_layer": {"0": by_tag, "1": by_tag}}
    put(folder / "results" / name / "sr_tatoeba.json", result)
    put(folder / "frozen" / f"{name}.json", {"sib200": {"zero_shot": scores, "chance": 10.0}})


@pytest.fixture
def folder(tmp_path):
    """Scores of three seeds of two arms of one length, and one seed of another arm."""
    draw = np.random.default_rng(0)
    put(tmp_path / "languages.tsv", "tag\tgroup\ttasks\n" + "".join(f"{tag}\ttail\tsib200\n" for tag in TAGS))
    put(tmp_path / "plan", "lengths=5,9\nseeds=1,2,3\narms=vanilla both shuffled\n")
    known = dict(zip(TAGS, (80.0, 90.0, 70.0, 60.0, 20.0, 15.0, 12.0)))
    write_model(tmp_path / "untouched", "untouched", known)
    for seed in SEEDS:
        noise = dict(zip(TAGS, draw.normal(0, 3, len(TAGS))))
        for arm, gain in (("vanilla", 0.0), ("both", 1.0)):
            own = draw.normal(0, 0.1, len(TAGS))
            scores = {tag: known[tag] + noise[tag] + gain * seed + extra for tag, extra in zip(TAGS, own)}
            write_model(tmp_path / "updates-9", f"{arm}-{seed}", scores)
    write_model(tmp_path / "updates-9", "shuffled-1", known)
    return tmp_path


def test_who_takes_part():
    from languages import choose

    tasks = {
        "deu_Latn": {"sib200", "pos"},
        "rus_Cyrl": {"sib200"},
        "wol_Latn": {"ner", "pos"},
        "zul_Latn": {"ner", "pos"},
    }
    corpus = {"deu_Latn", "rus_Cyrl", "wol_Latn", "eng_Latn"}
    assert choose(corpus, tasks) == ["deu_Latn", "eng_Latn", "wol_Latn"], "one task is too few; zul has no text"
    assert choose(corpus, tasks, everything=True) == sorted(corpus)


def test_what_the_encoder_knew():
    from languages import known

    found = known(
        {"deu_Latn": [(100.0, 50), (51.0, 50)], "wol_Latn": [(2.0, 50)]}, {"eng_Latn": 80.0, "wol_Latn": 45.0}, 10.0
    )
    assert found["deu_Latn"] == pytest.approx((1 + 49 / 98) / 2)
    assert found["wol_Latn"] == pytest.approx((0 + 35 / 70) / 2) and found["eng_Latn"] == pytest.approx(1.0)


def test_differences_are_paired_by_seed(folder):
    """The interval is that of a paired t test over seeds, wider than one over languages alone; the mean is by hand."""
    from study import METRICS, Study

    study = Study(folder)
    scores = study.scores(METRICS[1], 9)
    gain = study.difference(scores, "both", "vanilla")
    tags = [tag for tag in TAGS if tag != "eng_Latn"]
    gains = np.array([[scores["both"][seed][tag] - scores["vanilla"][seed][tag] for tag in tags] for seed in SEEDS])
    assert gain.mean == pytest.approx(gains.mean()) and gain.mean == pytest.approx(2.0, abs=0.2)
    by_seed = gains.mean(1)
    half = t.ppf(0.975, 2) * by_seed.std(ddof=1) / 3**0.5
    assert gain.high - gain.mean == pytest.approx(half, rel=0.05), "seeds differ most here"
    assert gain.about == "models" and gain.low < 0 < gain.high, "three seeds that differ this much say little"
    control = study.difference(scores, "shuffled", "vanilla")
    assert control.about == "this run" and control.p is None, "one seed tests nothing"
    assert study.difference(scores, "even", "vanilla") is None


def test_groups_by_what_was_known(folder):
    from study import METRICS, Study

    study = Study(folder)
    assert study.members("known badly", list(TAGS)) == ["wol_Latn", "bam_Latn", "kab_Latn"]
    assert study.members("known well", list(TAGS)) == ["deu_Latn", "eng_Latn", "rus_Cyrl", "tat_Cyrl"]
    probes = study.scores(METRICS[3], 9)
    assert "eng_Latn" not in probes["both"][1], "the source of a probe is not a target"
    badly = study.difference(probes, "both", "untouched", "known badly")
    assert badly.languages == 3


def test_an_incomplete_study_is_reported(folder):
    from study import METRICS, Study
    from tables_encoder import (
        difference_table,
        direction,
        finetuned_table,
        layer_tables,
        length_table,
        score_table,
        test_table,
    )

    study = Study(folder)
    missing = study.missing()
    assert "vanilla-1 of 5 updates" in missing and "shuffled-2 of 9 updates" in missing
    assert "measurements of both-1 of 9 updates" in missing, "neutrality is not measured"
    table = "\n".join(score_table(study, 9))
    assert "| unchanged encoder | - | 49.571 |" in table and "| + both | 3 |" in table and "even" not in table
    assert [line.split(" | ")[0] for line in test_table(study)[2:]] == [
        "| held-out loss, bits",
        "| SR-T, top-1",
        "| SIB200",
    ]
    assert "shuffled is" in direction(study)[0] and len(length_table(study)) == 2 + len(METRICS)
    layers = layer_tables(study, "SR-T, top-1", 9)
    assert layers[0].count("|") == 6 and len(layers) == 4 + 3 * 7 and layer_tables(study, "SR-B, top-10", 9) == []
    assert [line for line in layers if line.startswith("Differences")] == [
        f"Differences from vanilla, {group}:" for group in ("all languages", "tail", "head")
    ]
    gain = study.difference(study.runs[9].layers("sr_tatoeba", "top1")[1], "both", "vanilla", "tail")
    assert f"{gain.mean:+.2f}" in layers[layers.index("Differences from vanilla, tail:") + 5], "block 1"
    assert "known badly (3)" in difference_table(study, METRICS[3], 9, "vanilla")[0]
    put(folder / "updates-9" / "results" / "both-1" / "ner.json", {"scores": {"wol_Latn": {"f1": [40.0, 50.0]}}})
    assert finetuned_table(study, study.runs[9])[2:] == ["| + both | - | - | 45.00 | - |"]
    arm, length, mean = study.best()
    expected = np.mean([np.mean(study.mean(study.scores(METRICS[number], 9), "both")) for number in (1, 3)])
    assert (arm, length) == ("both", 9) and mean == pytest.approx(expected), "of SR-T and SIB200, as none has SR-B"


def test_the_seven_tests_are_corrected_together(folder):
    from study import Study
    from tables_encoder import tests

    found = [gain for _, gain in tests(Study(folder))]
    assert len(found) == 3
    smallest = min(found, key=lambda gain: gain.p)
    assert smallest.adjusted == pytest.approx(min(1.0, 3 * smallest.p))


def test_every_measurement_depends_on_the_data_of_its_tasks(tmp_path, monkeypatch):
    import measure_encoder

    tasks = ("sr_tatoeba", "sr_bible", "sib200", "taxi1500", "ner", "pos")
    for task in tasks:
        for tag in TAGS:
            put(tmp_path / "data" / task / tag / "test.tsv", task)
    put(tmp_path / "both-1" / "models" / "both-1" / "checkpoint_last.pt", "")
    monkeypatch.setattr(measure_encoder, "drop_optimizer", lambda checkpoint: None)
    monkeypatch.setattr(measure_encoder, "read_config", lambda folder: {"num_hidden_layers": 2})

    def settings():
        found = {}
        monkeypatch.setattr(
            measure_encoder, "unless_there", lambda path, what, made_from, make: found.update({what: made_from})
        )
        one = measure_encoder.Measurements(tmp_path / "both-1", "both-1", tmp_path / "data", 40, list(TAGS), "float32")
        one.retrieval(), one.probes(), one.neutrality()
        return found

    before, changed = settings(), set()
    assert len(before) == 6
    for task in tasks:
        put(tmp_path / "data" / task / "wol_Latn" / "test.tsv", "other text")
        after = settings()
        different = {what for what in before if before[what] != after[what]}
        assert different and len(different) < len(before), task
        changed, before = changed | different, after
    assert changed == set(before)
