"""What a training step leaves out, each part against the plain way, and that nothing in it waits for the device."""

import copy

import pytest
import torch
import torch.nn.functional as F
from fairseq.modules.gelu import gelu
from small_step import WORDS, build, make_batch, step, worst
from support import Task
from torch.utils._python_dispatch import TorchDispatchMode

from langsamp_plugin.criterions.langsamp_masked_lm import LangSampMaskedLMCriterion, masked_positions
from langsamp_plugin.modules import head_loss, logit_blocks, tag_embedding
from langsamp_plugin.modules.tied_embedding import TiedGradient, tied_lookup

WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero", "aten::equal"}


class Waits(TorchDispatchMode):
    """Counts what would make the host wait for a GPU: reading a value, or a size that depends on values."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        by_mask = name in ("aten::index", "aten::index_put", "aten::index_put_") and any(
            isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in WAITS or by_mask:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def shipped(batch, padded):
    """A batch as the collater of this package makes it."""
    inputs = {**batch["net_input"], "padded": padded}
    return {
        **batch,
        "net_input": inputs,
        "masked": masked_positions(batch["target"], 1),
        "tag_ids": torch.arange(6) % 2,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("training", [True, False])
def test_nothing_in_a_step_waits_for_the_device(dtype, training, monkeypatch):
    monkeypatch.setitem(head_loss.BLOCK_BYTES, "cpu", 4 * WORDS * 7)
    # Two looks at values that only a CPU takes.
    monkeypatch.setattr(tag_embedding, "extremes", lambda ids: (0, 0))
    monkeypatch.setattr(head_loss, "_is_one_on_cpu", lambda scale: True)
    model, batch = build().to(dtype).train(training), make_batch()
    criterion = LangSampMaskedLMCriterion(Task(words=WORDS), "blocks")
    counts = []
    for given in (shipped(batch, True), batch):
        with Waits() as waits, torch.set_grad_enabled(training):
            loss = criterion(model, given)[0]
            if training:
                loss.backward()
        counts.append(len(waits.found))
    assert counts[0] == 0, "nothing"
    assert counts[1] >= 1 + len(model.encoder.sentence_encoder.layers), "the control: it is not told what is masked"


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("options", [{}, {"encoder_normalize_before": True}])
def test_states_are_fairseqs_where_padding_is_known(padded, options):
    model, batch = build(**options), make_batch(padded)["net_input"]
    for training in (True, False):
        model.train(training)
        found = []
        for known in ({"padded": padded}, {}):
            torch.manual_seed(5)
            found.append(model(**batch, **known, features_only=True)[0])
        assert torch.equal(*found)
    if padded:  # the control
        assert not torch.equal(found[0], model(**batch, padded=False, features_only=True)[0])


def test_positions_that_the_collater_ships_give_the_same_step():
    for kind in ("plain", "blocks"):
        model, batch = build(), make_batch()
        one, other = step(model, batch, kind), step(model, shipped(batch, True), kind)
        assert one[0] == other[0] and one[2] == other[2] and worst(one[1], other[1]) < 1e-6
        wrong = shipped(batch, True)
        wrong["masked"]["rows"] = wrong["masked"]["rows"].flip(0)
        assert worst(step(model, wrong, kind)[1], one[1]) > 1e-3, "the control: tags of other sentences"


def test_gelu_in_the_precision_of_its_input():
    """In float32 fairseq's bit for bit; in half precision the same to a rounding or so, without its float32 copy."""
    x = torch.randn(1_000_000, generator=torch.Generator().manual_seed(1)) * 3
    assert torch.equal(gelu(x), F.gelu(x))
    for dtype, limit in ((torch.bfloat16, 2**-8), (torch.float16, 2**-10)):
        half = x.to(dtype)
        one, other = gelu(half).float(), F.gelu(half).float()
        # Below zero 1 + erf cancels: the rounding of erf, about 2^-24 and not the same on each processor,
        # is multiplied by the input.
        allowed = limit * one.abs() + 2**-23 * (1 + half.float().abs())
        assert ((one - other).abs() <= allowed).all()
        tanh = F.gelu(half, approximate="tanh").float()
        assert not ((one - tanh).abs() <= allowed).all(), "the control"
    assert all(block.activation_fn is F.gelu for block in build().encoder.sentence_encoder.layers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_the_mask_are_summed_by_themselves(dtype):
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(50, 8, generator=generator).to(dtype).requires_grad_()
    tokens = torch.randint(0, 50, (40, 9), generator=generator)
    tokens[torch.rand(40, 9, generator=generator) < 0.3] = 49
    values = torch.randn(40, 9, 8, generator=generator).to(dtype)
    head = torch.randn(50, 8, generator=generator)
    results = {}
    for name, frequent in (("apart", 49), ("together", None), ("wrong", 48)):
        tied = TiedGradient(frequent)
        tied.of_head_VC = head.clone()
        looked = tied_lookup(tokens, weight, 1, tied)
        assert torch.equal(looked, F.embedding(tokens, weight))
        (results[name],) = torch.autograd.grad(looked, weight, values)
    exact = head.double()
    for token, value in zip(tokens.flatten().tolist(), values.double().reshape(-1, 8)):
        if token != 1:
            exact[token] += value
    limit = 1e-5 if dtype == torch.float32 else 2**-7
    for name in ("apart", "together", "wrong"):
        assert torch.allclose(results[name].double(), exact, rtol=limit, atol=limit), name
    skipped = exact.clone()
    skipped[49] = head[49].double()
    assert not torch.allclose(skipped, exact, rtol=limit, atol=limit), "the control"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rows_of_half_precision_logits_are_aligned_in_memory(dtype):
    features, weight, bias = (torch.randn(shape, dtype=dtype) for shape in ((5, 8), (1001, 8), (1001,)))
    logits = logit_blocks.make_logits(features, weight, bias)
    assert logits.shape == (5, 1024) and logits.is_contiguous()
    exact = F.linear(features.double(), weight.double(), bias.double())
    assert torch.allclose(logits[:, :1001].double(), exact, rtol=2**-7, atol=2**-7)
    assert (logits[:, 1001:] == -torch.inf).all(), "padding has no share of the softmax"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fused", [False, True])
def test_a_vocabulary_of_any_size_has_the_same_gradient(dtype, fused, monkeypatch):
    """1,001 words are an aligned product of 960 and one of 41; 40 and 960 words are one product each."""
    for words in (40, 960, 1001):
        monkeypatch.setitem(head_loss.BLOCK_BYTES, "cpu", 4 * words * 3)
        generator = torch.Generator().manual_seed(words)
        shapes = ((8, 16), (words, 16), (words,))
        parts = [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]
        target = torch.randint(words, (8,), generator=generator)
        exact = [part.detach().double().requires_grad_() for part in parts]
        right = F.cross_entropy(F.linear(*exact), target, reduction="sum")
        found = head_loss.masked_lm_loss(*parts, target, "blocks", fused=fused)
        assert found.total.item() == pytest.approx(right.item(), rel=1e-2)
        gradients = zip(torch.autograd.grad(found.total, parts), torch.autograd.grad(right, exact))
        for gradient, correct in gradients:
            assert torch.isfinite(gradient).all()
            assert (gradient.double() - correct).abs().max() < 2e-2 * correct.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_validation_makes_no_gradients(dtype, monkeypatch):
    class Refused:
        def __init__(self, *_):
            raise AssertionError("gradients of the projection in a validation")

    parts = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in ((9, 8), (100, 8), (100,))]
    monkeypatch.setattr(head_loss, "_Gradients", Refused)
    target = torch.arange(9)
    with torch.no_grad():
        found = head_loss.masked_lm_loss(*parts, target, "blocks")
        plain = head_loss.masked_lm_loss(*parts, target, "plain")
    assert found.total.item() == pytest.approx(plain.total.item(), rel=1e-2 if dtype == torch.bfloat16 else 1e-6)
    with pytest.raises(AssertionError, match="gradients of the projection"):
        head_loss.masked_lm_loss(*parts, target, "blocks")


