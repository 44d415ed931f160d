"""Tables from results whose numbers are known."""

import csv
import json
import math

import numpy as np
import pytest
from known_results import ONE, TAGS, TWO, result, rows_of

from langsamp_plugin.evaluation.results import load_result
from langsamp_plugin.report.exchange import card_metadata, mteb_result
from langsamp_plugin.report.files import save_report
from langsamp_plugin.report.groups import Groups
from langsamp_plugin.report.latex import report_latex
from langsamp_plugin.report.loading import load_results
from langsamp_plugin.report.markdown import report_markdown
from langsamp_plugin.report.notes import report_notes
from langsamp_plugin.report.plots import MOST_PANELS, LanguageScores, most_different, picture_title
from langsamp_plugin.report.report import Report, cell
from langsamp_plugin.report.statistics import compare, holm
from langsamp_plugin.report.text import report_text


def test_groups_by_hand():
    report = Report([ONE, TWO])
    cells = rows_of(report)
    # Mean over languages of each seed, then over seeds; the deviation is of the seeds' means.
    assert cells["base_line", "head"].mean == pytest.approx(71.5)
    assert cells["base_line", "head"].std == pytest.approx(np.std([70, 73], ddof=1))
    assert cells["base_line", "tail"].mean == pytest.approx(18)
    assert cells["langsamp", "tail"].mean == pytest.approx(28.5)
    assert cells["base_line", "Latn"].mean == pytest.approx(53)
    assert cells["base_line", "non-Latn"].mean == pytest.approx(36.5)
    assert cells["base_line", "all"].mean == pytest.approx(44.75) and cells["base_line", "all"].languages == 4
    assert str(cells["base_line", "head"]) == "71.5 ± 2.1"
    assert report.best == {("sib200", "langsamp", group) for group in Groups.names}
    assert ONE.mean("f1") == pytest.approx(44.75)


def test_bold_goes_to_the_better_one():
    report = Report([ONE, result("other", [[90, 90], [90, 90], [0, 0], [0, 0]])])
    assert {(model, group) for _, model, group in report.best} == {
        ("other", "head"), ("base_line", "tail"), ("base_line", "Latn"), ("other", "non-Latn"), ("other", "all"),
    }  # fmt: skip
    assert "**71.5 ± 2.1**" not in report_markdown(report) and "**90.0 ± 0.0**" in report_markdown(report)


def test_correction_is_over_the_report():
    generator = np.random.default_rng(2)
    tags = [f"{first}{second}a_Latn" for first in "abcdef" for second in "abcdefgh"]
    base = generator.normal(50, 20, len(tags))
    models = [
        result(name, [], scores={tag: {"f1": [value]} for tag, value in zip(tags, base + shift)}, seeds=[])
        for name, shift in (("one", 0), ("two", generator.normal(1, 3, 48)), ("three", generator.normal(0.5, 3, 48)))
    ]
    rows = Report(models).comparisons
    assert len(rows) == len({(row.model, row.group) for row in rows}) == 6
    assert [row.gain.adjusted for row in rows] == holm([row.gain.p for row in rows])
    assert all(row.gain.adjusted >= row.gain.p for row in rows)


def test_one_baseline_for_all_tasks():
    """The direction of a comparison never changes between tasks; a task without the baseline is shown without a
    test."""
    old, new = result("old", [[5, 6]] * 4, "ner"), result("new", [[7, 8]] * 4, "ner")
    report = Report([ONE, result("new", [[1, 2]] * 4), result("old", [[3, 4]] * 4), old, new])
    assert {(row.task, row.baseline) for row in report.comparisons} == {("sib200", "base_line")}
    assert any("base_line has no result" in note for note in report_notes(report))
    report = Report([old, new, ONE, result("new", [[1, 2]] * 4)], baseline="new")
    assert {(row.task, row.model) for row in report.comparisons} == {("sib200", "base_line"), ("ner", "old")}
    with pytest.raises(ValueError, match="--baseline must be one of base_line, langsamp, but is 'nobody'"):
        Report([ONE, TWO], baseline="nobody")


def test_other_metrics():
    spans = {tag: {"f1": [50, 51], "f1_spans": [40, 41]} for tag in TAGS}
    report = Report([result("one", [], "pos", scores=spans)], metrics={"pos": "f1_spans"})
    assert rows_of(report)["one", "all"].mean == 40.5 and "POS (f1_spans)" in report_text(report)
    with pytest.raises(ValueError, match="--metric of pos must be one of f1, f1_spans, but is 'bleu'"):
        Report([result("one", [], "pos", scores=spans)], metrics={"pos": "bleu"})


