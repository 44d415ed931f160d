"""Where doubtful lines go: by letters, by a model that knows languages, and by both."""

import os

import pytest
from small_texts import ENGLISH, GERMAN, HINDI, ROMAN_HINDI, RUSSIAN, put, texts
from warm_commands import run_warm

from langsamp_plugin.corpus import judging, parts
from langsamp_plugin.corpus.check import check_corpus
from langsamp_plugin.corpus.decisions import Rules, read_thresholds
from langsamp_plugin.corpus.identification import load_identifier
from langsamp_plugin.corpus.writer import write_corpus


def mixed(folder):
    put(folder / "deu_Latn.txt", [*GERMAN * 5, *ENGLISH, *RUSSIAN, "123 456"])
    put(folder / "hin_Deva.txt", [*HINDI * 5, *ROMAN_HINDI])
    put(folder / "rus_Cyrl.txt", [*RUSSIAN * 5, GERMAN[0]])
    put(folder / "kbh_Latn.txt", ["Ats oyebambnam tbomenoye jtsemngnan", "Bndata iuabonan"])
    return folder


def test_lines_go_where_they_belong(tmp_path, lid):
    src = mixed(tmp_path / "src")
    written = write_corpus(src, tmp_path / "out", rules=Rules(lid))
    found = texts(tmp_path / "out")
    assert found["deu_Latn"] == [*GERMAN * 5, "123 456", GERMAN[0]] and found["eng_Latn"] == ENGLISH
    assert found["rus_Cyrl"] == [*RUSSIAN, *RUSSIAN * 5], "in the order of the sources"
    assert found["kbh_Latn"] == texts(src)["kbh_Latn"], "a language that the model does not know is not judged"
    table = (tmp_path / "out" / "decisions.tsv").read_text(encoding="utf-8").splitlines()
    assert table[0].startswith("tag\tdecision\tto\twhy\tlines\tsample_1")
    assert f"deu_Latn\tmoved\teng_Latn\tin eng\t2\t{ENGLISH[0]}\t{ENGLISH[1]}" in table
    checked = check_corpus(src, rules=Rules(lid))
    assert checked.decisions == written.decisions and checked.reports[0].kept == 11
    for wrong, expected in (
        ("drop", {"deu_Latn", "hin_Deva", "kbh_Latn", "rus_Cyrl"}),
        ("und", {"und_Latn", "und_Cyrl"}),
    ):
        write_corpus(src, tmp_path / "out", rules=Rules(lid, wrong=wrong))
        names = set(texts(tmp_path / "out"))
        assert expected <= names and "eng_Latn" not in names, "nothing is left of the run before"


def test_scripts_alone(tmp_path):
    src = mixed(tmp_path / "src")
    write_corpus(src, tmp_path / "out", rules=Rules(script_share=0.5))
    found = texts(tmp_path / "out")
    assert found["hin_Deva"] == HINDI * 5 and found["hin_Latn"] == ROMAN_HINDI
    assert found["und_Cyrl"] == RUSSIAN and found["deu_Latn"] == [*GERMAN * 5, *ENGLISH, "123 456"]
    write_corpus(src, tmp_path / "out", rules=Rules(script_share=0.5, wrong="drop"))
    assert set(texts(tmp_path / "out")) == {"deu_Latn", "hin_Deva", "kbh_Latn", "rus_Cyrl"}


UNKNOWN_LANGUAGE = [  # of languages that lid.176 does not know: Inuktitut, Chin and Kamsa
    "Kisitchisutiaktait suliurinikkut ilitarijaujut tamainnut",
    "Cha khoang yah kheneh tzo chi nang",
    "Nu ats tajëjë bëngbe luarents ndoknay",
]


def test_a_text_shows_what_the_model_knows_of_its_language(tmp_path, lid):
    """A line without any German among German is something else, regardless of the model's label."""
    put(tmp_path / "src" / "deu_Latn.txt", [*GERMAN * 10, *UNKNOWN_LANGUAGE])
    labels = load_identifier(lid).identify
    assert all(labels(line)[0].probability < 0.8 for line in UNKNOWN_LANGUAGE), "no label is believed"
    write_corpus(tmp_path / "src", tmp_path / "out", rules=Rules(lid))
    assert texts(tmp_path / "out") == {"deu_Latn": GERMAN * 10, "und_Latn": UNKNOWN_LANGUAGE}
    # The control: in a text of the unknown language nothing of German is seen, and nothing is concluded.
    put(tmp_path / "other" / "deu_Latn.txt", UNKNOWN_LANGUAGE * 10)
    write_corpus(tmp_path / "other", tmp_path / "none", rules=Rules(lid))
    assert texts(tmp_path / "none") == {"deu_Latn": UNKNOWN_LANGUAGE * 10}


def test_a_language_that_the_model_takes_for_another(tmp_path, lid):
    """lid.176 has a label for Scots and calls much of it English, with a probability that it has for English, too."""
    scots = [
        "Naebody shal be hauden in thirldom or slavery; slavery and the trade in slaves shal be forbidden",
        "Awbody hes the richt tae awn gear his lane as weel as in commonty wi ithers.",
        "The wee lass gaed doon tae the burn wi her brither yestreen.",
        "Whit wey are ye no comin tae the toun the morn?",
    ]
    put(tmp_path / "src" / "sco_Latn.txt", scots)
    assert max(label.probability for line in scots for label in load_identifier(lid).identify(line)) > 0.8
    write_corpus(tmp_path / "src", tmp_path / "out", rules=Rules(lid))
    assert texts(tmp_path / "out") == {"sco_Latn": scots}
    # A text that is in one other language from end to end is that language, at the threshold that is asked for.
    put(tmp_path / "whole" / "sco_Latn.txt", ENGLISH * 3)
    write_corpus(tmp_path / "whole", tmp_path / "moved", rules=Rules(lid))
    assert texts(tmp_path / "moved") == {"eng_Latn": ENGLISH * 3}


