"""Logits of a block of masked positions, and the values derived from them.

Tensor names end in their shape: C width, V vocabulary, R rows of a block.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.modules import fused_softmax

ALIGNED = 64
"""Rows of half-precision logits are padded in memory to a multiple of this number of elements: fast matrix kernels of a
GPU require rows that start at multiples of 16 bytes, and 401,145 words are an odd number of elements."""

CPU_SLICE = 1024
"""Words per matrix product on a CPU; the fastest from 1,024 to 65,536 (examples/benchmarks)."""


def make_logits(features_RC: Tensor, weight_VC: Tensor, bias_V: Tensor) -> Tensor:
    """Return logits (R, V) in the dtype of their parts; in half precision, rows are :data:`ALIGNED` in memory."""
    rows, words = len(features_RC), len(weight_VC)
    if features_RC.dtype != torch.float32:
        logits_RV = features_RC.new_empty(rows, -(-words // ALIGNED) * ALIGNED)[:, :words]
        return torch.addmm(bias_V, features_RC, weight_VC.t(), out=logits_RV)
    if features_RC.device.type != "cpu":
        return torch.addmm(bias_V, features_RC, weight_VC.t())
    # A few rows times the complete vocabulary: slices that fit into the cache take two thirds of the time.
    logits_RV = features_RC.new_empty(rows, words)
    for start in range(0, words, CPU_SLICE):
        part = slice(start, start + CPU_SLICE)
        torch.addmm(bias_V[part], features_RC, weight_VC[part].t(), out=logits_RV[:, part])
    return logits_RV


class Block(NamedTuple):
    """Values derived from a block's logits, float32 (R,) except for the gradient.

    Args:
        log_sums_R: log-sum-exp over the vocabulary.
        right_R, most_R: the correct word's logit, and the largest logit.
        gradient_RV: gradient of the logits, divided by ``factor_R`` if that is given.
        factor_R: factor of the gradient.
    """

    log_sums_R: Tensor
    right_R: Tensor
    most_R: Tensor
    gradient_RV: Tensor
    factor_R: Optional[Tensor]


def block_in_place(logits_RV: Tensor, target_R: Tensor, with_gradient: bool) -> Block:
    """Return the parts of the loss and the gradient of a block; overwrites its logits."""
    right_R = logits_RV.gather(1, target_R[:, None])[:, 0].float()
    most_R = logits_RV.amax(-1).float()
    if logits_RV.dtype == torch.float32:
        sums_R = logits_RV.sub_(most_R[:, None]).exp_().sum(-1)
        if with_gradient:
            logits_RV.scatter_add_(1, target_R[:, None], -sums_R[:, None])
        return Block(sums_R.log() + most_R, right_R, most_R, logits_RV, sums_R.reciprocal())
    # The subtraction widens as it reads, so the logits are not copied to float32.
    shares_RV = torch.sub(logits_RV, most_R[:, None]).exp_()
    sums_R = shares_RV.sum(-1)
    if with_gradient:
        shares_RV.scatter_add_(1, target_R[:, None], -sums_R[:, None])
        torch.mul(shares_RV, sums_R.reciprocal()[:, None], out=shares_RV)
        logits_RV.copy_(shares_RV)
    return Block(sums_R.log() + most_R, right_R, most_R, logits_RV, None)


def fused_block(logits_RV: Tensor, target_R: Tensor, with_gradient: bool) -> Block:
    """Compute the same as :func:`block_in_place` with compiled functions; the gradient needs no factor."""
    log_sums_R, right_R, most_R = fused_softmax.compiled(fused_softmax.sums)(logits_RV, target_R)
    if with_gradient:
        one = log_sums_R.new_ones(())
        fused_softmax.compiled(fused_softmax.gradient_in_place)(logits_RV, target_R, log_sums_R, one)
    return Block(log_sums_R, right_R, most_R, logits_RV, None)


def gradient_in_place(logits_RV: Tensor, target_R: Tensor, log_sums_R: Tensor, scale: Tensor, fused: bool) -> None:
    """Replace half-precision logits by ``scale * (softmax - onehot)``, rounded once."""
    if fused:
        fused_softmax.compiled(fused_softmax.gradient_in_place)(logits_RV, target_R, log_sums_R, scale)
        return
    shares_RV = logits_RV.float().sub_(log_sums_R[:, None]).exp_()
    shares_RV.scatter_add_(1, target_R[:, None], shares_RV.new_full((len(shares_RV), 1), -1))
    logits_RV.copy_(shares_RV.mul_(scale))
