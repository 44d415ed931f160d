"""The fused optimizer against a loop by hand, torch, and fairseq's own; checkpoints convert in both directions."""

import copy
import math

import pytest
import torch
from fairseq.optim.adam import FairseqAdam as Stock
from fairseq.optim.fp16_optimizer import FP16Optimizer, MemoryEfficientFP16Optimizer
from omegaconf import OmegaConf
from small_optimizer import SETTINGS, config, gradients, parameters, run

from langsamp_plugin.optim.fused_adamw import FairseqFusedAdamW as Fused


def test_by_hand():
    """AdamW in float64 with fairseq's epsilon (here a large one), the factor and the clipping written out."""
    params = parameters()
    values = [param.detach().double().clone() for param in params]
    means, squares = ([torch.zeros_like(value) for value in values] for _ in range(2))
    norms = []
    for step in range(6):
        scaled = [gradient.double() * (0.5, 0.1)[step % 2] for gradient in gradients(step)]
        norms.append(math.sqrt(sum(float((gradient**2).sum()) for gradient in scaled)))
        scaled = [gradient * min(1.0, 1.0 / (norms[-1] + 1e-6)) for gradient in scaled]
        for value, gradient, mean, square in zip(values, scaled, means, squares):
            value *= 1 - 1e-2 * 0.1
            mean.mul_(0.9).add_(0.1 * gradient)
            square.mul_(0.98).add_(0.02 * gradient**2)
            root = (square.sqrt() + 1e-2) / math.sqrt(1 - 0.98 ** (step + 1))
            value -= 1e-2 * mean / (1 - 0.9 ** (step + 1)) / root
    assert run(Fused(config(adam_eps=1e-2), params), params, 6) == pytest.approx(norms, rel=1e-6)
    assert all(torch.allclose(param.double(), value, rtol=0, atol=1e-6) for param, value in zip(params, values))
    untouched = parameters()
    run(Fused(config(adam_eps=1e-2), untouched), untouched, 6, clip=0)
    assert not torch.allclose(untouched[0], params[0], atol=1e-3)


def test_fairseqs_adam_and_checkpoints_both_ways():
    """The same values, and either continues what the other began."""
    results = {}
    for first in (Stock, Fused):
        for second in (Stock, Fused):
            params = parameters()
            optimizer = first(config(adam_eps=1e-2), params)
            run(optimizer, params, 4)
            state = copy.deepcopy(optimizer.state_dict())
            assert {type(values["step"]) for values in state["state"].values()} == {int}
            assert set(state["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
            following = second(config(adam_eps=1e-2), params)
            assert following.__class__.__name__ == optimizer.__class__.__name__
            following.load_state_dict(state, following.optimizer_config)
            run(following, params, 4, first=4)
            results[first, second] = params
    for params in results.values():
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(params, results[Stock, Stock]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_master_weights(dtype):
    """fairseq's wrapper keeps float32 copies; an update smaller than a rounding step adds up over time."""
    cfg = OmegaConf.create(
        {
            "common": {
                "bf16": dtype == torch.bfloat16, "fp16_init_scale": 128, "fp16_scale_window": 100, "tpu": False,
                "fp16_scale_tolerance": 0.0, "threshold_loss_scale": None, "min_loss_scale": 1e-4,
                "memory_efficient_fp16": False, "memory_efficient_bf16": False, "fp16_no_flatten_grads": True,
            },
            "optimization": {"update_freq": [1], "lr": [1e-5]},
            "distributed_training": {"ddp_backend": "legacy_ddp", "distributed_world_size": 1},
            "optimizer": {**SETTINGS, "_name": "fused_adamw", "lr": [1e-5], "weight_decay": 0.0},
        }
    )  # fmt: skip
    params = [torch.nn.Parameter(torch.ones(4, dtype=dtype))]
    optimizer = FP16Optimizer.build_optimizer(cfg, params)
    assert isinstance(optimizer.fp32_optimizer, Fused)
    for _ in range(200):
        optimizer.zero_grad()
        optimizer.backward((params[0].float() * 3).sum())
        optimizer.multiply_grads(0.25)
        assert float(optimizer.clip_grad_norm(0.0)) == pytest.approx(0.75 * 2, rel=1e-3)
        optimizer.step()
    (master,) = optimizer.fp32_params
    # Adam moves by the learning rate when the gradient is constant: 200 x 1e-5.
    assert master.dtype == torch.float32 and torch.allclose(master, torch.full((4,), 1 - 2e-3), atol=2e-5)
    alone = torch.ones(4, dtype=dtype)
    for _ in range(200):
        alone -= 1e-5
    assert float(alone[0]) == 1.0
    cfg.common.memory_efficient_fp16 = True
    with pytest.raises(
        ValueError, match="fused_adamw must not be combined with --memory-efficient-fp16.*use --optimizer adam"
    ):
        MemoryEfficientFP16Optimizer.build_optimizer(cfg, params)
