"""Evaluation data as people have them; every fault is named with its file."""

import json

import pytest

from langsamp_plugin.evaluation.reading.aligned import (
    Pairs,
    read_aligned,
    read_flores,
    read_parallel_files,
    read_tatoeba,
    read_verses,
)
from langsamp_plugin.evaluation.reading.archives import task_folder
from langsamp_plugin.evaluation.reading.belebele import read_belebele
from langsamp_plugin.evaluation.reading.classified import read_classified
from langsamp_plugin.evaluation.reading.labelled import Labelled, find_labelled
from langsamp_plugin.evaluation.reading.lines import all_lines, unquoted
from langsamp_plugin.evaluation.reading.names import tag_of
from langsamp_plugin.evaluation.reading.tagged import read_tagged
from langsamp_plugin.evaluation.tasks import TASKS
from langsamp_plugin.lang_script import LangScript

GERMAN = LangScript("deu", "Latn")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))
    return path


def test_verses_are_joined_by_id(tmp_path):
    write(tmp_path / "eng_Latn.txt", "1\tone\n2\ttwo\n3\tthree\n")
    write(tmp_path / "deu_Latn.txt", "3\tdrei\n1\teins\n9\tneun\n")
    write(tmp_path / "fra_Latn.txt", "8\thuit\n")
    write(tmp_path / "hin_Deva.txt", "")
    pairs, unusable, _ = read_verses(tmp_path)
    assert pairs == {GERMAN: (["one", "three"], ["eins", "drei"])}
    assert unusable == {"fra_Latn": "no sentence has an id that English has", "hin_Deva": "the file is empty"}
    (tmp_path / "eng_Latn.txt").unlink()
    with pytest.raises(FileNotFoundError, match="no eng_Latn.txt"):
        read_verses(tmp_path)


def test_bibles_have_comments_and_verses_without_text(tmp_path):
    write(tmp_path / "eng_Latn.txt", "\ufeff# language_name:\tEnglish\n1\tone\n2\ttwo\n")
    write(tmp_path / "deu_Latn.txt", "# language_name: German\n1\teins\n2\t\n")
    write(tmp_path / "fra_Latn.txt", "text\n")
    write(tmp_path / "zzz_Latn.txt", "1\tx\n")
    pairs, unusable, notes = read_verses(tmp_path)
    assert pairs == {GERMAN: (["one"], ["eins"])} and notes == ["1 verses of deu_Latn have no text and were skipped"]
    assert "fra_Latn.txt, line 1" in unusable["fra_Latn"] and "zzz_Latn" in unusable["zzz_Latn.txt"]


@pytest.mark.parametrize(
    ("line", "message"), [("no tab here", "line 2.*id<tab>text"), ("a\tagain", "line 2.*a unique id")]
)
def test_malformed_aligned_files(tmp_path, line, message):
    write(tmp_path / "eng_Latn.txt", f"a\ttext\n{line}\n")
    with pytest.raises(ValueError, match=message):
        read_aligned(tmp_path / "eng_Latn.txt")


def test_tatoeba(tmp_path):
    write(tmp_path / "tatoeba.deu-eng.deu", "eins\n\ndrei\n")
    write(tmp_path / "tatoeba.deu-eng.eng", "one\ntwo\nthree\n")
    write(tmp_path / "tatoeba.srp-eng.srp", "jedan\n")
    write(tmp_path / "tatoeba.srp-eng.eng", "one\n")
    write(tmp_path / "tatoeba.fra-eng.eng", "one\n")
    write(tmp_path / "index.tsv", "code\tlang_script\nsrp\tsrp_Latn\n")
    pairs, unusable, _ = read_tatoeba(tmp_path)
    assert pairs[GERMAN] == (["one", "two", "three"], ["eins", "", "drei"]), "an empty line keeps its place"
    assert set(pairs) == {GERMAN, LangScript("srp", "Latn")} and unusable == {"fra": "tatoeba.fra-eng.fra is missing"}
    write(tmp_path / "tatoeba.deu-eng.deu", "eins\n")
    pairs, unusable, _ = read_tatoeba(tmp_path)
    assert "tatoeba.deu-eng.deu must have as many lines as tatoeba.deu-eng.eng (3), but has 1" in unusable["deu_Latn"]


def test_of_two_files_for_one_language_none_wins_silently(tmp_path):
    """LASER has dtp and kzj, which ISO 639-3 has retired into dtp."""
    for code, word in (("dtp", "own"), ("kzj", "other")):
        write(tmp_path / f"tatoeba.{code}-eng.{code}", f"{word}\n")
        write(tmp_path / f"tatoeba.{code}-eng.eng", "one\n")
    write(tmp_path / "index.tsv", "code\ttag\nkzj\tdtp_Latn\n")
    pairs, unusable, _ = read_tatoeba(tmp_path)
    assert pairs[LangScript("dtp", "Latn")].other == ["own"]
    (why,) = unusable.values()
    assert "tatoeba.kzj-eng.kzj" in why and "tatoeba.dtp-eng.dtp" in why


