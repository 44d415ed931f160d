"""The blockwise loss against plain logits, and the sparse gradient of the tied embedding against the dense one."""

import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode

from langsamp_plugin.modules import fused_softmax
from langsamp_plugin.modules import head_loss as module
from langsamp_plugin.modules.fused_softmax import sums
from langsamp_plugin.modules.head_loss import in_blocks, masked_lm_loss, rows_of_a_block
from langsamp_plugin.modules.tied_embedding import TiedGradient, tied_lookup

# Largest difference allowed, relative to the largest entry of the reference: a few roundings of the dtype.
TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def make(tokens, width, vocabulary, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features, weight, bias = (
        torch.randn(*shape, generator=generator).mul(spread).to(dtype).requires_grad_()
        for shape, spread in (((tokens, width), 1.0), ((vocabulary, width), 0.3), ((vocabulary,), 1.0))
    )
    return features, weight, bias, torch.randint(vocabulary, (tokens,), generator=generator)


def difference(one, other):
    one, other = one.detach().double(), other.detach().double()
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("tokens", [1, 64, 65, 300])
@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_blocks_equal_float64(dtype, tokens, scale, monkeypatch):
    """The reference is cross_entropy of torch in float64 on the same rounded inputs."""
    monkeypatch.setitem(module.BLOCK_BYTES, "cpu", 64 * 4 * 999)
    features, weight, bias, target = make(tokens, 32, 999, dtype)
    exact = [tensor.detach().double().requires_grad_() for tensor in (features, weight, bias)]
    logits = F.linear(exact[0], exact[1], exact[2])
    losses = F.cross_entropy(logits, target, reduction="none")
    reference = torch.autograd.grad(losses.sum() * scale, exact)
    found = masked_lm_loss(features, weight, bias, target, "blocks")
    assert found.total.dtype == found.losses_N.dtype == torch.float32
    assert difference(found.losses_N, losses) < TOLERANCE[dtype]
    assert found.total.item() == pytest.approx(float(found.losses_N.double().sum()), rel=1e-6)
    if dtype == torch.float32:
        assert torch.equal(found.correct_N, logits.argmax(-1).eq(target))
    for gradient, right in zip(torch.autograd.grad(found.total * scale, (features, weight, bias)), reference):
        assert gradient.dtype == dtype and difference(gradient, right) < TOLERANCE[dtype]


def test_blocks_equal_plain_and_a_wrong_target_does_not(monkeypatch):
    monkeypatch.setitem(module.BLOCK_BYTES, "cpu", 16 * 4 * 500)
    features, weight, bias, target = make(100, 24, 500, torch.float32)
    results = {}
    for name, kind, right in (
        ("plain", "plain", target),
        ("blocks", "blocks", target),
        ("wrong", "blocks", target + 1),
    ):
        found = masked_lm_loss(features, weight, bias, right % 500, kind)
        results[name] = (found.losses_N, *torch.autograd.grad(found.total, (features, weight, bias)), found.correct_N)
    assert all(difference(one, other) < 3e-6 for one, other in zip(results["blocks"][:4], results["plain"][:4]))
    assert torch.equal(results["blocks"][4], results["plain"][4])
    assert all(difference(one, other) > 1e-2 for one, other in zip(results["wrong"][:4], results["plain"][:4]))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_fused_blocks_equal_the_eager_ones(dtype, monkeypatch):
    """Compiled, for any number of rows: the last block is a smaller one; the control scales the logits."""
    monkeypatch.setitem(module.BLOCK_BYTES, "cpu", 16 * 4 * 501)
    features, weight, bias, target = make(41, 24, 501, dtype)
    results = []
    for fused in (False, True):
        found = masked_lm_loss(features, weight, bias, target, "blocks", fused=fused)
        results.append((found.losses_N, *torch.autograd.grad(found.total * 8, (features, weight, bias))))
    assert all(difference(one, other) < TOLERANCE[dtype] for one, other in zip(*results))
    if dtype == torch.float32:  # once, because it compiles again
        wrong = lambda logits, target: fused_softmax.sums(logits * 1.01, target)  # noqa: E731
        monkeypatch.setattr(fused_softmax, "compiled", lambda function: wrong if function is sums else function)
        found = masked_lm_loss(features, weight, bias, target, "blocks", fused=True)
        assert difference(found.losses_N, results[0][0]) > 1e-3


def test_one_compilation_serves_any_number_of_rows(monkeypatch):
    """The vocabulary's size stays a constant; the control compiles for each number of rows."""
    compilations = []
    for dynamic in (True, False):
        torch._dynamo.reset()  # after eight compilations by other tests, torch would compile no more
        counter = CompileCounter()
        compiled = torch.compile(sums, dynamic=False, backend=counter)
        monkeypatch.setattr(fused_softmax, "_compiled", lambda _, compiled=compiled: compiled)
        for rows in (5, 8, 64):
            logits, target = torch.randn(rows, 101), torch.randint(101, (rows,))
            (fused_softmax.compiled(sums) if dynamic else compiled)(logits, target)
        compilations.append(counter.frame_count)
    assert compilations == [1, 3]


def test_small_gradients_survive_float16(monkeypatch):
    """The loss scale is applied before rounding: without one, most words' shares are too small for float16."""
    monkeypatch.setitem(module.BLOCK_BYTES, "cpu", 4 * 20000)
    features, weight, bias, target = make(1, 8, 20000, torch.float16)
    with torch.no_grad():
        bias.mul_(3)
    logits = F.linear(features.double(), weight.double(), bias.double())
    exact = torch.softmax(logits, -1).T @ features.double()
    exact[target] -= features[0].double()
    exact, errors = exact.detach(), {}
    for scale in (1.0, 8192.0):
        found = masked_lm_loss(features, weight, bias, target, "blocks").total * scale
        gradient = torch.autograd.grad(found, weight)[0].double() / scale
        errors[scale] = float(((gradient - exact).abs() / exact.abs()).median())
    assert errors[8192.0] < 2e-3 < 1e-2 < errors[1.0]


def test_nothing_masked_and_no_gradients():
    features, weight, bias, target = make(0, 8, 100, torch.float32)
    for kind in ("plain", "blocks"):
        found = masked_lm_loss(features, weight, bias, target, kind)
        assert found.total == 0 and len(found.losses_N) == len(found.correct_N) == 0
        gradients = torch.autograd.grad(found.total, (features, weight, bias))
        assert [tuple(g.shape) for g in gradients] == [(0, 8), (100, 8), (100,)] and not gradients[1].any()
    features, weight, bias, target = make(9, 8, 100, torch.float32)
    with torch.no_grad():
        assert not masked_lm_loss(features, weight, bias, target, "blocks").total.requires_grad


def test_never_more_than_a_block_of_logits(monkeypatch):
    """Every tensor made on the way is counted: none but the weight's gradient is larger than a block."""
    monkeypatch.setitem(module.BLOCK_BYTES, "cpu", 10 * 4 * 3000)
    features, weight, bias, target = make(200, 16, 3000, torch.float32)
    sizes = {}

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            for tensor in made if isinstance(made, (tuple, list)) else [made]:
                if isinstance(tensor, torch.Tensor):
                    sizes[self.kind] = max(sizes.get(self.kind, 0), tensor.numel())
            return made

    for kind in ("plain", "blocks"):
        counter = Count()
        counter.kind = kind
        with counter:
            masked_lm_loss(features, weight, bias, target, kind).total.backward()
    assert sizes == {"plain": 200 * 3000, "blocks": max(10 * 3000, weight.numel())}


def test_choice(monkeypatch):
    assert rows_of_a_block(torch.empty(250_002, 0)) == 134 and rows_of_a_block(torch.empty(10**9, 0)) == 1
    card = type("Card", (), {"total_memory": 80 * 2**30})()
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert rows_of_a_block(torch.empty(401_145, 0, device="meta")) == 4461
    large, small = torch.empty(250_002, 0), torch.empty(8_000, 0)
    assert [in_blocks(154, table) for table in (large, small)] == [True, False]
    assert [in_blocks(154, small, kind) for kind in ("plain", "blocks")] == [False, True]
    with pytest.raises(ValueError, match="head loss must be one of auto, blocks, plain, but is fast"):
        masked_lm_loss(*make(2, 2, 5, torch.float32), "fast")
    found = masked_lm_loss(*make(2, 2, 5, torch.float32)[:4], "blocks").total
    found.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="only one backward pass"):
        found.backward()


