"""Hugging Face to fairseq and back: nothing is lost, nothing is guessed, everything is proved."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import assert_same_weights, run, train_command

from langsamp_plugin.checkpoint.fairseq_model import build_model
from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.convert import outgoing_model
from langsamp_plugin.convert.export import export
from langsamp_plugin.convert.init import import_checkpoint
from langsamp_plugin.convert.verification import encode_sentences, logits
from langsamp_plugin.errors import VerificationError
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

BODY = "encoder.sentence_encoder."


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "copy")


def rewrite(exported, **changes):
    """Change, add or (None) remove tensors of a exported."""
    tensors = {**load_file(exported / "model.safetensors"), **changes}
    tensors = {name: tensor.clone() for name, tensor in tensors.items() if tensor is not None}
    save_file(tensors, exported / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("fold", [(), ("deu_Latn",), ("deu_Latn", "hin_Deva")])
def test_there_and_back_is_bitwise(trained, tmp_path, fold):
    export(trained, tmp_path / "hf", fold=fold)
    done = import_checkpoint(tmp_path / "hf", tmp_path / "back" / "model.pt", verify=True)
    assert_same_weights(trained, tmp_path / "back" / "model.pt")
    before, after = (load_checkpoint(path)["task_state"] for path in (trained, tmp_path / "back" / "model.pt"))
    assert before == {**before, **after}, "the inventories and the tags"
    assert [row.what for row in done.verification.rows[:4]] == [
        "embedding",
        "block 1",
        "block 2",
        done.verification.rows[3].what,
    ]
    assert ("logits for deu_Latn" in done.verification.format()) == (len(fold) == 1)
    # And the files next to it are those of a published XLM-R.
    assert {path.name for path in (tmp_path / "back").iterdir()} == {"model.pt", "dict.txt", "sentencepiece.bpe.model"}
    export(tmp_path / "back" / "model.pt", tmp_path / "again")
    export(trained, tmp_path / "plain")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "plain" / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("flag", ["--restore-file", "--finetune-from-model"])
def test_training_goes_on_from_it(demo, exported, tmp_path, flag):
    run("langsamp", "import", exported, "--out", tmp_path / "start" / "model.pt")
    log = run(
        *train_command(demo / "data-bin", tmp_path / "save", 2, flag, tmp_path / "start" / "model.pt", "--lr", 1e-9)
    )
    assert "6 rows carried over by code" in log and "num_updates 2" in log
    before, after = (
        load_checkpoint(path)["model"]
        for path in (tmp_path / "start" / "model.pt", tmp_path / "save" / "checkpoint_last.pt")
    )
    name = f"{BODY}layers.1.fc1.weight"
    assert torch.allclose(before[name], after[name], atol=1e-7) and not torch.equal(before[name], torch.zeros(1))


def test_a_folder_as_others_have_it(exported, tmp_path, demo):
    """No prefix, a pooler, constants, a token-type row, another epsilon, no head: each is dealt with and said."""
    tensors = {}
    generator = torch.Generator().manual_seed(0)
    for name, tensor in load_file(exported / "model.safetensors").items():
        if name.startswith("roberta."):
            tensors[name.removeprefix("roberta.")] = tensor.clone()
    tensors["embeddings.token_type_embeddings.weight"] = torch.randn(1, 32, generator=generator)
    tensors["embeddings.position_ids"] = torch.arange(514)[None]
    tensors["pooler.dense.weight"], tensors["pooler.dense.bias"] = torch.zeros(32, 32), torch.zeros(32)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    save_file(tensors, foreign / "model.safetensors", {"format": "pt"})
    config = json.loads((exported / "config.json").read_text())
    (foreign / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-3}))
    for name in ("sentencepiece.bpe.model", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(exported / name, foreign)
    output = run("langsamp", "import", foreign, "--out", tmp_path / "start" / "model.pt", "--verify")
    for said in (
        "no masked-LM head",
        "token-type row is folded",
        "train with --encoder-layers 2 --encoder-embed-dim 32 --encoder-ffn-embed-dim 64 --encoder-attention-heads 2 "
        "--layer-norm-eps 0.001",
        "logits not compared",
        "block 2",
    ):
        assert said in output
    # Controls: without the row, or with fairseq's own epsilon, the features are others.
    state, tokenizer = load_checkpoint(tmp_path / "start" / "model.pt"), Tokenizer(demo / "spm.model")
    tokens = encode_sentences(tokenizer)
    right = build_model(state, tokenizer)(tokens, features_only=True)[0]
    state["args"].layer_norm_eps = 1e-5
    assert (build_model(state, tokenizer)(tokens, features_only=True)[0] - right).abs().max() > 1e-4
    # It goes out with its epsilon.
    export(tmp_path / "start" / "model.pt", tmp_path / "out", verify=True)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["layer_norm_eps"] == 1e-3


def test_checkpoints_of_2019(trained, tmp_path):
    """XLM-R was published with other names, and older ones with one matrix for the three projections."""
    state = load_checkpoint(trained)
    weights = {}
    for name, tensor in state["model"].items():
        name = name.replace("encoder.", "decoder.", 1).replace("layernorm_embedding", "emb_layer_norm")
        if any(f".{part}_proj." in name for part in "kv"):
            continue
        if ".q_proj." in name:
            parts = [
                state["model"][name.replace("decoder.", "encoder.", 1).replace("q_proj", f"{part}_proj")]
                for part in "qkv"
            ]
            name, tensor = name.replace("q_proj.", "in_proj_"), torch.cat(parts)
        weights[name] = tensor
    old = {
        name: tensor
        for name, tensor in weights.items()
        if "embedding.codes" not in name and "_embedding.weight" not in name
    }
    assert sum("in_proj" in name for name in old) == 4 and not any("encoder.lm_head" in name for name in old)
    torch.save({**state, "model": old}, tmp_path / "old.pt")
    export(tmp_path / "old.pt", tmp_path / "old", verify=True)
    export(trained, tmp_path / "new")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("old", "new"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_layer_norm_before_the_blocks(demo, tmp_path):
    """XLM-R XL's build, small: out, in again bitwise, and the tags fold in as well."""
    run(
        *train_command(
            demo / "data-bin", tmp_path / "save", 3, "--encoder-normalize-before", arch="langsamp_roberta_xl"
        )
    )
    checkpoint = tmp_path / "save" / "checkpoint_last.pt"
    found = export(checkpoint, tmp_path / "hf", fold=["deu_Latn"], verify=True).verification
    assert max(row.difference for row in found.rows) < 1e-5 and "logits for deu_Latn" in found.format()
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["model_type"] == "xlm-roberta-xl" and config["architectures"] == ["XLMRobertaXLForMaskedLM"]
    back = tmp_path / "back" / "model.pt"
    output = run("langsamp", "import", tmp_path / "hf", "--out", back, "--verify")
    assert_same_weights(checkpoint, back)
    # Training continues from it with the flags that it names.
    flags = output.split("train with ")[1].splitlines()[0].split()
    assert flags[:2] == ["--arch", "langsamp_roberta_xl"]
    run(*train_command(demo / "data-bin", tmp_path / "on", 1, *flags, "--finetune-from-model", back))


