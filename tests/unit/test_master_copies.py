"""Copies between half-precision weights and float32 masters: the same numbers as fairseq's, in fewer operations."""

from types import SimpleNamespace

import pytest
import torch
from fairseq.optim.fp16_optimizer import FP16Optimizer
from small_optimizer import config
from torch.utils._python_dispatch import TorchDispatchMode

from langsamp_plugin.optim import FairseqFusedAdamW
from langsamp_plugin.training import master_copies

SHAPES = ((5, 3), (7,), (4,), (2, 2))
METHODS = ("_sync_fp16_grads_to_fp32", "_sync_fp32_params_to_fp16", "zero_grad")


@pytest.fixture(params=[torch.float16, torch.bfloat16], ids=str)
def dtype(request):
    return request.param


@pytest.fixture
def stock(monkeypatch):
    """fairseq's methods in place of the patched ones."""
    master_copies.install()
    for name in METHODS:
        monkeypatch.setattr(FP16Optimizer, name, getattr(FP16Optimizer, name).__wrapped__)


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def build(dtype):
    """Four weights: the third gets no gradient, the last is frozen."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(*shape, generator=generator).to(dtype)) for shape in SHAPES]
    weights[-1].requires_grad_(False)
    settings = SimpleNamespace(
        optimizer=config(),
        common=SimpleNamespace(
            bf16=dtype == torch.bfloat16, fp16_scale_window=2, fp16_init_scale=8, fp16_scale_tolerance=0.0,
            threshold_loss_scale=None, min_loss_scale=1e-4,
        ),
    )  # fmt: skip
    masters = FP16Optimizer.build_fp32_params(None, weights, flatten=False)
    return weights, FP16Optimizer(settings, weights, FairseqFusedAdamW(config(), masters), masters)


def train(dtype, updates=5):
    """Return all weights, masters and norms of some updates."""
    weights, optimizer = build(dtype)
    found = []
    for update in range(updates):
        optimizer.zero_grad()
        assert all(weight.grad is None for weight in weights)
        generator = torch.Generator().manual_seed(update)
        factors = [torch.randn(weight.shape, generator=generator) for weight in weights[:2]]
        optimizer.backward(sum((weight.float() * factor).sum() for weight, factor in zip(weights, factors)))
        optimizer.multiply_grads(0.5)
        found.append(optimizer.clip_grad_norm(1.0).clone())
        optimizer.step()
        found += [tensor.detach().clone() for tensor in (*weights, *optimizer.fp32_params)]
    return found


def test_the_numbers_are_those_of_fairseq(dtype, request):
    ours = train(dtype)
    request.getfixturevalue("stock")
    theirs = train(dtype)
    assert len(ours) == len(theirs) and all(map(torch.equal, ours, theirs))
    assert not torch.equal(ours[1], ours[-8]), "the weights moved"
    assert torch.equal(ours[4], ours[-5]), "the frozen weight did not move"


def train_unevenly(dtype):
    """Two backward passes per update; gradients come and go, one overflows, and a weight is unfrozen."""
    weights, optimizer = build(dtype)
    found, overflows = [], 0
    for update, used in enumerate(((0, 1), (1, 2), (0, 2), (0, 3), (0, 1, 2), (3,), (1, 3))):
        weights[-1].requires_grad_(update >= 3)
        optimizer.zero_grad()
        for part in (0, 1):
            generator = torch.Generator().manual_seed(10 * update + part)
            factor = 1e30 if update == 4 else 1.0
            terms = [(weights[i].float() * torch.randn(SHAPES[i], generator=generator)).sum() for i in used]
            optimizer.backward(sum(terms) * factor)
        optimizer.multiply_grads(0.25)
        try:
            found.append(optimizer.clip_grad_norm(1.0).clone())
            optimizer.step()
        except OverflowError:
            overflows += 1
        found += [tensor.detach().clone() for tensor in (*weights, *optimizer.fp32_params)]
        found += [master.grad.clone() for master in optimizer.fp32_params]
    return found, overflows


def test_uneven_updates_are_those_of_fairseq(dtype, request):
    ours, overflows = train_unevenly(dtype)
    assert overflows == (dtype == torch.float16)
    request.getfixturevalue("stock")
    theirs, _ = train_unevenly(dtype)
    assert len(ours) == len(theirs) and all(
        torch.equal(one.nan_to_num(), other.nan_to_num()) for one, other in zip(ours, theirs)
    )


def update(dtype):
    weights, optimizer = build(dtype)
    optimizer.backward(sum(weight.float().sum() for weight in weights[:3]))
    with Operations() as operations:
        optimizer._sync_fp16_grads_to_fp32()
        optimizer._sync_fp32_params_to_fp16()
        optimizer.zero_grad()
    return operations.names


def test_one_operation_copies_all(dtype, request):
    ours = [name for name in update(dtype) if "copy_" in name or "zero_" in name]
    assert ours == ["_foreach_copy_", "_foreach_copy_", "_foreach_zero_"]
    request.getfixturevalue("stock")
    assert update(dtype).count("copy_") == 6, "the control: fairseq's own copies one by one"


def test_one_operation_takes_the_norm(dtype):
    weights, optimizer = build(dtype)
    optimizer.zero_grad()
    optimizer.backward(sum(weight.float().sum() for weight in weights[:3]))
    with Operations() as operations:
        norm = optimizer.clip_grad_norm(0.0)
    assert operations.names.count("_foreach_norm") == 1
    expected = sum(float(master.grad.double().square().sum()) for master in optimizer.fp32_params) ** 0.5
    scale = 1.0 if optimizer.scaler is None else 8
    assert float(norm) == pytest.approx(expected / scale, rel=1e-6)


def test_a_flat_master_is_left_to_fairseq():
    _, optimizer = build(torch.float16)
    optimizer.fp32_params = {None: torch.nn.Parameter(torch.zeros(3))}
    optimizer.fp32_params[None].grad = torch.ones(3)
    optimizer.zero_grad()
    assert not optimizer.fp32_params[None].grad.any()
