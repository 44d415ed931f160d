"""Source languages by embedding, against numpy, and with both sources through the evaluation."""

import numpy as np
import pytest
import torch
from support import QUICK, run

from langsamp_plugin.analysis.source_languages import analyze_sources, choose_sources
from langsamp_plugin.checkpoint.tables import TagTables
from langsamp_plugin.evaluation.results import load_result
from langsamp_plugin.evaluation.run import evaluate
from langsamp_plugin.lang_script import LangScript, LanguageTable, ScriptTable
from langsamp_plugin.report.loading import load_results

CODES, SCRIPTS = ["eng", "deu", "nld", "rus", "ukr"], ["Latn", "Cyrl"]


def tags(*names):
    return [LangScript.parse(name) for name in names]


@pytest.fixture
def tables():
    torch.manual_seed(0)
    return TagTables(LanguageTable(CODES), ScriptTable(SCRIPTS), torch.randn(5, 8), torch.randn(2, 8) * 3)


@pytest.mark.parametrize("with_script", [False, True])
def test_choices_against_numpy(tables, with_script):
    targets = tags("nld_Latn", "ukr_Cyrl", "deu_Latn", "eng_Latn")
    candidates = tags("eng_Latn", "deu_Latn", "rus_Cyrl")
    choices, unknown = choose_sources(tables, [*targets, *tags("fra_Latn")], candidates, with_script)

    def vector(tag):
        row = tables.lang_weight[CODES.index(tag.language)].numpy()
        return row + tables.script_weight[SCRIPTS.index(tag.script)].numpy() if with_script else row

    assert unknown == tags("fra_Latn") and [choice.target for choice in choices] == targets
    for choice in choices:
        own = vector(choice.target)
        cosines = {
            tag: own @ vector(tag) / np.linalg.norm(own) / np.linalg.norm(vector(tag))
            for tag in candidates if tag != choice.target
        }  # fmt: skip
        assert choice.source == max(cosines, key=cosines.get) and choice.cosine == pytest.approx(
            max(cosines.values()), abs=1e-6
        )
    if with_script:
        assert {choice.target.script == choice.source.script for choice in choices} == {True}


def test_models_that_cannot_choose(tables):
    with pytest.raises(ValueError, match="no language table"):
        choose_sources(tables._replace(languages=LanguageTable([])), tags("deu_Latn"), tags("eng_Latn"))
    with pytest.raises(ValueError, match="none of the 1 candidates is among the 5 languages"):
        choose_sources(tables, tags("deu_Latn"), tags("fra_Latn"))


def test_both_ways_through_the_evaluation(eval_data, exported, tmp_path):
    choices, unknown, (english, nearest), notes = analyze_sources(
        exported, "sib200", eval_data, tmp_path, candidates=["deu_Latn", "rus_Cyrl"], run=True, **QUICK
    )
    assert not unknown and [str(choice.target) for choice in choices] == [
        "deu_Latn",
        "hin_Deva",
        "rus_Cyrl",
    ]
    assert {str(choice.target): str(choice.source) for choice in choices}["deu_Latn"] == "rus_Cyrl"
    for choice in choices:
        (alone,) = evaluate(
            exported,
            eval_data,
            tmp_path / "alone",
            ["sib200"],
            name=str(choice.source),
            source=str(choice.source),
            **QUICK,
        )
        assert nearest.scores[str(choice.target)] == alone.scores[str(choice.target)]
    (plain,) = evaluate(exported, eval_data, tmp_path / "alone", ["sib200"], **QUICK)
    assert english.scores == {tag: plain.scores[tag] for tag in english.scores} != nearest.scores
    assert any("eng_Latn is not a target" in note for note in notes)
    assert "the nearest source of 0 % of the targets is English itself" in notes
    assert "eng_Latn" not in english.scores and "eng_Latn" not in nearest.scores
    # Parts are not results: a report of the folder has only the two sources.
    assert [result.model for result in load_results([tmp_path])] == ["english", "nearest"]
    assert load_result(tmp_path / "nearest" / "sib200.json").source == "the nearest language"
    lines = (tmp_path / "sources.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["target", "source", "cosine", "english"] and len(lines) == 4


def test_command(eval_data, exported, tmp_path):
    command = ("langsamp", "analyze", "sources", exported, "--data", eval_data, "--out", tmp_path / "out")
    output = run(*command, "--task", "pos", "--langs", "hin_Deva,rus_Cyrl")
    assert "2 targets" in output and (tmp_path / "out" / "sources.tsv").is_file()
    refused = run(*command, "--task", "sr_bible", expect=2)
    assert "--task must be one of taxi1500," in refused and ", but is sr_bible" in refused
    output = run(*command, "--task", "pos", "--langs", "hin_Deva", "--run", "--epochs", 1, "--seeds", 1, "--limit", 20)
    assert "nearest - english" in output


def test_of_equal_candidates_the_script_decides():
    """Rows are of languages, so both scripts of one are equally near: Indonesian takes Minangkabau in Latin script."""
    table = TagTables(
        LanguageTable(["eng", "ind", "min"]), ScriptTable(["Arab", "Latn"]),
        torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]), torch.zeros(2, 2),
    )  # fmt: skip
    candidates = tags("eng_Latn", "min_Arab", "min_Latn")
    (choice,), _ = choose_sources(table, tags("ind_Latn"), candidates)
    assert str(choice.source) == "min_Latn"
    (choice,), _ = choose_sources(table, tags("ind_Arab"), candidates)
    assert str(choice.source) == "min_Arab"


def test_rows_that_were_never_trained_are_not_compared(tables):
    trained = tags("eng_Latn", "deu_Latn", "nld_Latn")
    choices, unknown = choose_sources(
        tables, tags("nld_Latn", "ukr_Cyrl"), tags("eng_Latn", "rus_Cyrl"), trained=trained
    )
    assert [str(choice.source) for choice in choices] == ["eng_Latn"] and unknown == tags("ukr_Cyrl")
    with pytest.raises(ValueError, match="or the 3 that it was trained on"):
        choose_sources(tables, tags("nld_Latn"), tags("rus_Cyrl"), trained=trained)
