"""Held-out sentences of pairs in the text that a model trains on."""

import pytest
from small_pairs import HELD_OUT, TEXTS, write
from support import run

from langsamp_plugin.data.pair_binarizer import binarize_pairs
from langsamp_plugin.data.pair_leaks import check_text, leaked_sentences


@pytest.mark.parametrize("side", ["eng_Latn", "deu_Latn"])
def test_a_leak_is_an_error_on_either_side(pairs, demo, tmp_path, side):
    out = tmp_path / "data-bin"
    out.mkdir()

    def refused(said, corpus=None):
        with pytest.raises(ValueError, match=said):
            binarize_pairs(pairs, demo / "spm.model", out, corpus)
        assert not (out / "pairs").exists()

    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / f"{side}.txt").write_text(f"harmless\n{HELD_OUT[side]['h1']}\n", encoding="utf-8")
    refused("1 lines that are held-out sentences", corpus)
    write(pairs / "train", {side: {**TEXTS[side], "h2": "the same message in other words"}})
    refused("has message 'h2', which is held out")
    write(pairs / "train", {side: {**TEXTS[side], "new": HELD_OUT[side]["h3"]}})
    refused("1 lines that are held-out sentences")


def test_text_that_comes_later_is_checked_without_the_pairs(binarized, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "deu_Latn.txt").write_text(f"harmless\n{HELD_OUT['eng_Latn']['h1']}\n", encoding="utf-8")
    (corpus / "zul_Latn.txt").write_text("okunye\n", encoding="utf-8")  # a language without pairs
    check_text(binarized, corpus)
    (corpus / "deu_Latn.txt").write_text(f"{HELD_OUT['deu_Latn']['h1']}\nharmless\n", encoding="utf-8")
    with pytest.raises(ValueError, match="deu_Latn.txt has 1 lines that are held-out sentences"):
        check_text(binarized, corpus)


def test_another_file_of_the_folder_is_not_compared(binarized, tmp_path):
    (tmp_path / "eng_Latn.txt").write_text("harmless\n", encoding="utf-8")
    (tmp_path / "deu_Latn.txt").write_text(f"{HELD_OUT['deu_Latn']['h1']}\n", encoding="utf-8")
    check_text(binarized, tmp_path, ["eng_Latn"])
    with pytest.raises(ValueError, match="held-out sentences"):
        check_text(binarized, tmp_path)


def test_a_folder_of_an_earlier_version_gets_its_hashes(pairs, binarized, demo):
    stored = binarized / "pairs" / "deu_Latn" / "valid.hashes"
    before = stored.read_bytes()
    stored.unlink()
    binarize_pairs(pairs, demo / "spm.model", binarized)
    assert stored.read_bytes() == before


@pytest.mark.parametrize("with_pairs", [True, False])
def test_a_leak_is_found_before_anything_is_written(pairs, demo, tmp_path, with_pairs):
    corpus, out = tmp_path / "corpus", tmp_path / "data-bin"
    corpus.mkdir()
    more = ("--pairs", pairs) if with_pairs else ()
    command = ("langsamp", "binarize", corpus, "--spm", demo / "spm.model", "--out", out)
    if not with_pairs:
        (corpus / "zul_Latn.txt").write_text("okunye okuhle kakhulu\n" * 30, encoding="utf-8")
        run(*command, "--valid-lines", 0, "--pairs", pairs)
    (corpus / "deu_Latn.txt").write_text(f"harmless\n{HELD_OUT['deu_Latn']['h1']}\n" * 20, encoding="utf-8")
    assert "has 20 lines that are held-out sentences" in run(*command, "--valid-lines", 0, *more, expect=2)
    assert not (out / "deu_Latn").exists() and (out / "dict.txt").exists() != with_pairs
    # Of several jobs, the last one to end compares; here the first one, which has all of the new text.
    printed = run(*command, "--valid-lines", 0, *more, "--shard", "1/2", expect=2)
    assert "has 20 lines that are held-out sentences" in printed


def test_text_that_came_first_or_in_other_characters_is_reported(pairs, demo, tmp_path):
    """Full-width letters are the same tokens; a sentence with an unknown token proves nothing."""
    corpus, later, out = tmp_path / "corpus", tmp_path / "later", tmp_path / "data-bin"
    for folder in (corpus, later):
        folder.mkdir()
    wide = "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in "deu_Latn held out 1")
    (corpus / "deu_Latn.txt").write_text(f"{HELD_OUT['deu_Latn']['h0']}\n{wide}\nharmless\n" * 3, encoding="utf-8")
    write(pairs / "valid", {"eng_Latn": {**HELD_OUT["eng_Latn"], "u": "\ue000"}, "deu_Latn": HELD_OUT["deu_Latn"]})
    write(pairs / "valid", {"rus_Cyrl": {"u": "\ue000"}})
    (corpus / "eng_Latn.txt").write_text("\ue001\n" * 3, encoding="utf-8")
    (later / "zul_Latn.txt").write_text("okunye okuhle kakhulu\n" * 3, encoding="utf-8")
    command = ("--spm", demo / "spm.model", "--out", out, "--valid-lines", 0)
    run("langsamp", "binarize", corpus, *command)
    printed = run("langsamp", "binarize", later, *command, "--pairs", pairs)
    assert "6 training sentences of 1 languages, deu_Latn, have the same tokens as a held-out sentence" in printed
    assert leaked_sentences(out) == {"deu_Latn": 6}
