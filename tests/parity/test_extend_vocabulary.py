"""A checkpoint with another vocabulary: what uses no new piece is unchanged."""

import pytest
import torch
from support import run, train_command

from langsamp_plugin.checkpoint.fairseq_model import build_model
from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.convert.init import NewInventory, NewVocabulary, init_checkpoint
from langsamp_plugin.convert.neighbours import neighbour_weights
from langsamp_plugin.convert.verification import verify_extension
from langsamp_plugin.data.binarizer import binarize
from langsamp_plugin.errors import VerificationError
from langsamp_plugin.modules.tag_embedding import decode_codes
from langsamp_plugin.vocabulary.extend import extend_tokenizer
from langsamp_plugin.vocabulary.tokenizer import Tokenizer, train_tokenizer

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
    return out, init_checkpoint(trained, out, vocabulary=NewVocabulary(bigger, demo / "spm.model")).extension


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
    old, new = Tokenizer(demo / "spm.model"), Tokenizer(bigger)
    shared = [piece for piece in new.pieces if piece in set(old.pieces)][:40]
    states = []
    for path, tokenizer in ((trained, old), (extended[0], new)):
        ids = torch.tensor([[0, *(tokenizer.pieces.index(piece) + 4 for piece in shared), tokenizer.vocab_size - 1, 2]])
        states.append(build_model(load_checkpoint(path), tokenizer)(ids, features_only=True)[0])
    assert torch.allclose(*states, atol=1e-6)


def test_verification_finds_a_row_in_the_wrong_place(demo, trained, bigger, extended):
    """The two mistakes that people make: rows by position, and the mask row left where it was."""
    old, new = Tokenizer(demo / "spm.model"), Tokenizer(bigger)
    before, after = load_checkpoint(trained), load_checkpoint(extended[0])
    good = verify_extension(before, old, after, new)
    good.check()
    # The fixed sentences in scripts that the demo's vocabulary does not have are made of <unk>, and still compared.
    assert len(good.rows) == 4 and max(row.difference for row in good.rows) < 1e-6
    for broken in ("position", "mask"):
        weights = {name: tensor.clone() for name, tensor in after["model"].items()}
        if broken == "mask":
            weights[EMBEDDING][-1] = before["model"][EMBEDDING][-2]
        else:
            weights[EMBEDDING][: old.vocab_size - 1] = before["model"][EMBEDDING][:-1]
        weights["encoder.lm_head.weight"] = weights[EMBEDDING]
        bad = verify_extension(before, old, {**after, "model": weights}, new)
        with pytest.raises(VerificationError, match="nothing was written.*first embedding"):
            bad.check()
        assert "DIFFERENT" in bad.format()


@pytest.mark.parametrize("init", ["mean", "random", "normal"])
def test_other_starts(demo, trained, bigger, tmp_path, init):
    vocabulary = NewVocabulary(bigger, demo / "spm.model", new_pieces=init)
    init_checkpoint(trained, tmp_path / "start.pt", vocabulary=vocabulary)
    old, new = Tokenizer(demo / "spm.model"), Tokenizer(bigger)
    before, after = (load_checkpoint(path)["model"][EMBEDDING] for path in (trained, tmp_path / "start.pt"))
    rows = [number for number, piece in enumerate(new.pieces, 4) if piece not in set(old.pieces)]
    if init == "mean":
        assert torch.allclose(after[rows], before[4:-1].mean(0).expand(len(rows), -1), atol=1e-6)
    elif init == "normal":
        assert after[rows].std() == pytest.approx(0.02, rel=0.05)
    else:
        # Mean and covariance of the old rows; the control is the spread of N(0, 0.02), which they do not have.
        words = before[4:-1]
        assert torch.allclose(after[rows].mean(0), words.mean(0), atol=5 * words.std().item() / len(rows) ** 0.5)
        one, other = torch.cov(after[rows].T), torch.cov(words.T)
        assert (one - other).norm() < 0.5 * other.norm() < (torch.eye(len(other)) * 0.02**2 - other).norm()


def test_neighbours(demo, trained, bigger, extended, tmp_path):
    """A new row is a weighted mean of at most ten old ones, the same each time; rare pieces start from their parts."""
    pytest.importorskip("gensim")
    old, new = Tokenizer(demo / "spm.model"), Tokenizer(bigger)
    row = {piece: number for number, piece in enumerate(old.pieces, 4)}
    weights = neighbour_weights(row, new, demo / "corpus" / "valid")
    assert weights.keys() <= set(new.pieces) - row.keys() and len(weights) > 50
    for found in weights.values():
        assert 1 <= len(found) <= 10 and sum(share for _, share in found) == pytest.approx(1, abs=1e-5)
        assert [share for _, share in found] == sorted((share for _, share in found), reverse=True)
        assert all(4 <= number < old.vocab_size - 1 for number, _ in found)
    vocabulary = NewVocabulary(bigger, demo / "spm.model", new_pieces="neighbours")
    with_corpus = NewVocabulary(bigger, demo / "spm.model", corpus=demo / "corpus" / "valid")  # the default with text
    init_checkpoint(trained, tmp_path / "start.pt", vocabulary=with_corpus)
    before, after, parts = (
        load_checkpoint(path)["model"][EMBEDDING] for path in (trained, tmp_path / "start.pt", extended[0])
    )
    for number, piece in enumerate(new.pieces, 4):
        if piece in weights:
            expected = sum(share * before[place] for place, share in weights[piece])
            assert torch.allclose(after[number], expected, atol=1e-6), piece
        else:
            assert torch.equal(after[number], parts[number]), piece
    with pytest.raises(ValueError, match="name it with --corpus FOLDER"):
        init_checkpoint(trained, tmp_path / "x.pt", vocabulary=vocabulary)
    (tmp_path / "deu_Latn.txt").write_text("Hallo\n")
    with pytest.raises(ValueError, match="must have a piece that occurs 3 times or more, but has none"):
        neighbour_weights(row, new, tmp_path)


