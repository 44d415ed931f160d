"""A smaller vocabulary splits its corpus as before, and a checkpoint keeps its features bit for bit."""

import pytest
import torch
from support import run

from langsamp_plugin.checkpoint.fairseq_model import build_model
from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.convert.init import NewVocabulary, init_checkpoint
from langsamp_plugin.corpus.text import read_lines
from langsamp_plugin.vocabulary.tokenizer import Tokenizer
from langsamp_plugin.vocabulary.trim import trim_tokenizer


@pytest.fixture(scope="module")
def corpus(demo, tmp_path_factory):
    """Two of the seven languages."""
    folder = tmp_path_factory.mktemp("two")
    for tag in ("deu_Latn", "rus_Cyrl"):
        (folder / f"{tag}.txt").write_bytes((demo / "corpus" / "train" / f"{tag}.txt").read_bytes())
    return folder


@pytest.fixture(scope="module")
def trimmed(demo, corpus, tmp_path_factory):
    return trim_tokenizer(demo / "spm.model", corpus, tmp_path_factory.mktemp("trimmed") / "small.model")


def pieces(tokenizer, line):
    return tokenizer.processor.encode(line, out_type=str)


def test_the_corpus_is_split_as_before(demo, corpus, trimmed):
    old, new = Tokenizer(demo / "spm.model"), trimmed.tokenizer
    lines = [line for path in corpus.glob("*.txt") for line in read_lines(path)]
    assert len(lines) > 500 and all(pieces(old, line) == pieces(new, line) for line in lines)
    assert 300 < len(new.pieces) < len(old.pieces) and trimmed.changed == 0
    order = {piece: number for number, piece in enumerate(old.pieces)}
    assert [order[piece] for piece in new.pieces] == sorted(order[piece] for piece in new.pieces)
    # All letters of the two scripts stay, those of others go.
    assert {piece for piece in old.pieces if len(piece) == 1 and "а" <= piece <= "я"} <= set(new.pieces)
    assert "क" in old.pieces and "क" not in new.pieces


def test_features_are_the_same_bit_for_bit(demo, corpus, trained, trimmed, tmp_path):
    done = init_checkpoint(
        trained, tmp_path / "start.pt", vocabulary=NewVocabulary(trimmed.tokenizer.path), verify=True
    )
    change = done.extension
    assert change.new == 0 and change.dropped == trimmed.before - change.kept
    assert change.parameters[0] - change.parameters[1] == change.dropped * 33  # a row and its bias
    old, new = Tokenizer(demo / "spm.model"), trimmed.tokenizer
    before, after = build_model(load_checkpoint(trained), old), build_model(load_checkpoint(tmp_path / "start.pt"), new)
    for line in list(read_lines(corpus / "rus_Cyrl.txt"))[:20]:
        states = [
            model(torch.tensor([[0, *tokenizer.encode([line])[0].tolist()]])[:, :100], features_only=True)[0]
            for model, tokenizer in ((before, old), (after, new))
        ]
        assert torch.equal(*states)


def test_rare_pieces_cost_something(demo, corpus, tmp_path):
    done = trim_tokenizer(demo / "spm.model", corpus, tmp_path / "small.model", min_count=20)
    all_of_it = trim_tokenizer(demo / "spm.model", corpus, tmp_path / "all.model")
    assert len(done.tokenizer.pieces) < len(all_of_it.tokenizer.pieces) and done.changed > 0 == all_of_it.changed
    assert not done.unknown, "single characters stay, so nothing becomes unknown"


def test_command(demo, corpus, tmp_path):
    out = tmp_path / "small.model"
    text = run("langsamp", "tokenizer", "trim", demo / "spm.model", corpus, "--out", out)
    assert "pieces kept" in text and "XLM-R base:" in text and "(0.000%)" in text
    text = run("langsamp", "tokenizer", "trim", demo / "spm.model", corpus, "--out", out, expect=2)
    assert "is not replaced" in text
    # A script that was trimmed away is unknown, and binarize says so.
    hindi = tmp_path / "hindi"
    hindi.mkdir()
    (hindi / "hin_Deva.txt").write_bytes((demo / "corpus" / "train" / "hin_Deva.txt").read_bytes())
    text = run("langsamp", "binarize", hindi, "--spm", out, "--out", tmp_path / "data")
    unknown, tokens = (
        int(text.split(word)[0].split()[-1].replace(",", "")) for word in (" of them unknown", " tokens")
    )
    assert unknown > 0.2 * tokens
