"""Collections as they are downloaded: what is not understood is left out and listed, and nothing slips in."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from small_texts import ENGLISH, GERMAN, HINDI, ROMAN_HINDI, RUSSIAN, put, rows, texts
from support import WITHOUT_FAIRSEQ, run

from langsamp_plugin.corpus.sources import find_sources
from langsamp_plugin.corpus.writer import write_corpus


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
    assert "identified as srp_Latn by script: sr" in output


def test_scripts_that_only_lists_know_are_believed(tmp_path):
    """FLORES-200 has Acehnese in Arabic letters and Kashmiri in Devanagari; English in Arabic letters is a mistake."""
    arabic = ["هذا كتاب قديم جدا عن تاريخ المدينة", "نلتقي غدا في السوق صباحا"]
    for name, lines in (("ace", arabic), ("min", arabic), ("kas", HINDI), ("eng", arabic)):
        put(tmp_path / "src" / f"{name}.txt", lines)
    write_corpus(tmp_path / "src", tmp_path / "out")
    assert list(texts(tmp_path / "out")) == ["ace_Arab", "eng_Latn", "kas_Deva", "min_Arab"]


def test_a_bad_name_does_not_stop_the_rest(tmp_path):
    for name in ("acr_Latn_removed", "simple", "be", "be-x-old", "fiu", "de", "validation"):
        put(tmp_path / "src" / name / "data.txt", RUSSIAN if name.startswith("be") else GERMAN)
    output = run("langsamp", "corpus", tmp_path / "src", "--out", tmp_path / "out")
    assert list(texts(tmp_path / "out")) == ["bel_Cyrl", "deu_Latn"]
    for name in ("acr_Latn_removed", "simple", "fiu", "validation"):
        assert f"{tmp_path / 'src' / name}: " in output
    assert "left out (4)" in output and "merged as bel_Cyrl: be be-x-old" in output
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
    """A bomb: 100 MB in one line of a file of 440 KB."""
    (tmp_path / "src").mkdir()
    with gzip.open(tmp_path / "src" / "deu_Latn.txt.gz", "wb", compresslevel=1) as stream:
        stream.write(b"Vorher\n")
        for _ in range(100):
            stream.write(b"x" * 1_000_000)
        stream.write(b"\nNachher\n")
    code = (
        f"{WITHOUT_FAIRSEQ}\nimport resource, sys\nfrom langsamp_plugin.corpus.writer import write_corpus\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "write_corpus(sys.argv[1], sys.argv[2])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    output = subprocess.check_output([sys.executable, "-c", code, tmp_path / "src", tmp_path / "out"], text=True)
    assert int(output.split()[-1]) < 20_000, "kilobytes"
    assert texts(tmp_path / "out") == {"deu_Latn": ["Vorher", "Nachher"]}