def test_the_papers_numbers_beside_ours():
    report = Report([ONE, TWO, result("base_line", [[3]] * 4, "sr_bible", seeds=[])], published=True)
    text = report_markdown(report)
    assert "| LangSAMP (paper) | - | - | - | - | 75.9 |" in text and "| LangSAMP (paper) | 39.5 | 61.3 | 42.8 |" in text
    assert "2 of the paper's 172 languages" in text.replace("3 of", "3 of") or "of the paper's 172 languages" in text
    assert not any(row.published for row in Report([ONE]).summary)
    assert all(model in ("base_line", "langsamp") for _, model, _ in report.best)


def test_only_shared_languages_are_compared():
    partial = result("partial", [[82, 84], [59, 63], [30, 40]], not_scored={"ace_Arab": "its test file is empty"})
    report = Report([ONE, partial])
    assert report.shared["sib200"] == ["ace_Latn", "deu_Latn", "rus_Cyrl"]
    cells = report.summary[0].cells
    assert cells["all"].languages == 3 and cells["all"].mean == pytest.approx((81 + 62 + 25) / 3)
    notes = "\n".join(report_notes(report))
    assert "1 languages scored only for base_line are not in the summary: ace_Arab" in notes
    assert "partial: ace_Arab not scored, its test file is empty" in notes
    assert "| ace_Arab | tail | 204 | 11.0 | - |" in report_markdown(report)


def test_models_without_a_language_in_common(tmp_path):
    other = result("other", [])._replace(scores={"fra_Latn": {"f1": [50, 52]}}, sizes={"fra_Latn": 204})
    with pytest.raises(ValueError, match="no language has scores of all models"):
        Report([ONE, other])
    # Where another task has some, the picture of the empty one is left out and a note says why.
    report = Report([ONE, other, result("base_line", [[5, 6]] * 4, "ner"), result("other", [[5, 6]] * 4, "ner")])
    assert [path.name for path in save_report(report, tmp_path) if path.suffix == ".png"] == ["ner.png"]
    assert "| fra_Latn | head | 204 | - | 51.0 |" in report_markdown(report)
    assert any(note.startswith("\u26a0 SIB200: no language") for note in report_notes(report))


def test_what_does_not_compare_is_said():
    other = result("other", [[1, 1]] * 4, settings={"lr": 1e-4}, source="deu_Latn", provenance={"data_hash": "y"})
    notes = "\n".join(report_notes(Report([ONE, other])))
    assert "\u26a0 SIB200: the models were run with different settings" in notes
    assert "scored on different data" in notes
    assert not report_notes(Report([ONE, TWO]))
    with pytest.raises(ValueError, match="base_line must have one result on sib200, but has 2"):
        Report([ONE, ONE])


def test_head_is_what_the_authors_call_so():
    """Their list differs from the languages of XLM-R, and per task; SR-B has Kurmanji as tail, and NER Alemannic."""
    groups = Groups()
    assert not groups.is_head("kmr_Latn", "sr_bible") and not groups.is_head("gsw_Latn", "ner")
    assert groups.is_head("deu_Latn", "sr_bible") and groups.is_head("deu_Latn")
    assert groups.members("tail", ["kmr_Latn", "deu_Latn"], "sr_bible") == ["kmr_Latn"]


def test_other_groups(tmp_path, shared=None):
    for header in ("lang_script\thead\n", ""):  # the authors' files have no header line
        (tmp_path / "groups.tsv").write_text(f"{header}ace_Latn\t1\ndeu_Latn\t0\n")
        groups = Groups.load(tmp_path / "groups.tsv")
        assert groups.members("head", TAGS) == ["ace_Latn"]
    (tmp_path / "groups.tsv").write_text("tag\tgroup\n")
    with pytest.raises(ValueError, match="columns lang_script and head"):
        Groups.load(tmp_path / "groups.tsv")
    assert math.isnan(cell(ONE, [], "f1").mean) and str(cell(ONE, [], "f1")) == "-"


def test_effect_per_family():
    families = {"deu": "Germanic", "nld": "Germanic", "rus": "Slavic", "ukr": "Slavic"}
    scores = {"deu_Latn": 1, "nld_Latn": 3, "rus_Cyrl": 10, "ukr_Cyrl": 20}
    zero = result("zero", [], scores={tag: {"f1": [0.0, 0.0]} for tag in scores})
    some = result("some", [], scores={tag: {"f1": [float(value)] * 2} for tag, value in scores.items()})
    rows = Report([zero, some], families=families).family_effects
    assert [(row.family, row.languages, row.gain) for row in rows] == [
        ("Germanic", 2, 2.0), ("Slavic", 2, 15.0), ("mean of families", 4, 8.5)
    ]  # fmt: skip