def test_against_torchs_own():
    """torch.nn.functional.linear_cross_entropy, where the installed torch has it."""
    if not hasattr(F, "linear_cross_entropy"):
        assert torch.__version__ < "2.13"
        return
    features, weight, bias, target = make(50, 16, 700, torch.float32)
    options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=16)
    theirs = F.linear_cross_entropy(features, weight, target, linear_bias=bias, reduction="sum", options=options)
    ours = masked_lm_loss(features, weight, bias, target, "blocks").total
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    parts = (features, weight, bias)
    for one, other in zip(torch.autograd.grad(ours, parts), torch.autograd.grad(theirs, parts)):
        assert difference(one, other) < 3e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 64.0])
def test_tied_embedding(dtype, scale):
    """Value and gradient are those of the dense embedding; padding's row gets the head's part only."""
    _, weight, bias, target = make(6, 8, 50, dtype)
    tokens = torch.tensor([[3, 3, 7], [1, 49, 3]])
    results = []
    for tied in (TiedGradient(), None):
        rows = F.embedding(tokens, weight, 1) if tied is None else tied_lookup(tokens, weight, 1, tied)
        total = masked_lm_loss(rows.reshape(-1, 8) * 2, weight, bias, target, "blocks", tied).total * scale
        results.append((rows.detach(), *torch.autograd.grad(total, (weight, bias))))
    assert torch.equal(results[0][0], results[1][0]) and results[0][1].dtype == dtype
    assert difference(results[0][1], results[1][1]) < TOLERANCE[dtype]
    assert torch.equal(results[0][2], results[1][2])
    with pytest.raises(RuntimeError, match="the head's gradient is missing"):
        tied_lookup(tokens, weight, 1, TiedGradient()).float().sum().backward()


def test_one_gradient_of_the_vocabularys_size():
    """With a tied gradient two such tensors are never made; left to autograd they are."""
    _, weight, bias, target = make(6, 8, 5000, torch.float32)
    tokens = torch.tensor([[3, 3, 7], [1, 49, 3]])
    addresses = {True: set(), False: set()}

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.shape == weight.shape:
                addresses[tied is not None].add(result.data_ptr())
            return result

    for tied in (TiedGradient(), None):
        with Count():
            rows = F.embedding(tokens, weight, 1) if tied is None else tied_lookup(tokens, weight, 1, tied)
            masked_lm_loss(rows.reshape(-1, 8), weight, bias, target, "blocks", tied).total.backward()
    assert len(addresses[True] - {weight.data_ptr()}) == 1 < len(addresses[False] - {weight.data_ptr()})
