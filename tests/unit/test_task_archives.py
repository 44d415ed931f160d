"""Tasks and their languages: built-in ones, a user's own, data in archives."""

import json
import shutil
import tarfile

import pytest

from langsamp_plugin.evaluation.own_task import find_tasks, read_task
from langsamp_plugin.evaluation.paper_languages import of_the_paper, paper_languages, paper_tag, wanted_languages
from langsamp_plugin.evaluation.reading.aligned import (
    read_tatoeba,
    read_verses,
)
from langsamp_plugin.evaluation.reading.archives import task_folder
from langsamp_plugin.evaluation.reading.classified import read_classified
from langsamp_plugin.evaluation.reading.labelled import find_labelled
from langsamp_plugin.evaluation.reading.tagged import read_tagged
from langsamp_plugin.evaluation.tasks import TASKS, describe_tasks
from langsamp_plugin.lang_script import LangScript

GERMAN = LangScript("deu", "Latn")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))
    return path


def test_a_folder_that_is_no_language_leaves_the_others(tmp_path):
    for name in ("simple", "de", "zzzz"):
        write(tmp_path / name / "test", "a O\n")
    files, left_out = find_labelled(tmp_path, wikipedia=True)
    assert list(files) == [GERMAN] and set(left_out) == {"simple", "zzzz"}


def test_archives_are_unpacked_once(tmp_path):
    write(tmp_path / "ner" / "deu_Latn" / "test.txt", "Ab O\n")
    packed = tmp_path / "data" / "ner"
    packed.mkdir(parents=True)
    with tarfile.open(packed / "ner.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "ner", "ner")
    folder = task_folder(TASKS["ner"], tmp_path / "data", tmp_path / "cache")
    assert list(find_labelled(folder)[0]) == [GERMAN]
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
    assert "seeds 42 43 44 45" in text and "batch 8 x 4" in text and "batch 8 x 2" in text and "no clipping" in text


def test_the_published_lists():
    sizes = {task: (len(tags) - sum(tags.values()), sum(tags.values())) for task, tags in paper_languages().items()}
    assert sizes == {
        "sr_bible": (275, 94), "sr_tatoeba": (28, 70), "taxi1500": (264, 90), "sib200": (94, 78), "ner": (75, 89),
        "pos": (28, 63),
    }  # fmt: skip
    for task, (tail, head) in sizes.items():
        assert TASKS[task].languages == f"{tail + head} ({tail}/{head})"
    assert paper_languages()["ner"]["gsw_Latn"] is False and paper_tag("sr_tatoeba", "arb_Arab") == "ara_Arab"
    assert paper_tag("sib200", "zho_Hans") is None and of_the_paper("sib200", ["deu_Latn", "zho_Hans"]) == 1


def test_the_lists_are_those_of_the_release(shared):
    for task, tags in paper_languages().items():
        lines = (shared / "reference" / f"{task}_languages.tsv").read_text().splitlines()[1:]
        theirs = {line.split("\t")[0]: line.split("\t")[1] == "1" for line in lines}
        assert {tag: head for tag, head in theirs.items() if tag in tags} == {
            t: h for t, h in tags.items() if t in theirs
        }
        assert len(theirs) == len(tags) and len(theirs.keys() - tags.keys()) <= 2


def test_a_list_of_languages_in_a_file(tmp_path):
    path = write(tmp_path / "list.tsv", "lang_script\thead\ndeu_Latn\t1\nzh-Hant\t0\n")
    assert wanted_languages(str(path), "sib200") == {"deu_Latn", "zho_Hani"}
    with pytest.raises(ValueError, match=r"list\.tsv, line 2"):
        wanted_languages(str(write(path, "deu_Latn\nnowhere at all\n")), "sib200")
    with pytest.raises(FileNotFoundError, match="--languages must be"):
        wanted_languages("nowhere", "sib200")


def test_own_tasks(tmp_path):
    fields = {"name": "mine", "kind": "classification", "folder": "my/data", "metric": "accuracy", "epochs": 2}
    path = write(tmp_path / "mine.json", json.dumps(fields))
    (task,) = find_tasks([str(path)])
    assert (task.metric, task.settings.epochs, task.folder) == ("accuracy", 2, "my/data")
    for change, message in (
        ({"kind": "parsing"}, "kind must be one of"), ({"metric": "bleu"}, "metric must be one of"), ({"name": "../x"},
        "name must be"),
        ({"epochs": "many"}, "epochs must be a number"), ({"evil": 1}, "unknown field 'evil'"), ({"epochs": 1.5},
        "whole number"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            read_task(write(tmp_path / "bad.json", json.dumps({**fields, **change})))


def test_shared_data_are_read(shared, tmp_path):
    """All six sets in the layouts of their publishers; the counts are those of the collection's README."""
    data = shared / "data" / "eval"
    verses, unusable, _ = read_verses(task_folder(TASKS["sr_bible"], data, tmp_path))
    assert len(verses) == 33 and not unusable and len(verses[LangScript("glv", "Latn")].other) == 128
    pairs, unusable, _ = read_tatoeba(task_folder(TASKS["sr_tatoeba"], data, tmp_path))
    assert len(pairs) == 84 and not unusable and sum(len(part.other) for part in pairs.values()) == 65_418
    for task, languages, read, sentences in (
        ("taxi1500", 34, read_classified, 111), ("sib200", 154, read_classified, 204), ("pos", 10, read_tagged, 1000),
    ):  # fmt: skip
        files, _ = find_labelled(task_folder(TASKS[task], data, tmp_path))
        assert len(files) == languages and len(read(files[LangScript("eng", "Latn")]["test"]).texts) == sentences
    ner, _ = find_labelled(task_folder(TASKS["ner"], data, tmp_path), wikipedia=True)
    assert len(ner) == 15 and len(read_tagged(ner[LangScript("pcm", "Latn")]["train"]).texts) == 5646