def test_layouts_of_the_authors_scripts(tmp_path):
    write(tmp_path / "t" / "tatoeba.deu_Latn-eng_Latn.deu_Latn", "eins\n")
    write(tmp_path / "t" / "tatoeba.deu_Latn-eng_Latn.eng_Latn", "one\n")
    assert read_tatoeba(tmp_path / "t").pairs == {GERMAN: Pairs(["one"], ["eins"])}
    write(tmp_path / "b" / "bible.deu_Latn-eng_Latn.deu_Latn", "eins\n")
    write(tmp_path / "b" / "bible.deu_Latn-eng_Latn.eng_Latn", "one\n")
    assert read_verses(tmp_path / "b").pairs == {GERMAN: Pairs(["one"], ["eins"])}
    assert read_parallel_files(tmp_path / "b", "bible.").pairs
    write(tmp_path / "n" / "train-eng_Latn.tsv", "a\tO\n")
    write(tmp_path / "n" / "dev-eng_Latn.tsv", "a\tO\n")
    write(tmp_path / "n" / "test-deu_Latn.tsv", "a\tO\n")
    write(tmp_path / "n" / "fra_Latn_test.tsv", "a\tO\n")
    write(tmp_path / "n" / "it" / "test", "a O\n")
    files, _ = find_labelled(tmp_path / "n", wikipedia=True)
    assert {str(tag): sorted(splits) for tag, splits in files.items()} == {
        "deu_Latn": ["test"], "eng_Latn": ["dev", "train"], "fra_Latn": ["test"], "ita_Latn": ["test"]
    }  # fmt: skip


