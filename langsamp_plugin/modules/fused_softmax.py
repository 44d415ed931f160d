"""Softmax of a block of logits and its gradient, compiled: each logit is read twice and written once.

Eager PyTorch makes one pass over the block per operation, and in half precision a float32 copy of it. ``torch.compile``
fuses the operations below: maximum and sum of exponentials into one pass, the gradient into another. The eager
reference is in :mod:`langsamp_plugin.modules.head_loss`.

Tensor names end in their shape: V vocabulary, R rows of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor


def sums(logits_RV: Tensor, target_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log-sum-exp, the correct word's logit and the largest logit; float32 (R,) each.

    Args:
        logits_RV: float32, bfloat16 or float16.
        target_R: int64.
    """
    wide_RV = logits_RV.float()
    most_R = wide_RV.amax(-1)
    log_sums_R = (wide_RV - most_R[:, None]).exp().sum(-1).log() + most_R
    return log_sums_R, wide_RV.gather(1, target_R[:, None])[:, 0], most_R


def gradient_in_place(logits_RV: Tensor, target_R: Tensor, log_sums_R: Tensor, scale: Tensor) -> None:
    """Replace the logits by ``scale * (softmax - onehot)``, rounded once.

    Args:
        logits_RV: float32, bfloat16 or float16.
        target_R: int64.
        log_sums_R: float32, from :func:`sums`.
        scale: float32 scalar.
    """
    shares_RV = (logits_RV.float() - log_sums_R[:, None]).exp()
    right_RV = torch.arange(logits_RV.shape[1], device=logits_RV.device) == target_R[:, None]
    logits_RV.copy_(torch.where(right_RV, shares_RV - 1, shares_RV) * scale)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function compiled for any number of rows; the first call takes several seconds.

    The size of the vocabulary is a constant of the kernel: a division by a variable, once per logit, would take as long
    as the memory traffic.
    """

    def call(*tensors: Tensor) -> Any:
        for tensor in tensors:
            if tensor.dim():
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return _compiled(function)(*tensors)

    return call


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=False)