def test_autocast(monkeypatch):
    """--amp: weights in float32, products in half precision; blocks and plain give one loss and one gradient."""
    monkeypatch.setitem(head_loss.BLOCK_BYTES, "cpu", 4 * WORDS * 7)
    model, batch = build(dropout=0.0, attention_dropout=0.0), make_batch()
    exact, results = step(model, batch, "plain"), {}
    for kind in ("plain", "blocks"):
        with torch.autocast("cpu", torch.bfloat16):
            results[kind] = step(copy.deepcopy(model), batch, kind)
        assert results[kind][0] == pytest.approx(exact[0], rel=1e-2)
        assert all(gradient.dtype == torch.float32 for gradient in results[kind][1].values())
        assert worst(results[kind][1], exact[1]) < 0.1
    assert worst(results["blocks"][1], results["plain"][1]) < 0.1


@pytest.mark.parametrize("compile", [False, True])
def test_checkpointed_activations_give_the_same_gradients(compile):
    """Dropout is on: the second time a block is computed it drops the same."""
    plain, kept = build(compile=compile), build(compile=compile, checkpoint_activations=True)
    assert list(plain.state_dict()) == list(kept.state_dict())
    right, found = step(plain, make_batch(), "blocks"), step(kept, make_batch(), "blocks")
    assert found[0] == right[0] and worst(found[1], right[1]) < 1e-6
    assert all(hasattr(block, "precheckpoint_forward") for block in kept.encoder.sentence_encoder.layers)
