"""Copies between half-precision weights and float32 masters in a few kernels.

Without ``--fp16-no-flatten-grads``, fp16 has one flat master, and a copy is one kernel. With it, and with ``--bf16``,
fairseq copies each weight separately: about 600 small kernels per update of XLM-R base, which a GPU waits for
(examples/benchmarks). The values are the same.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from fairseq.optim.fp16_optimizer import FP16Optimizer
from torch import Tensor


def install() -> None:
    """Patch fairseq's half-precision optimizer. Idempotent."""
    if not hasattr(FP16Optimizer.zero_grad, "langsamp"):
        FP16Optimizer._sync_fp16_grads_to_fp32 = _unless_flat(FP16Optimizer._sync_fp16_grads_to_fp32, copy_gradients)
        FP16Optimizer._sync_fp32_params_to_fp16 = _unless_flat(FP16Optimizer._sync_fp32_params_to_fp16, copy_weights)
        FP16Optimizer.zero_grad = _unless_flat(FP16Optimizer.zero_grad, clear_gradients)


def _unless_flat(stock: Any, own: Any) -> Any:
    @wraps(stock)
    def method(self: Any) -> None:
        if isinstance(self.fp32_params, list):
            own(self)
        else:
            stock(self)

    method.langsamp = True  # type: ignore[attr-defined]
    return method


def copy_gradients(optimizer: FP16Optimizer) -> None:
    """Copy the weights' gradients to the masters; a weight without a gradient gets zeros."""
    if not optimizer._needs_sync:
        return
    gradients: list[Tensor] = []
    masters: list[Tensor] = []
    for weight, master in _trained(optimizer):
        if master.grad is None:
            master.grad = torch.zeros_like(master)
        if weight.grad is None:
            master.grad.zero_()
        else:
            gradients.append(weight.grad.detach())
            masters.append(master.grad)
    if masters:
        torch._foreach_copy_(masters, gradients)
    optimizer._needs_sync = False


def copy_weights(optimizer: FP16Optimizer) -> None:
    """Round the masters into the model's weights."""
    pairs = [(weight.data, master.data) for weight, master in _trained(optimizer)]
    if pairs:
        weights, masters = map(list, zip(*pairs))
        torch._foreach_copy_(weights, masters)


def clear_gradients(optimizer: FP16Optimizer) -> None:
    """Drop the weights' gradients and set the masters' to zero."""
    for weight in optimizer.fp16_params:
        weight.grad = None
    gradients = [master.grad for master in optimizer.fp32_params if master.grad is not None]
    if gradients:
        torch._foreach_zero_(gradients)
    optimizer._needs_sync = False
    if optimizer.scaler is not None:
        optimizer._multiply_factor = 1.0 / float(optimizer.scaler.loss_scale)


def _trained(optimizer: FP16Optimizer) -> list[tuple[Tensor, Tensor]]:
    return [
        (weight, master) for weight, master in zip(optimizer.fp16_params, optimizer.fp32_params) if weight.requires_grad
    ]
