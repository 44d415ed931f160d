"""Tables from results whose numbers are known."""

import csv
import math

import numpy as np
import pytest

from langsamp_plugin.evaluation.results import Result, load_result
from langsamp_plugin.report.comparison import Groups, cell, difference
from langsamp_plugin.report.report import Report, load_results

TAGS = ("deu_Latn", "rus_Cyrl", "ace_Latn", "ace_Arab")  # two heads, two tails


def result(model, values, task="sib200", **changes):
    """A result with a list of values (one per seed) per language."""
    fields = {
        "task": task, "model": model, "metric": "f1", "source": "eng_Latn", "seeds": [42, 43], "settings": {"lr": 1e-5},
        "scores": {tag: {"f1": row, "accuracy": row} for tag, row in zip(TAGS, values)}, "sizes": dict.fromkeys(TAGS,
        204),
        "not_scored": {}, "notes": [], "by_layer": {}, "curves": {}, "provenance": {"data_hash": "x"},
    }  # fmt: skip
    return Result(**{**fields, **changes})


ONE = result("base_line", [[80, 82], [60, 64], [20, 30], [10, 12]])
TWO = result("langsamp", [[82, 84], [59, 63], [30, 40], [20, 24]])


def test_groups_by_hand():
    report = Report([ONE, TWO])
    cells = {(model, group): part for _, model, row in report.summary() for group, part in row.items()}
    # Mean over languages of each seed, then over seeds; the deviation is of the seeds' means.
    assert cells["base_line", "head"].mean == pytest.approx(71.5)
    assert cells["base_line", "head"].std == pytest.approx(np.std([70, 73], ddof=1))
    assert cells["base_line", "tail"].mean == pytest.approx(18) and cells["langsamp", "tail"].mean == pytest.approx(
        28.5
    )
    assert cells["base_line", "Latn"].mean == pytest.approx(53) and cells[
        "base_line", "non-Latn"
    ].mean == pytest.approx(36.5)
    assert cells["base_line", "all"].mean == pytest.approx(44.75) and cells["base_line", "all"].languages == 4
    assert str(cells["base_line", "head"]) == "71.5 ± 2.1"
    assert report.best() == {("sib200", "langsamp", group) for group in Groups.names}
    assert ONE.mean("f1") == pytest.approx(44.75)


def test_bold_goes_to_the_better_one():
    report = Report([ONE, result("other", [[90, 90], [90, 90], [0, 0], [0, 0]])])
    assert {(model, group) for _, model, group in report.best()} == {
        ("other", "head"), ("base_line", "tail"), ("base_line", "Latn"), ("other", "non-Latn"), ("other", "all"),
    }  # fmt: skip
    assert "**71.5 ± 2.1**" not in report.markdown() and "**90.0 ± 0.0**" in report.markdown()


def test_bootstrap_against_scipy():
    from scipy.stats import bootstrap, norm

    generator = np.random.default_rng(3)
    tags = [f"{first}{second}a_Latn" for first in "abcdef" for second in "abcdefgh"]
    base = generator.normal(50, 20, len(tags))
    gains = generator.normal(1.0, 3.0, len(tags))
    one, two = (
        result(name, [], scores={tag: {"f1": [value]} for tag, value in zip(tags, values)}, seeds=[])
        for name, values in (("one", base), ("two", base + gains))
    )
    found = difference(one, two, tags, "f1")
    expected = bootstrap((gains,), np.mean, n_resamples=10_000, method="percentile", rng=1).confidence_interval
    assert found.mean == pytest.approx(gains.mean()) and found.languages == 48
    assert found.low == pytest.approx(expected.low, abs=0.06) and found.high == pytest.approx(expected.high, abs=0.06)
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    assert found.p == pytest.approx(2 * norm.sf(abs(gains.mean()) / error), abs=0.03)
    assert difference(one, two, tags, "f1") == found, "the same resamples every time"
    assert difference(two, one, tags, "f1").mean == pytest.approx(-gains.mean())
    assert difference(one, one, tags, "f1").p == 1.0


def test_only_shared_languages_are_compared():
    partial = result("partial", [[82, 84], [59, 63], [30, 40]], not_scored={"ace_Arab": "its test file is empty"})
    report = Report([ONE, partial])
    assert report.shared["sib200"] == ["ace_Latn", "deu_Latn", "rus_Cyrl"]
    cells = dict(report.summary()[0][2])
    assert cells["all"].languages == 3 and cells["all"].mean == pytest.approx((81 + 62 + 25) / 3)
    notes = "\n".join(report.notes())
    assert "1 languages only base_line has are not in the summary: ace_Arab" in notes
    assert "partial: ace_Arab not scored, its test file is empty" in notes
    assert "| ace_Arab | tail | 204 | 11.0 | - |" in report.markdown()


def test_models_without_a_language_in_common(tmp_path):
    """A report without that picture, where drawing no point at all would end in an error."""
    other = result("other", [])._replace(scores={"fra_Latn": {"f1": [50, 52]}}, sizes={"fra_Latn": 204})
    report = Report([ONE, other])
    assert [path.name for path in report.save(tmp_path) if path.suffix == ".png"] == []
    assert "| fra_Latn | head | 204 | - | 51.0 |" in report.markdown() and len(report.notes()) == 2


def test_what_does_not_compare_is_said():
    other = result("other", [[1, 1]] * 4, settings={"lr": 1e-4}, source="deu_Latn", provenance={"data_hash": "y"})
    notes = "\n".join(Report([ONE, other]).notes())
    assert "NOT RUN WITH THE SAME SETTINGS" in notes and "not scored on the same data" in notes
    assert not Report([ONE, TWO]).notes()
    with pytest.raises(ValueError, match="2 results of base_line on sib200: evaluate with --name"):
        Report([ONE, ONE])


def test_other_groups(tmp_path):
    (tmp_path / "groups.tsv").write_text("lang_script\thead\nace_Latn\t1\ndeu_Latn\t0\n")
    groups = Groups.load(tmp_path / "groups.tsv")
    assert groups.members("head", TAGS) == ["ace_Latn"]
    (tmp_path / "groups.tsv").write_text("tag\tgroup\n")
    with pytest.raises(ValueError, match="columns lang_script and head"):
        Groups.load(tmp_path / "groups.tsv")
    assert math.isnan(cell(ONE, [], "f1").mean) and str(cell(ONE, [], "f1")) == "-"


def test_files(tmp_path):
    for one in (ONE, TWO, result("base_line", [[3]] * 4, "sr_bible", seeds=[], metric="accuracy")):
        one.save(tmp_path / "results")
    loaded = load_results([tmp_path / "results"])
    assert len(loaded) == 3 and loaded[1]._asdict() == ONE._asdict()
    files = Report(loaded).save(tmp_path / "report")
    assert all(path.stat().st_size > 100 for path in files) and len(files) == 7
    with open(tmp_path / "report" / "summary.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    tail = next(row for row in rows if row["model"] == "langsamp" and row["group"] == "tail")
    assert float(tail["mean"]) == 28.5 and tail["languages"] == "2"
    latex = (tmp_path / "report" / "summary.tex").read_text()
    assert r"base\_line" in latex and r"\textbf{28.5 $\pm$ 4.9}" in latex and latex.count("&") % 6 == 0
    assert (tmp_path / "report" / "sib200.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ValueError, match="bad.json is no result"):
        load_result(tmp_path / "bad.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no results in it"):
        load_results([tmp_path / "empty"])
