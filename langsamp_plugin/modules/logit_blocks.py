"""Logits of a block of masked positions, and the values derived from them.

Tensor names end in their shape: C width, V vocabulary, P vocabulary with padding, R rows of a block.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.modules import fused_softmax

ALIGNED = 64
"""Except in float32 on a CPU, rows of logits are padded to a multiple of this number of elements: fast matrix kernels
of a GPU require rows that start at multiples of 16 bytes, and 401,145 words are an odd number of elements."""

CPU_SLICE = 1024
"""Words per matrix product on a CPU; the fastest from 1,024 to 65,536 (examples/benchmarks)."""


def make_logits(features_RC: Tensor, weight_VC: Tensor, bias_V: Tensor) -> Tensor:
    """Return logits (R, P) in the dtype of their parts.

    P is V in float32 on a CPU, else the next multiple of :data:`ALIGNED`. The logits of padding are -inf, so its share
    of each softmax, and with it of each gradient, is exactly 0.
    """
    rows, words = len(features_RC), len(weight_VC)
    if features_RC.dtype == torch.float32 and features_RC.device.type == "cpu":
        # A few rows times the complete vocabulary: slices that fit into the cache take two thirds of the time.
        logits_RP = features_RC.new_empty(rows, words)
        parts = [slice(start, start + CPU_SLICE) for start in range(0, words, CPU_SLICE)]
    else:
        logits_RP = features_RC.new_empty(rows, -(-words // ALIGNED) * ALIGNED)
        logits_RP[:, words:] = -torch.inf
        parts = aligned_parts(words)
    for part in parts:
        stop = min(part.stop, words)
        torch.addmm(bias_V[part], features_RC, weight_VC[part].t(), out=logits_RP[:, part.start : stop])
    return logits_RP


def aligned_parts(words: int) -> list[slice]:
    """Return the largest part of the vocabulary that :data:`ALIGNED` divides, and the rest if there is one.

    A GPU multiplies matrices of an odd size at less than half the speed, so the product is split in two.
    """
    fit = words // ALIGNED * ALIGNED
    return [part for part in (slice(0, fit), slice(fit, words)) if part.stop > part.start]


class Block(NamedTuple):
    """Values derived from a block's logits, float32 (R,) except for the gradient.

    Args:
        log_sums_R: log-sum-exp over the vocabulary.
        right_R, most_R: the correct word's logit, and the largest logit.
        gradient_RP: gradient of the logits, divided by ``factor_R`` if that is given.
        factor_R: factor of the gradient.
    """

    log_sums_R: Tensor
    right_R: Tensor
    most_R: Tensor
    gradient_RP: Tensor
    factor_R: Optional[Tensor]


def block_in_place(logits_RP: Tensor, target_R: Tensor, with_gradient: bool) -> Block:
    """Return the parts of the loss and the gradient of a block; overwrites its logits."""
    right_R = logits_RP.gather(1, target_R[:, None])[:, 0].float()
    most_R = logits_RP.amax(-1).float()
    if logits_RP.dtype == torch.float32:
        sums_R = logits_RP.sub_(most_R[:, None]).exp_().sum(-1)
        if with_gradient:
            logits_RP.scatter_add_(1, target_R[:, None], -sums_R[:, None])
        return Block(sums_R.log() + most_R, right_R, most_R, logits_RP, sums_R.reciprocal())
    # The subtraction widens as it reads, so the logits are not copied to float32.
    shares_RP = torch.sub(logits_RP, most_R[:, None]).exp_()
    sums_R = shares_RP.sum(-1)
    if with_gradient:
        shares_RP.scatter_add_(1, target_R[:, None], -sums_R[:, None])
        torch.mul(shares_RP, sums_R.reciprocal()[:, None], out=shares_RP)
        logits_RP.copy_(shares_RP)
    return Block(sums_R.log() + most_R, right_R, most_R, logits_RP, None)


def fused_block(logits_RP: Tensor, target_R: Tensor, with_gradient: bool) -> Block:
    """Compute the same as :func:`block_in_place` with compiled functions; the gradient needs no factor."""
    log_sums_R, right_R, most_R = fused_softmax.compiled(fused_softmax.sums)(logits_RP, target_R)
    if with_gradient:
        one = log_sums_R.new_ones(())
        fused_softmax.compiled(fused_softmax.gradient_in_place)(logits_RP, target_R, log_sums_R, one)
    return Block(log_sums_R, right_R, most_R, logits_RP, None)


def gradient_in_place(logits_RP: Tensor, target_R: Tensor, log_sums_R: Tensor, scale: Tensor, fused: bool) -> None:
    """Replace half-precision logits by ``scale * (softmax - onehot)``, rounded once."""
    if fused:
        fused_softmax.compiled(fused_softmax.gradient_in_place)(logits_RP, target_R, log_sums_R, scale)
        return
    shares_RP = logits_RP.float().sub_(log_sums_R[:, None]).exp_()
    shares_RP.scatter_add_(1, target_R[:, None], shares_RP.new_full((len(shares_RP), 1), -1))
    logits_RP.copy_(shares_RP.mul_(scale))
