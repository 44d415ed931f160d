"""LangSAMP on Megatron-Core computes what transformers computes, split over ranks or not."""

import pytest
import torch

pytest.importorskip("megatron.core", reason="needs the extra megatron")

from megatron_jobs import SIZES, TABLES, build, forward_backward
from megatron_ranks import run_ranks
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM, XLMRobertaXLConfig, XLMRobertaXLForMaskedLM

from langsamp_plugin.convert.key_map import fairseq_names
from langsamp_plugin.megatron.model import position_ids
from langsamp_plugin.megatron.parallel import alone
from langsamp_plugin.megatron.sizes import ModelSizes, transformer_config
from langsamp_plugin.megatron.weights import to_megatron
from langsamp_plugin.modules.tag_embedding import encode_codes

PADDED = 128
GRAD = 1e-5


def hugging_face(post_norm=True, token_types=0):
    """A random XLM-R of transformers, and its weights by fairseq's names; no tensor is zero or one."""
    torch.manual_seed(0)
    config = {
        "vocab_size": SIZES.words, "hidden_size": SIZES.width, "num_hidden_layers": SIZES.layers, "type_vocab_size": 1,
        "num_attention_heads": SIZES.heads, "intermediate_size": SIZES.inner, "layer_norm_eps": SIZES.eps,
        "max_position_embeddings": SIZES.positions + 2, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        "pad_token_id": 1,
    }  # fmt: skip
    kinds = (XLMRobertaConfig, XLMRobertaForMaskedLM) if post_norm else (XLMRobertaXLConfig, XLMRobertaXLForMaskedLM)
    model = kinds[1](kinds[0](**config)).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        if not token_types:
            model.roberta.embeddings.token_type_embeddings.weight.zero_()
    source = model.state_dict()
    names = fairseq_names(source, xl=not post_norm)
    weights = {target: source[name].clone() for name, target in names.items() if target is not None}
    if token_types:
        row = source["roberta.embeddings.token_type_embeddings.weight"]
        weights["encoder.sentence_encoder.token_types.weight"] = row.clone()
    for kind, codes in zip(("lang", "script"), TABLES):
        weights[f"encoder.{kind}_embedding.weight"] = torch.randn(len(codes), SIZES.width)
        weights[f"encoder.{kind}_embedding.codes"] = encode_codes(list(codes))
    return model, weights


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(4, SIZES.words, (4, 16), generator=generator)
    mask = torch.ones(4, 16, dtype=torch.bool)
    mask[1, 10:] = mask[3, 3:] = False
    tokens[~mask] = 1
    chosen = (torch.rand(4, 16, generator=generator) < 0.3) & mask
    return {
        "tokens": tokens, "mask": mask, "labels": tokens.where(chosen, torch.tensor(-100)),
        "lang_ids": torch.tensor([0, 1, -1, 2]), "script_ids": torch.tensor([0, 0, -1, 1]),
    }  # fmt: skip


def reference(model, weights, batch, embed_tags="both"):
    """Logits, losses and gradients by transformers, the tables added by hand."""
    tables = {}
    total = torch.zeros(len(batch["tokens"]), SIZES.width)
    for kind in ("lang", "script"):
        if embed_tags in ("both", kind):
            rows = tables[kind] = weights[f"encoder.{kind}_embedding.weight"].clone().requires_grad_()
            ids = batch[f"{kind}_ids"]
            total = total + rows[ids.clamp_min(0)] * (ids >= 0)[:, None]
    h = model.roberta(batch["tokens"], attention_mask=batch["mask"].long()).last_hidden_state
    logits = model.lm_head(h + total[:, None])
    chosen = batch["labels"] >= 0
    losses = torch.nn.functional.cross_entropy(logits[chosen], batch["labels"][chosen], reduction="none")
    losses.sum().backward()
    grads = {f"{kind}_embedding.weight": rows.grad for kind, rows in tables.items()}
    grads["embedding.word_embeddings.weight"] = model.roberta.embeddings.word_embeddings.weight.grad
    first = model.roberta.encoder.layer[1]
    norm = first.attention.output.LayerNorm if hasattr(first.attention.output, "LayerNorm") else first.LayerNorm
    grads["encoder.layers.1.pre_mlp_layernorm.weight"] = norm.weight.grad
    return logits.detach(), losses.detach(), grads


def largest(one, other):
    return (one - other).abs().max().item()


def assert_equal(found, wanted, batch, tolerance=1e-5):
    """``found`` is a list of what each tensor-parallel rank has."""
    logits, losses, grads = wanted
    whole = torch.cat([rank["logits"] for rank in found], dim=-1)[..., : SIZES.words]
    assert largest(whole[batch["mask"]], logits[batch["mask"]]) < tolerance
    for rank in found:
        assert largest(rank["losses"], losses) < tolerance
        for name, gradient in grads.items():
            if name != "embedding.word_embeddings.weight":
                assert largest(rank["grads"][name], gradient) < GRAD * max(1, gradient.abs().max().item()), name
    words = torch.cat([rank["grads"]["embedding.word_embeddings.weight"] for rank in found])
    gradient = grads["embedding.word_embeddings.weight"]
    assert largest(words[: SIZES.words], gradient) < GRAD * max(1, gradient.abs().max().item())
    assert not words[SIZES.words :].any(), "words that pad the vocabulary are never moved"