@pytest.mark.parametrize("flag", ["--finetune-from-model", "--restore-file"])
def test_training_goes_on_from_it(demo, bigger, extended, tmp_path, flag):
    binarize(demo / "corpus" / "train", bigger, tmp_path / "data", valid=demo / "corpus" / "valid")
    log = run(*train_command(tmp_path / "data", tmp_path / "save", 3, flag, extended[0]))
    assert "6 rows carried over by code" in log and "num_updates 3" in log


def test_pieces_are_appended_behind_the_old_ones(demo, tmp_path):
    base, out = demo / "spm.model", tmp_path / "extended.model"
    text = "Xylophonquartette musizieren gern in Xylophonquartetten.\n" * 40
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "deu_Latn.txt").write_text(text + (demo / "corpus" / "train" / "deu_Latn.txt").read_text())
    tokenizer, new = extend_tokenizer(base, tmp_path / "corpus", out, 700)
    old = Tokenizer(base)
    assert new > 100 and tokenizer.pieces[: len(old.pieces)] == old.pieces
    assert len(tokenizer.pieces) == len(old.pieces) + new == len(set(tokenizer.pieces))
    scores = [tokenizer.processor.get_score(number) for number in range(3, 3 + len(old.pieces))]
    assert scores == [old.processor.get_score(number) for number in range(3, 3 + len(old.pieces))]
    line = "Xylophonquartette"
    before, after = (model.processor.encode(line, out_type=str) for model in (old, tokenizer))
    assert len(after) < len(before) and set(after) - set(old.pieces)
    assert "".join(before) == "".join(after), "the text is the same, normalised in the same way"


def test_tables_are_added(demo, trained, tmp_path):
    """Rows of existing codes are kept, others are drawn; an inventory that would lose a row is refused."""
    init_checkpoint(trained, tmp_path / "start.pt", inventory=NewInventory("glot500"))
    before, after = load_checkpoint(trained)["model"], load_checkpoint(tmp_path / "start.pt")["model"]
    codes = decode_codes(after["encoder.lang_embedding.codes"])
    assert len(codes) == 610 and after["encoder.script_embedding.weight"].shape == (30, 32)
    for number, code in enumerate(decode_codes(before["encoder.lang_embedding.codes"])):
        row = after["encoder.lang_embedding.weight"][codes.index(code)]
        assert torch.equal(row, before["encoder.lang_embedding.weight"][number])
    assert after["encoder.lang_embedding.weight"].std() == pytest.approx(0.02, rel=0.1)
    (tmp_path / "languages.tsv").write_text("eng\n")
    (tmp_path / "scripts.tsv").write_text("Latn\n")
    with pytest.raises(ValueError, match="lacks codes that the checkpoint has rows for: deu"):
        init_checkpoint(trained, tmp_path / "x.pt", inventory=NewInventory(str(tmp_path)))


def test_wrong_input(demo, trained, bigger, tmp_path):
    with pytest.raises(
        ValueError, match=r"\d+ pieces that .* lacks.* 2,002 word embeddings, the model makes 2,602 tokens"
    ):
        init_checkpoint(trained, tmp_path / "x.pt", vocabulary=NewVocabulary(demo / "spm.model", bigger))
    with pytest.raises(ValueError, match="must be auto or one of neighbours, parts, mean"):
        init_checkpoint(trained, tmp_path / "x.pt", vocabulary=NewVocabulary(bigger, new_pieces="zero"))
    assert not (tmp_path / "x.pt").exists()


def test_command_and_info(demo, trained, bigger, tmp_path):
    text = run("langsamp", "init", trained, "--spm", bigger, "--out", tmp_path / "start.pt", "--verify")
    assert "pieces kept" in text and "logits of old pieces" in text
    assert "0 updates" in run("langsamp", "info", tmp_path / "start.pt")
    text = run("langsamp", "info", trained)
    assert "20 updates" in text and "2,002 token ids" in text and "6 languages, 4 scripts" in text
    text = run("langsamp", "info", demo / "data-bin")
    assert "2,002 token ids" in text and "7 language-scripts; every index and buffer is complete" in text
