"""What is in a data folder and no longer in its corpus, and what has no held-out text, is said."""

import os
import shutil

import pytest
from support import run

from langsamp_plugin.corpus.decisions import Rules
from langsamp_plugin.corpus.writer import write_corpus
from langsamp_plugin.data import binarizer
from langsamp_plugin.data.binarizer import binarize as make_data


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
    assert "not in this corpus: 1 languages, deu_Latn: training uses them, --prune" in binarize(demo, corpus)
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
    assert "must have held-out text of the 3 languages" in output and not (tmp_path / "data").exists()


def edited_unseen(path):
    """Change a text, and give it the size and time that it had, as tools that copy can."""
    times, text = path.stat(), path.read_text(encoding="utf-8")
    path.write_text(text.replace("e", "a"), encoding="utf-8")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size and path.stat().st_mtime_ns == times.st_mtime_ns


@pytest.mark.parametrize("touch", ["edited", "moved"])
def test_an_edit_that_size_and_time_do_not_tell(demo, corpus, touch, monkeypatch):
    data, path = corpus.parent / "data", corpus / "deu_Latn.txt"
    make_data(corpus, demo / "spm.model", data)
    before = (data / "deu_Latn" / "train.bin").read_bytes()
    if touch == "edited":
        edited_unseen(path)
    else:
        path.chmod(0o600)  # like a new owner or place, this is not an edit
        monkeypatch.setattr(binarizer, "_encode_piece", None)  # nothing is done again
    make_data(corpus, demo / "spm.model", data)
    assert ((data / "deu_Latn" / "train.bin").read_bytes() == before) == (touch == "moved")


@pytest.mark.parametrize("rules", [Rules(), Rules(script_share=0.1)], ids=["all lines", "judged"])
def test_an_edit_of_a_corpus_source(corpus, rules):
    out = corpus.parent / "out"
    write_corpus(corpus, out, rules=rules)
    edited_unseen(corpus / "deu_Latn.txt")
    write_corpus(corpus, out, rules=rules)
    assert (out / "deu_Latn.txt").read_text() == (corpus / "deu_Latn.txt").read_text()


def test_languages_that_a_corpus_has_no_longer(corpus):
    out = corpus.parent / "out"
    assert not write_corpus(corpus, out).earlier
    (corpus / "deu_Latn.txt").unlink()
    (out / "fra_Latn.txt").write_text("of another program\n")
    assert not write_corpus(corpus, out, langs=["rus_Cyrl"]).earlier  # a part of the languages on purpose
    written = write_corpus(corpus, out)
    assert written.earlier == ["deu_Latn"] and "deu_Latn" not in (out / "counts.tsv").read_text()
    with pytest.raises(ValueError, match="leave out --langs"):
        write_corpus(corpus, out, langs=["rus_Cyrl"], prune=True)
    assert (out / "deu_Latn.txt").exists()
    assert not write_corpus(corpus, out, prune=True).earlier and not (out / "deu_Latn.txt").exists()
    assert not write_corpus(corpus, out).earlier and (out / "fra_Latn.txt").exists()


def test_no_language_has_held_out_text(demo, corpus):
    for path in corpus.glob("*.txt"):
        path.write_text("one line\n")
    with pytest.raises(ValueError, match="--valid, or use --valid-lines 0 and train with --disable-validation"):
        make_data(corpus, demo / "spm.model", corpus.parent / "data")
    assert len(make_data(corpus, demo / "spm.model", corpus.parent / "data", valid_lines=0)) == 3
