"""Evaluation data as people have them; every fault is named with its file."""

import shutil
import tarfile

import pytest

from langsamp_plugin.evaluation.task_data import (
    Labelled,
    find_labelled,
    read_aligned,
    read_classified,
    read_tagged,
    read_tatoeba,
    read_verses,
    task_folder,
)
from langsamp_plugin.evaluation.tasks import TASKS, describe_tasks
from langsamp_plugin.lang_script import LangScript

GERMAN = LangScript("deu", "Latn")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_verses_are_joined_by_id(tmp_path):
    write(tmp_path / "eng_Latn.txt", "1\tone\n2\ttwo\n3\tthree\n")
    write(tmp_path / "deu_Latn.txt", "3\tdrei\n1\teins\n9\tneun\n")
    write(tmp_path / "fra_Latn.txt", "8\thuit\n")
    write(tmp_path / "hin_Deva.txt", "")
    pairs, unusable = read_verses(tmp_path)
    assert pairs == {GERMAN: (["one", "three"], ["eins", "drei"])}
    assert unusable == {"fra_Latn": "no sentence has an id that English has", "hin_Deva": "the file is empty"}
    (tmp_path / "eng_Latn.txt").unlink()
    with pytest.raises(FileNotFoundError, match="no eng_Latn.txt"):
        read_verses(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"), [("no tab here", "line 2.*id<tab>text"), ("a\tagain", "line 2.*id of its own")]
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
    pairs, unusable = read_tatoeba(tmp_path)
    assert pairs[GERMAN] == (["one", "two", "three"], ["eins", "", "drei"]), "an empty line keeps its place"
    assert set(pairs) == {GERMAN, LangScript("srp", "Latn")} and unusable == {"fra": "tatoeba.fra-eng.fra is missing"}
    write(tmp_path / "tatoeba.deu-eng.deu", "eins\n")
    with pytest.raises(ValueError, match="tatoeba.deu-eng.deu has 1 lines, but tatoeba.deu-eng.eng 3"):
        read_tatoeba(tmp_path)


@pytest.mark.parametrize("header", ["id\tlabel\ttext\n", "index_id\tcategory\ttext\n", ""])
def test_classified(tmp_path, header):
    path = write(tmp_path / "deu_Latn" / "test.tsv", f'{header}1\tSin\tEin "Satz\n2\tGrace\tNoch einer\n')
    assert read_classified(path) == Labelled(['Ein "Satz', "Noch einer"], ["Sin", "Grace"])
    write(path, f"{header}1\tSin\n")
    with pytest.raises(ValueError, match=r"test\.tsv, line \d: must be id<tab>label<tab>text"):
        read_classified(path)


@pytest.mark.parametrize("separator", [" ", "\t"])
def test_tagged(tmp_path, separator):
    path = write(tmp_path / "test.txt", f"Ab{separator}B-PER\nzu{separator}O\n\n\nx:y{separator}O\n")
    assert read_tagged(path) == Labelled([["Ab", "zu"], ["x:y"]], [["B-PER", "O"], ["O"]])
    write(path, f"de:Ab{separator}B-PER\nde:zu:r{separator}O\n")
    assert read_tagged(path).texts == [["Ab", "zu:r"]], "WikiANN's prefix of every token"
    write(path, f"Ab{separator}B-PER\nallein\n")
    with pytest.raises(ValueError, match=r"test\.txt, line 2: must be a token and its label"):
        read_tagged(path)


def test_archives_are_unpacked_once(tmp_path):
    write(tmp_path / "ner" / "deu_Latn" / "test.txt", "Ab O\n")
    packed = tmp_path / "data" / "ner"
    packed.mkdir(parents=True)
    with tarfile.open(packed / "ner.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "ner", "ner")
    folder = task_folder(TASKS["ner"], tmp_path / "data", tmp_path / "cache")
    assert list(find_labelled(folder)) == [GERMAN]
    mark = write(folder / "mark", "kept")
    assert task_folder(TASKS["ner"], tmp_path / "data", tmp_path / "cache") == folder and mark.is_file()
    # One that would write elsewhere is refused, and leaves nothing.
    with tarfile.open(packed / "ner.tar.xz", "w:xz") as archive:
        archive.add(mark, "../../escaped")
    with pytest.raises(ValueError, match="ner.tar.xz is damaged"):
        task_folder(TASKS["ner"], tmp_path / "data", tmp_path / "cache")
    assert not list(tmp_path.rglob("escaped")) and len(list((tmp_path / "cache").iterdir())) == 1
    (packed / "ner.tar.xz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="ner.tar.xz is damaged"):
        task_folder(TASKS["ner"], tmp_path / "data", tmp_path / "cache")
    # A folder of the one task is as good as a folder of folders.
    shutil.copytree(tmp_path / "ner", tmp_path / "alone")
    assert task_folder(TASKS["ner"], tmp_path / "alone", tmp_path / "cache") == tmp_path / "alone"
    with pytest.raises(FileNotFoundError, match="evaluate --list"):
        task_folder(TASKS["ner"], tmp_path / "none", tmp_path / "cache")


def test_every_task_says_what_it_is():
    text = describe_tasks()
    for task in TASKS.values():
        assert task.name in text and task.layout in text and task.licence in text and task.citation in text
    assert "seeds 42 43 44 45" in text and "batch 8 x 4" in text


def test_shared_data_are_read(shared, tmp_path):
    """All six sets in the layouts of their publishers; the counts are those of the collection's README."""
    data = shared / "data" / "eval"
    verses, unusable = read_verses(task_folder(TASKS["sr_bible"], data, tmp_path))
    assert len(verses) == 33 and not unusable and len(verses[LangScript("glv", "Latn")].other) == 128
    pairs, unusable = read_tatoeba(task_folder(TASKS["sr_tatoeba"], data, tmp_path))
    assert len(pairs) == 84 and not unusable and sum(len(part.other) for part in pairs.values()) == 65_418
    for task, languages, read, sentences in (
        ("taxi1500", 34, read_classified, 111), ("sib200", 154, read_classified, 204), ("pos", 10, read_tagged, 1000),
    ):  # fmt: skip
        files = find_labelled(task_folder(TASKS[task], data, tmp_path))
        assert len(files) == languages and len(read(files[LangScript("eng", "Latn")]["test"]).texts) == sentences
    ner = find_labelled(task_folder(TASKS["ner"], data, tmp_path))
    assert len(ner) == 15 and len(read_tagged(ner[LangScript("pcm", "Latn")]["train"]).texts) == 5646


def test_a_part_of_a_file_has_all_of_its_labels():
    """Published test files are sorted by label: their first lines would be a single class."""
    rows = Labelled([str(number) for number in range(100)], ["a"] * 60 + ["b"] * 40)
    assert set(rows.labels[:30]) == {"a"}
    part = rows.thinned(10)
    assert part.texts == [str(number) for number in range(0, 100, 10)] and part.labels == ["a"] * 6 + ["b"] * 4
    assert rows.thinned(0) is rows and rows.thinned(100) is rows and len(rows.thinned(33).texts) == 33