def test_labels_that_name_no_language_are_unknown(tmp_path, monkeypatch):
    """Models have classes for noise and non-standard labels: neither becomes the name of a file."""
    import fasttext

    class Model:
        def predict(self, line, k):
            name = "zxx_Latn" if "noise" in line else "xx/../custom" if "odd" in line else "deu_Latn"
            return [f"__label__{name}"], [0.99]

    (tmp_path / "model.bin").write_bytes(b"")
    monkeypatch.setattr(fasttext, "load_model", lambda path: Model())
    put(tmp_path / "src" / "deu_Latn.txt", [*GERMAN * 5, "noise noise noise noise", "odd odd odd odd odd"])
    write_corpus(tmp_path / "src", tmp_path / "out", rules=Rules(tmp_path / "model.bin"))
    assert set(texts(tmp_path / "out")) == {"deu_Latn", "und_Latn"}


def test_lines_go_to_the_tag_that_the_corpus_has(tmp_path, lid):
    arabic = ["يولد جميع الناس أحرارا متساوين في الكرامة والحقوق", "لكل فرد حق الحياة والحرية وسلامة شخصه"]
    put(tmp_path / "src" / "arb_Arab.txt", arabic)
    put(tmp_path / "src" / "deu_Latn.txt", [*GERMAN * 5, arabic[0]])
    written = write_corpus(tmp_path / "src", tmp_path / "out", rules=Rules(lid))
    assert texts(tmp_path / "out") == {"arb_Arab": [*arabic, arabic[0]], "deu_Latn": GERMAN * 5}
    assert check_corpus(tmp_path / "src", rules=Rules(lid)).decisions == written.decisions


def test_check_judges_what_would_be_read(tmp_path, lid):
    """Lines that `langsamp corpus` leaves out are listed by check, and not judged."""
    src = tmp_path / "src"
    src.mkdir()
    (src / "deu_Latn.txt").write_bytes("".join(f"{line}\n" for line in [*GERMAN, *ENGLISH]).encode() + b"sch\xf6n\n")
    checked = check_corpus(src, rules=Rules(lid))
    written = write_corpus(src, tmp_path / "out", rules=Rules(lid))
    assert checked.decisions == written.decisions and checked.left_out == written.left_out
    assert checked.reports[0].replacement == 1 and checked.reports[0].lines == 5


def test_long_lines_are_judged_few_at_a_time():
    sizes = [len(batch) for batch in judging.batches("x" * 400_000 for _ in range(10))]
    assert sizes == [3, 3, 3, 1] and [len(batch) for batch in judging.batches(["a"] * 2500)] == [1000, 1000, 500]


def test_thresholds(tmp_path, lid):
    src = mixed(tmp_path / "src")
    (tmp_path / "limits.tsv").write_text("eng\t1.0\n# Russian as the others\nrus_Cyrl\t0.5\n")
    single = read_thresholds(tmp_path / "limits.tsv")
    write_corpus(src, tmp_path / "out", rules=Rules(lid, thresholds=single))
    found = texts(tmp_path / "out")
    assert set(ENGLISH) <= set(found["deu_Latn"]) and not set(RUSSIAN) & set(found["deu_Latn"])
    (tmp_path / "limits.tsv").write_text("eng\t7\n")
    with pytest.raises(ValueError, match="line 1.*between 0 and 1"):
        read_thresholds(tmp_path / "limits.tsv")


def test_same_output_for_any_number_of_workers_and_after_a_kill(tmp_path, lid, monkeypatch):
    src = mixed(tmp_path / "src")
    rules = Rules(lid, script_share=0.5)
    one = write_corpus(src, tmp_path / "one", rules=rules, dedup=True)
    two = write_corpus(src, tmp_path / "two", rules=rules, dedup=True, workers=2)
    assert one == two and texts(tmp_path / "one") == texts(tmp_path / "two")
    real, done = parts.judge, []

    def killed(lines, tag, rules):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(tag)
        return real(lines, tag, rules)

    monkeypatch.setattr(parts, "judge", killed)
    with pytest.raises(KeyboardInterrupt):
        write_corpus(src, tmp_path / "three", rules=rules, dedup=True)
    assert not list((tmp_path / "three").glob("*.txt")), "half a corpus must not look complete"
    again = []
    monkeypatch.setattr(parts, "judge", lambda lines, tag, rules: again.append(tag) or real(lines, tag, rules))
    assert write_corpus(src, tmp_path / "three", rules=rules, dedup=True) == one
    assert texts(tmp_path / "three") == texts(tmp_path / "one") and len(again) == 2 and not set(again) & set(done)
    again.clear()
    assert write_corpus(src, tmp_path / "three", rules=rules, dedup=True) == one and not again
    assert not (tmp_path / "three" / ".parts").exists()


def test_check_writes_nothing_unasked(tmp_path):
    mixed(tmp_path / "src")
    before = sorted(tmp_path.rglob("*"))
    command = ["langsamp", "check", str(tmp_path / "src"), "--script-share", "0.5"]
    status, printed = run_warm(command, tmp_path, {**os.environ})
    assert status == 0 and sorted(tmp_path.rglob("*")) == before
    header = next(line for line in printed.splitlines() if "main_script" in line).split()
    assert {"main_script", "main_language", "kept"} <= set(header) and len(header) == len(set(header))
    assert "moved" in printed and "letters in Latn" in printed
