"""Hugging Face folders that import reads in parts, or refuses."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import Evil, assert_same_weights, run

from langsamp_plugin.convert.init import NewInventory, NewVocabulary, import_checkpoint, init_checkpoint


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "copy")


def rewrite(exported, **changes):
    """Change, add or (None) remove tensors of a exported."""
    tensors = {**load_file(exported / "model.safetensors"), **changes}
    tensors = {name: tensor.clone() for name, tensor in tensors.items() if tensor is not None}
    save_file(tensors, exported / "model.safetensors", {"format": "pt"})


def test_shards_and_pickles(exported, tmp_path, trained):
    from transformers import XLMRobertaForMaskedLM

    model = XLMRobertaForMaskedLM.from_pretrained(exported)
    shutil.copytree(exported, tmp_path / "sharded")
    (tmp_path / "sharded" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "sharded", max_shard_size="100KB")
    shutil.copytree(exported, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 1
    for name, options in (("sharded", {}), ("pickled", {"allow_pickle": True})):
        import_checkpoint(tmp_path / name, tmp_path / f"{name}.out" / "model.pt", verify=True, **options)
        assert_same_weights(trained, tmp_path / f"{name}.out" / "model.pt")
    with pytest.raises(ValueError, match="a pickle: add --allow-pickle"):
        import_checkpoint(tmp_path / "pickled", tmp_path / "x" / "model.pt")
    torch.save({"roberta.x": torch.zeros(2), "evil": Evil()}, tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="could run code"):
        import_checkpoint(tmp_path / "pickled", tmp_path / "x" / "model.pt", allow_pickle=True)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"classifier.weight": torch.zeros(2), "adapter.bias": torch.zeros(2)},
            "no counterpart.*adapter.bias classifier.weight",
        ),
        ({"roberta.encoder.layer.1.output.dense.bias": None}, r"lacks 1 weights: encoder.*layers\.1\.fc2\.bias"),
        ({"lm_head.layer_norm.bias": None}, r"no encoder\.lm_head\.layer_norm\.bias"),
        ({"roberta.encoder.layer.0.output.dense.bias": torch.zeros(5)}, r"fc2\.bias \(5,\) instead of \(32,\)"),
        (
            {"roberta.encoder.layer.2.output.dense.bias": torch.zeros(32)},
            r"layers\.2\.fc2\.bias, which belongs to no layer",
        ),
        ({"lm_head.decoder.weight": torch.zeros(2002, 32)}, "must be tied"),
        ({"lm_head.decoder.bias": torch.zeros(2002)}, "must be tied"),
        ({"lm_head.dense.weight": torch.full((32, 32), torch.nan)}, "lm_head.dense.weight has values that are not fin"),
    ],
)
def test_weights_that_do_not_fit_are_listed(copy, tmp_path, change, message):
    rewrite(copy, **change)
    with pytest.raises(ValueError, match=message):
        import_checkpoint(copy, tmp_path / "out" / "model.pt")
    assert not (tmp_path / "out").exists()


def edit_config(exported, **changes):
    path = exported / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "model.safetensors is damaged"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
            "model.safetensors is damaged or cut off",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not a model configuration"),
        (lambda folder: (folder / "sentencepiece.bpe.model").unlink(), "name the SentencePiece model.*--spm"),
        (lambda folder: (folder / "sentencepiece.bpe.model").write_bytes(b"x"), "not a SentencePiece model"),
        (lambda folder: (folder / "langsamp.safetensors").write_bytes(b"x"), "langsamp.safetensors is damaged"),
        (lambda folder: edit_config(folder, model_type="bert"), "only xlm-roberta and xlm-roberta-xl can be imported"),
        (lambda folder: edit_config(folder, hidden_act="silu"), "hidden_act must be gelu"),
        (lambda folder: edit_config(folder, num_hidden_layers=3), "lacks 16 weights"),
        (lambda folder: edit_config(folder, pad_token_id=0), "pad_token_id must be 1, but is 0"),
    ],
)
def test_damaged_folders(copy, tmp_path, damage, message):
    damage(copy)
    output = run("langsamp", "import", copy, "--out", tmp_path / "out" / "model.pt", expect=2)
    assert re.search(message, output), output
    assert not (tmp_path / "out").exists() and "Traceback" not in output


def test_another_vocabulary_beside_it_is_not_overwritten(exported, tmp_path):
    (tmp_path / "dict.txt").write_text("a 1\n")
    with pytest.raises(ValueError, match="dict.txt has another vocabulary"):
        import_checkpoint(exported, tmp_path / "model.pt")
    assert (tmp_path / "dict.txt").read_text() == "a 1\n" and not (tmp_path / "model.pt").exists()
    (tmp_path / "dict.txt").unlink()
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"other")
    with pytest.raises(ValueError, match="sentencepiece.bpe.model is another SentencePiece model"):
        import_checkpoint(exported, tmp_path / "model.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["sentencepiece.bpe.model"]


def test_files_given_for_folders_are_named(exported, trained, tmp_path):
    for path in (exported / "config.json", exported / "model.safetensors"):
        with pytest.raises(ValueError, match="must be a Hugging Face folder, but is a file: name its folder"):
            import_checkpoint(path, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="a checkpoint of fairseq needs no import, and `langsamp export`"):
        import_checkpoint(trained, tmp_path / "model.pt")


def test_options_without_effect_are_refused(exported, tmp_path):
    out = tmp_path / "model.pt"
    with pytest.raises(ValueError, match="--text is compared by --verify: add it"):
        import_checkpoint(exported, out, text=tmp_path)
    (tmp_path / "languages.tsv").write_text("deu\n")
    with pytest.raises(ValueError, match="--tables is for a model in the published layout"):
        import_checkpoint(exported, out, tables=tmp_path)
    for vocabulary in (NewVocabulary(corpus=tmp_path), NewVocabulary(new_pieces="mean")):
        with pytest.raises(ValueError, match="pieces of a new vocabulary: name it with --spm"):
            init_checkpoint(exported, out, vocabulary=vocabulary)
    with pytest.raises(ValueError, match="--dict is for a checkpoint of fairseq"):
        init_checkpoint(exported, out, vocabulary=NewVocabulary(dictionary=tmp_path / "dict.txt"))


def test_a_start_with_other_tables_is_verified(exported, trained, tmp_path):
    """With --verify and the old vocabulary, a folder is compared with what is made of it."""
    done = init_checkpoint(exported, tmp_path / "model.pt", inventory=NewInventory("glot500"), verify=True)
    assert done.verification is not None and max(row.difference for row in done.verification.rows) < 1e-5
    done = init_checkpoint(trained, tmp_path / "other.pt", inventory=NewInventory("glot500"), verify=True)
    assert done.verification is None and "nothing to verify" in done.notes[0]