def test_a_head_for_each_tag(trained, demo, tmp_path):
    from transformers import AutoModelForMaskedLM

    export(trained, tmp_path / "hf", fold=["deu_Latn", "hin_Deva"], verify=True)
    assert {path.name for path in (tmp_path / "hf" / "heads").iterdir()} == {
        "deu_Latn.safetensors",
        "hin_Deva.safetensors",
    }
    assert (tmp_path / "hf" / "heads" / "deu_Latn.safetensors").stat().st_size < 500
    tokenizer = Tokenizer(demo / "spm.model")
    tokens = encode_sentences(tokenizer)
    masked = tokens.eq(tokenizer.vocab_size - 1)
    ours = build_model(load_checkpoint(trained), tokenizer)
    found = {}
    for tag in ("deu_Latn", "hin_Deva", None):
        theirs = AutoModelForMaskedLM.from_pretrained(tmp_path / "hf").eval()
        if tag is not None:  # as the model card says
            head = load_file(tmp_path / "hf" / "heads" / f"{tag}.safetensors")
            assert not theirs.load_state_dict(head, strict=False).unexpected_keys
        with torch.no_grad():
            found[tag] = theirs(tokens, attention_mask=tokens.ne(1).long()).logits[masked]
            assert (found[tag] - logits(ours, tokens, masked, tag)).abs().max() < 1e-5
    assert (found["deu_Latn"] - found["hin_Deva"]).abs().max() > 1e-3
    card = (tmp_path / "hf" / "README.md").read_text()
    assert "heads/deu_Latn.safetensors" in card and "bias of that layer for 2 tags" in card


@pytest.mark.parametrize("half", ["float16", "bf16"])
def test_half_precision(trained, tmp_path, half):
    found = export(trained, tmp_path / "hf", half=half, fold=["deu_Latn"], verify=True).verification
    assert "logits for deu_Latn" in found.format()
    dtype = torch.float16 if half == "float16" else torch.bfloat16
    for name in ("model.safetensors", "langsamp.safetensors"):
        assert {tensor.dtype for tensor in load_file(tmp_path / "hf" / name).values()} == {dtype}
    import_checkpoint(tmp_path / "hf", tmp_path / "back" / "model.pt", verify=True)
    one, other = (load_checkpoint(path)["model"] for path in (trained, tmp_path / "back" / "model.pt"))
    for name, tensor in one.items():
        expected = tensor.to(dtype) if tensor.is_floating_point() and "version" not in name else tensor
        assert torch.equal(expected, other[name]), name
    with pytest.raises(ValueError, match="float16 or bfloat16, but is 'int8'"):
        export(trained, tmp_path / "x", half="int8")


def test_a_wrong_conversion_is_caught(trained, tmp_path, monkeypatch):
    """Each of the field's known mistakes, made on purpose: the folder does not appear, the old one stays."""
    export(trained, tmp_path / "hf")
    before = (tmp_path / "hf" / "model.safetensors").read_bytes()
    real_config, real_names = outgoing_model.hf_config, outgoing_model.hf_names

    def swapped(names):
        mapped = real_names(names)
        q, k = f"{BODY}layers.0.self_attn.q_proj.weight", f"{BODY}layers.1.self_attn.q_proj.weight"
        mapped[q], mapped[k] = mapped[k], mapped[q]
        return mapped

    mistakes = [
        ("hf_config", lambda *args: {**real_config(*args), "layer_norm_eps": 1e-2}, "embedding"),
        ("hf_config", lambda *args: {**real_config(*args), "num_attention_heads": 4}, "block 1"),
        ("hf_config", lambda *args: {**real_config(*args), "pad_token_id": 3}, "embedding"),
        ("hf_names", swapped, "block 1"),
    ]
    for name, wrong, first in mistakes:
        with monkeypatch.context() as patch:
            patch.setattr(outgoing_model, name, wrong)
            with pytest.raises(VerificationError, match=f"nothing was written.*first {first}"):
                export(trained, tmp_path / "hf", verify=True)
    assert (tmp_path / "hf" / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]
