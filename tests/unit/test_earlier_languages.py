"""What is in a data folder and no longer in its corpus, and what has no held-out text, is said."""

import shutil

import pytest
from support import run


@pytest.fixture
def corpus(demo, tmp_path):
    (tmp_path / "corpus").mkdir()
    for tag in ("eng_Latn", "deu_Latn", "rus_Cyrl"):
        text = (demo / "corpus" / "train" / f"{tag}.txt").read_text(encoding="utf-8").splitlines(keepends=True)
        (tmp_path / "corpus" / f"{tag}.txt").write_text("".join(text[:60]), encoding="utf-8")
    return tmp_path / "corpus"


def binarize(demo, corpus, *more, expect=0):
    return run(
        "langsamp", "binarize", corpus, "--spm", demo / "spm.model", "--out", corpus.parent / "data", *more,
        expect=expect,
    )  # fmt: skip


def test_removed_languages(demo, corpus):
    assert "earlier" not in binarize(demo, corpus)
    (corpus / "deu_Latn.txt").unlink()
    assert "not in this one: 1 languages, deu_Latn: training takes them, --prune" in binarize(demo, corpus)
    assert "leave out --langs" in binarize(demo, corpus, "--prune", "--langs", "rus", expect=2)
    assert "earlier" not in binarize(demo, corpus, "--prune")
    data = corpus.parent / "data"
    assert not (data / "deu_Latn").exists() and "deu" not in (data / "stats.tsv").read_text()
    assert "deu" in (data / "languages.tsv").read_text()  # rows stay where they are


def test_no_held_out_text(demo, corpus, tmp_path):
    (corpus / "deu_Latn.txt").write_text("Ein Satz\n")
    assert "no held-out text: 1 of 3 languages, deu_Latn" in binarize(demo, corpus)
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "valid").mkdir()
    (tmp_path / "valid" / "kik_Latn.txt").write_text("text\n")
    output = binarize(demo, corpus, "--valid", tmp_path / "valid", expect=2)
    assert "has held-out text of none of the 3 languages" in output and not (tmp_path / "data").exists()