def test_files(tmp_path):
    for one in (ONE, TWO, result("base_line", [[3]] * 4, "sr_bible", seeds=[], metric="accuracy")):
        one.save(tmp_path / "results")
    loaded = load_results([tmp_path / "results"])
    assert len(loaded) == 3 and loaded[1]._asdict() == ONE._asdict()
    files = save_report(Report(loaded), tmp_path / "report")
    assert all(path.stat().st_size > 40 for path in files) and len(files) == 8
    with open(tmp_path / "report" / "summary.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    tail = next(row for row in rows if row["model"] == "langsamp" and row["group"] == "tail")
    assert float(tail["mean"]) == 28.5 and tail["languages"] == "2"
    latex = (tmp_path / "report" / "summary.tex").read_text()
    assert latex == report_latex(Report(loaded))
    assert r"base\_line" in latex and r"\textbf{28.5 $\pm$ 4.9}" in latex and latex.count("&") % 6 == 0
    assert (tmp_path / "report" / "sib200.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ValueError, match="bad.json is not a result"):
        load_result(tmp_path / "bad.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no results in it"):
        load_results([tmp_path / "empty"])


def test_pictures_of_many_models(tmp_path):
    models = [result(f"m{number}", [[number, 2], [3, 4], [5, 6], [7, 8]]) for number in range(5)]
    save_report(Report(models), tmp_path)
    assert (tmp_path / "sib200.png").stat().st_size > 10_000


def test_results_of_equal_settings_merge(tmp_path):
    """Languages and seeds from several jobs join; other settings have another file; nothing is overwritten."""
    first = result("hf", [[1, 2], [3, 4]])
    more = result("hf", [], scores={"ace_Latn": {"f1": [5, 6], "accuracy": [5, 6]}}, sizes={"ace_Latn": 9})
    path = first.save(tmp_path)
    assert more.save(tmp_path) == path
    joined = load_result(path)
    assert set(joined.scores) == {"deu_Latn", "rus_Cyrl", "ace_Latn"} and joined.seeds == [42, 43]
    third = result("hf", [[7], [8], [9]], seeds=[44])
    third.save(tmp_path)
    joined = load_result(path)
    assert joined.seeds == [42, 43, 44] and joined.scores["deu_Latn"]["f1"] == [1, 2, 7]
    alone = result("hf", [[7]], seeds=[45])  # a seed that one language has only: kept, and not in the scores
    alone.save(tmp_path)
    joined = load_result(path)
    assert joined.seeds == [42, 43, 44] and joined.incomplete == {"deu_Latn": {"45": {"f1": 7, "accuracy": 7}}}
    before = path.read_bytes()
    quick = result("hf", [[0, 0]] * 4, settings={"lr": 1e-5, "limit": 10}).save(tmp_path)
    assert quick != path and path.read_bytes() == before
    assert {one.model for one in load_results([tmp_path])} == {"hf [limit None]", "hf [limit 10]"}
    # Jobs with separate folders are merged in the report.
    result("hf", [[1], [2], [3], [4]], seeds=[1]).save(tmp_path / "a")
    result("hf", [[5], [6], [7], [8]], seeds=[2]).save(tmp_path / "b")
    (one,) = load_results([tmp_path / "a", tmp_path / "b"])
    assert one.seeds == [1, 2] and one.scores["deu_Latn"]["f1"] == [1, 5]


def test_formats_of_other_tools():
    import yaml

    found = mteb_result(ONE)
    assert found["task_name"] == "SIB200" and len(found["scores"]["test"]) == 4
    german = next(row for row in found["scores"]["test"] if row["hf_subset"] == "deu_Latn")
    assert german["main_score"] == pytest.approx(0.81) and german["languages"] == ["deu-Latn"]
    assert [row["f1"] for row in german["scores_per_experiment"]] == [0.8, 0.82]
    card = yaml.safe_load(card_metadata([ONE]))
    (index,) = card["model-index"]
    assert index["name"] == "base_line" and len(index["results"]) == 4
    json.dumps(found, allow_nan=False)


def test_a_report_is_reckoned_once(monkeypatch):
    from langsamp_plugin.report import report as module

    calls = []
    monkeypatch.setattr(module, "compare", lambda *args, **kw: calls.append(1) or compare(*args, **kw))
    report = Report([ONE, TWO])
    report_text(report), report_markdown(report), report.comparisons
    assert len(calls) == 5


def test_pictures_of_many_models_say_what_they_leave_out():
    models = [f"model{number}" for number in range(20)]
    rows = [LanguageScores(tag, False, [50.0 + (number == 7) + number / 100 for number in range(20)]) for tag in TAGS]
    shown = most_different(rows, len(models))
    assert len(shown) == MOST_PANELS and 7 in shown and shown == sorted(shown)
    assert not {1, 2, 3} & set(shown), "those nearest to the baseline are left out"
    title = picture_title(rows, models, "SIB200", "f1", len(shown))
    assert (
        f"{MOST_PANELS} of 19 models, those whose means differ most; all are in summary.csv and languages.csv" in title
    )
    assert "labels: the 8 languages that differ most" in picture_title(rows * 5, models[:2], "SIB200", "f1", 1)
