"""A checkpoint with another vocabulary: what uses no new piece is unchanged."""

import pytest
import torch
from support import run, train_command

from langsamp_plugin.checkpoint.extend_vocabulary import extend_vocabulary
from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.data.binarizer import binarize
from langsamp_plugin.data.tokenizer import Tokenizer, train_tokenizer

EMBEDDING = "encoder.sentence_encoder.embed_tokens.weight"


@pytest.fixture(scope="module")
def bigger(demo, tmp_path_factory):
    """A model with more pieces, in another order than the checkpoint's."""
    path = tmp_path_factory.mktemp("bigger") / "spm.model"
    train_tokenizer(demo / "corpus" / "train", path, 2600)
    return path


@pytest.fixture(scope="module")
def extended(demo, trained, bigger, tmp_path_factory):
    out = tmp_path_factory.mktemp("extended") / "start.pt"
    return out, extend_vocabulary(trained, demo / "spm.model", bigger, out)


def test_rows_follow_their_pieces(demo, trained, bigger, extended):
    path, done = extended
    old, new = Tokenizer(demo / "spm.model"), Tokenizer(bigger)
    before, after = load_checkpoint(trained)["model"], load_checkpoint(path)["model"]
    assert len(after[EMBEDDING]) == new.vocab_size == 2602 and done.kept + done.new == len(new.pieces)
    assert done.new > 300 and done.kept > 1000
    for name in (EMBEDDING, "encoder.lm_head.weight", "encoder.lm_head.bias"):
        assert torch.equal(after[name][:4], before[name][:4]) and torch.equal(after[name][-1], before[name][-1])
    row = {piece: number for number, piece in enumerate(old.pieces, 4)}
    moved = 0
    for number, piece in enumerate(new.pieces, 4):
        if piece in row:
            assert torch.equal(after[EMBEDDING][number], before[EMBEDDING][row[piece]])
            assert after["encoder.lm_head.bias"][number] == before["encoder.lm_head.bias"][row[piece]]
            moved += number != row[piece]
    assert moved > 100, "control: by position the rows would belong to other pieces"
    # A new piece by hand: the mean of what the old model splits it into.
    piece = next(piece for piece in new.pieces if piece not in row and piece.startswith("\u2581") and len(piece) > 5)
    parts = [row[part] for part in old.processor.encode(piece[1:], out_type=str)]
    assert len(parts) > 1
    assert torch.allclose(after[EMBEDDING][new.pieces.index(piece) + 4], before[EMBEDDING][parts].mean(0), atol=1e-6)
    others = before.keys() - {EMBEDDING, "encoder.lm_head.weight", "encoder.lm_head.bias"}
    assert all(torch.equal(before[name], after[name]) for name in others)


def test_features_of_old_pieces_are_unchanged(demo, trained, bigger, extended):
    """The same pieces under both numberings give the same states."""
    from fairseq.models.roberta.model import RobertaEncoder  # noqa: F401 - the plugin needs fairseq imported
    from support import Task

    from langsamp_plugin.models.langsamp_roberta import LangSampRobertaModel

    old, new = Tokenizer(demo / "spm.model"), Tokenizer(bigger)
    shared = [piece for piece in new.pieces if piece in set(old.pieces)][:40]
    states = []
    for path, tokenizer in ((trained, old), (extended[0], new)):
        ids = torch.tensor([[0, *(tokenizer.pieces.index(piece) + 4 for piece in shared), tokenizer.vocab_size - 1, 2]])
        state = load_checkpoint(path)
        task = Task(tables=None, words=tokenizer.vocab_size - 5)
        model = LangSampRobertaModel.build_model(state["cfg"]["model"], task)
        model.load_state_dict(dict(state["model"]))
        states.append(model.eval()(ids, features_only=True)[0])
    assert torch.allclose(*states, atol=1e-6)


@pytest.mark.parametrize("init", ["mean", "random"])
def test_other_starts(demo, trained, bigger, tmp_path, init):
    extend_vocabulary(trained, demo / "spm.model", bigger, tmp_path / "start.pt", init)
    old, new = Tokenizer(demo / "spm.model"), Tokenizer(bigger)
    before, after = (load_checkpoint(path)["model"][EMBEDDING] for path in (trained, tmp_path / "start.pt"))
    rows = [number for number, piece in enumerate(new.pieces, 4) if piece not in set(old.pieces)]
    if init == "mean":
        assert torch.allclose(after[rows], before[4:-1].mean(0).expand(len(rows), -1), atol=1e-6)
    else:
        assert after[rows].std() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("flag", ["--finetune-from-model", "--restore-file"])
def test_training_goes_on_from_it(demo, bigger, extended, tmp_path, flag):
    binarize(demo / "corpus" / "train", bigger, tmp_path / "data", valid=demo / "corpus" / "valid")
    log = run(*train_command(tmp_path / "data", tmp_path / "save", 3, flag, extended[0]))
    assert "6 rows carried over by code" in log and "num_updates 3" in log


def test_wrong_input(demo, trained, bigger, tmp_path):
    with pytest.raises(ValueError, match=r"2,002 word embeddings, but .* 2,602 tokens"):
        extend_vocabulary(trained, bigger, demo / "spm.model", tmp_path / "x.pt")
    with pytest.raises(ValueError, match="parts, mean, random"):
        extend_vocabulary(trained, demo / "spm.model", bigger, tmp_path / "x.pt", "zero")
    assert not (tmp_path / "x.pt").exists()


def test_command_and_info(demo, trained, bigger, tmp_path):
    text = run("langsamp", "init", trained, "--spm", bigger, "--out", tmp_path / "start.pt")
    assert "pieces kept" in text
    assert "0 updates" in run("langsamp", "info", tmp_path / "start.pt")
    text = run("langsamp", "info", trained)
    assert "20 updates" in text and "2,002 token ids" in text and "6 languages, 4 scripts" in text
    text = run("langsamp", "info", demo / "data-bin")
    assert "2,002 token ids" in text and "7 language-scripts; every index and buffer is whole" in text