def test_flores_and_belebele(tmp_path):
    write(tmp_path / "f" / "devtest" / "eng_Latn.devtest", "one\ntwo\n")
    write(tmp_path / "f" / "devtest" / "deu_Latn.devtest", "eins\nzwei\n")
    assert read_flores(tmp_path / "f").pairs == {GERMAN: Pairs(["one", "two"], ["eins", "zwei"])}
    for tag, words in (("eng_Latn", ("one", "one", "two")), ("deu_Latn", ("eins", "eins", "zwei"))):
        rows = [{"link": "x", "question_number": n, "flores_passage": word} for n, word in enumerate(words)]
        write(tmp_path / "b" / f"{tag}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert read_belebele(tmp_path / "b").pairs == {GERMAN: Pairs(["one", "two"], ["eins", "zwei"])}


@pytest.mark.parametrize("header", ["id\tlabel\ttext\n", "index_id\tcategory\ttext\n", ""])
def test_classified(tmp_path, header):
    path = write(tmp_path / "deu_Latn" / "test.tsv", f'{header}1\tSin\tEin "Satz\n2\tGrace\tNoch einer\n')
    assert read_classified(path) == Labelled(['Ein "Satz', "Noch einer"], ["Sin", "Grace"])
    write(path, f"{header}1\tSin\n")
    with pytest.raises(ValueError, match=r"test\.tsv, line \d: must be id<tab>label<tab>text"):
        read_classified(path)


def test_quotes_as_pandas_reads_them(tmp_path):
    text = 'id\tlabel\ttext\n1\ta\t"He said ""no""."\n2\tb\t"Whole"\n3\ta\tan "inner" one\n4\tb\t"one" and "two"\n'
    read = read_classified(write(tmp_path / "test.tsv", text)).texts
    assert read == ['He said "no".', "Whole", 'an "inner" one', '"one" and "two"']
    assert unquoted('"') == '"' and unquoted('""') == ""


@pytest.mark.parametrize(
    "header, row",
    [
        ("\ufeffindex_id\tcategory\ttext", "1\ta\tthe text"),
        ("ID\tLabel\tText", "1\ta\tthe text"),
        ("\tlanguage_code\tlabel\tverse_id\ttext", "0\tdeu\ta\t40001001\tthe text"),
        ("verse_id\tlabel\tverse", "40001001\ta\tthe text"),
    ],
)
def test_a_header_is_never_data(tmp_path, header, row):
    path = write(tmp_path / "test.tsv", f"{header}\r\n{row}\r\n")
    assert read_classified(path) == Labelled(["the text"], ["a"])


@pytest.mark.parametrize("header", ["id\ttopic_name\tcontents", "index_id\ttext"])
def test_a_header_that_is_not_understood_is_refused(tmp_path, header):
    path = write(tmp_path / "test.tsv", f"{header}\n1\ta\tthe text\n")
    with pytest.raises(ValueError, match="has no column"):
        read_classified(path)


def test_a_column_too_many_is_refused(tmp_path):
    for text in ("1\ta\tthe text\tmore\n", "id\tlabel\ttext\n1\ta\tthe\ttext\n"):
        with pytest.raises(ValueError, match=r"test\.tsv, line \d: must have no more columns .* has 4"):
            read_classified(write(tmp_path / "test.tsv", text))


def test_only_line_feeds_end_a_line(tmp_path):
    assert all_lines(write(tmp_path / "x", "\ufeffone\rstill\r\ntwo\u2028still\x85\nthree")) == [
        "one\rstill", "two\u2028still\x85", "three"
    ]  # fmt: skip


@pytest.mark.parametrize("separator", [" ", "\t"])
def test_tagged(tmp_path, separator):
    path = write(tmp_path / "test.txt", f"Ab{separator}B-PER\nzu{separator}O\n\n\nx:y{separator}O\n")
    assert read_tagged(path) == Labelled([["Ab", "zu"], ["x:y"]], [["B-PER", "O"], ["O"]])
    write(path, f"de:Ab{separator}B-PER\nde:zu:r{separator}O\n")
    assert read_tagged(path).texts == [["Ab", "zu:r"]], "WikiANN's prefix of every token"
    write(path, "".join(f"zh-yue:{word}{separator}O\n" for word in "abcdefgh") + f"bare{separator}O\n")
    assert read_tagged(path).texts == [[*"abcdefgh", "bare"]], "longer prefixes, and a line without"
    write(path, f"Ab{separator}B-PER\n{separator}O\nzu{separator}O\n")
    assert read_tagged(path).texts == [["Ab", "zu"]], "a label without a token"
    write(path, f"Ab{separator}B-PER\nallein\n")
    with pytest.raises(ValueError, match=r"test\.txt, line 2: must be a token and its label"):
        read_tagged(path)


def test_column_formats(tmp_path):
    conllu = (
        "# sent_id = 1\n# text = a b\n1-2\tzum\t_\t_\t_\t_\t_\t_\t_\t_\n1\tzu\tzu\tADP\t_\t_\t_\t_\t_\t_\n"
        "2\tdem\tder\tDET\t_\t_\t_\t_\t_\t_\n2.1\tx\tx\tVERB\t_\t_\t_\t_\t_\t_\n\n"
    )
    assert read_tagged(write(tmp_path / "a.conllu", conllu)) == Labelled([["zu", "dem"]], [["ADP", "DET"]])
    with pytest.raises(ValueError, match=r"line 1: must be a token and its label, .*four columns"):
        read_tagged(write(tmp_path / "b.txt", "EU NNP B-NP B-ORG\n"))
    with pytest.raises(ValueError, match=r"c\.txt, line 2: label \"Doctors'I-ORG\" is not O"):
        read_tagged(write(tmp_path / "c.txt", "A B-ORG\n1487 Doctors'I-ORG\n"))
    with pytest.raises(ValueError, match=r"d\.txt, line 2: label \"'\""):
        read_tagged(write(tmp_path / "d.txt", "A B-ORG\n248 '\n"))


def test_codes_of_wikipedias():
    for code, tag in (("als", "gsw_Latn"), ("bat-smg", "sgs_Latn"), ("zh-min-nan", "nan_Latn"), ("sh", "hbs_Latn")):
        assert str(tag_of(code, wikipedia=True)) == tag
    assert str(tag_of("als_Latn", wikipedia=True)) == "als_Latn"
    with pytest.raises(ValueError, match="simple"):
        tag_of("simple", wikipedia=True)


def test_sib200_as_pandas_reads_it(shared, tmp_path):
    """Quotes are CSV's in its files: 41 of 701 English training texts differ from their raw columns."""
    files, _ = find_labelled(task_folder(TASKS["sib200"], shared / "data" / "eval", tmp_path))
    path = files[LangScript("eng", "Latn")]["train"]
    raw = [line.split("\t")[2] for line in all_lines(path)[1:]]
    assert sum(one != other for one, other in zip(raw, read_classified(path).texts)) == 41


def test_a_part_of_a_file_has_all_of_its_labels():
    """Published test files are sorted by label: their first lines would be a single class."""
    rows = Labelled([str(number) for number in range(100)], ["a"] * 60 + ["b"] * 40)
    assert set(rows.labels[:30]) == {"a"}
    part = rows.evenly(10)
    assert part.texts == [str(number) for number in range(0, 100, 10)] and part.labels == ["a"] * 6 + ["b"] * 4
    assert rows.evenly(0) is rows and rows.evenly(100) is rows and len(rows.evenly(33).texts) == 33
    verses = Pairs([str(number) for number in range(7900)], [str(number) for number in range(7900)])
    assert verses.evenly(500).other[:3] == ["0", "15", "31"] and len(verses.evenly(500).other) == 500