@pytest.mark.parametrize("post_norm", [True, False], ids=["xlmr", "xl"])
@pytest.mark.parametrize("embed_tags", ["both", "lang", "script", "none"])
def test_logits_loss_and_gradients_are_those_of_transformers(batch, post_norm, embed_tags):
    model, weights = hugging_face(post_norm)
    sizes = SIZES._replace(post_norm=post_norm, embed_tags=embed_tags)
    kept = {
        name: tensor for name, tensor in weights.items()
        if ("lang_" not in name and "script_" not in name) or embed_tags in ("both", name.split(".")[1].split("_")[0])
    }  # fmt: skip
    theirs = to_megatron(kept, sizes, PADDED)
    wanted = reference(model, weights, batch, embed_tags)
    with alone():
        found = forward_backward(sizes, theirs, batch, PADDED)
        assert_equal([found], wanted, batch)
        # The controls: one LayerNorm left at its start, or the languages of two rows swapped.
        name = "encoder.layers.0.input_layernorm.weight"
        broken = {**theirs, name: torch.ones_like(theirs[name])}
        assert largest(forward_backward(sizes, broken, batch, PADDED)["losses"], wanted[1]) > 1e-3
        swapped = {**batch, "lang_ids": batch["lang_ids"].flip(0), "script_ids": batch["script_ids"].flip(0)}
        changed = largest(forward_backward(sizes, theirs, swapped, PADDED)["losses"], wanted[1])
    assert changed > 1e-3 if embed_tags != "none" else changed < 1e-5


@pytest.mark.parametrize("post_norm", [True, False], ids=["xlmr", "xl"])
@pytest.mark.parametrize("sequence_parallel", [False, True], ids=["tensor", "sequence"])
def test_two_tensor_parallel_ranks_compute_the_same(batch, post_norm, sequence_parallel):
    model, weights = hugging_face(post_norm)
    sizes = SIZES._replace(post_norm=post_norm)
    theirs = to_megatron(weights, sizes, PADDED)
    wanted = reference(model, weights, batch)
    found = run_ranks(2, forward_backward, sizes, theirs, batch, PADDED, sequence_parallel, tensor_parallel=2)
    assert_equal(found, wanted, batch)
    # The control: each rank has half of the words, so either half alone has another loss.
    assert found[0]["logits"].shape[-1] == PADDED // 2


def test_a_token_type_of_hugging_face_is_kept(batch):
    model, weights = hugging_face(token_types=1)
    sizes = SIZES._replace(token_types=1)
    wanted = reference(model, weights, batch)
    with alone():
        assert_equal([forward_backward(sizes, to_megatron(weights, sizes, PADDED), batch, PADDED)], wanted, batch)


def test_positions_are_counted_from_the_padding_id():
    tokens = torch.tensor([[0, 5, 6, 2], [1, 0, 2, 1]])
    assert position_ids(tokens).tolist() == [[2, 3, 4, 5], [1, 2, 3, 1]]


def test_dropout_falls_where_it_falls_in_xlmr(batch):
    """With all of it switched on at 1, only what it cannot reach is left: the last LayerNorm's bias."""
    _, weights = hugging_face()
    with alone():
        model = build(SIZES, to_megatron(weights, SIZES, PADDED), padded=PADDED)
        assert model.embedding.embedding_dropout.p == 0.0
        layer = model.encoder.layers[0]
        seen = []
        layer.self_attention.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        layer.hidden_dropout = 1.0
        model.train()
        model.encode(batch["tokens"], batch["mask"])
        assert not seen[0].any(), "the embeddings are dropped out of after their LayerNorm"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"tensor_model_parallel_size": 3}, "4 heads must be divisible by the tensor-parallel size, but it is 3"),
        ({"bias_activation_fusion": True}, "bias_activation_fusion must be False, but is True"),
        ({"normalization": "RMSNorm"}, "normalization must be LayerNorm, but is RMSNorm"),
    ],
)
def test_a_configuration_that_is_not_of_xlmr_is_refused(change, message):
    with alone(), pytest.raises(ValueError, match=message):
        build(SIZES, {}, **change) if "tensor_model_parallel_size" not in change else transformer_config(
            SIZES, **change
        )


@pytest.mark.parametrize(
    "padded, ranks, message",
    [
        (100, 1, "at least the 101 words, but is 100"),
        (103, 2, "divisible by the tensor-parallel size 2, but is 103: take 104"),
    ],
)
def test_a_vocabulary_that_does_not_divide_is_refused(padded, ranks, message):
    from langsamp_plugin.megatron.model import check_vocabulary

    with pytest.raises(ValueError, match=message):
        check_vocabulary(101, padded, ranks)


@pytest.mark.parametrize(
    "field, value",
    [("layers", 0), ("heads", 5), ("eps", 2.0), ("token_types", 2), ("embed_tags", "all"), ("width", "32")],
)
def test_sizes_that_are_none_are_refused(field, value):
    with pytest.raises(ValueError, match=field if field != "heads" else "width"):
        ModelSizes(**{**SIZES._asdict(), field: value}).check()
