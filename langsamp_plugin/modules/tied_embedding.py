"""Computes the gradient of an embedding that is tied to the head's projection as a single tensor."""

from __future__ import annotations

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class TiedGradient:
    """Passes the head's gradient of the tied weight to the lookup, which adds its few rows.

    With plain autograd, the lookup's gradient would be a second tensor of the vocabulary's size, mostly zeros. The
    head's backward pass always runs first, because its input depends on the lookup. The lookup returns the sum, so that
    hooks of the weight (data parallel) see one complete gradient.

    Args:
        frequent: a very frequent token (``<mask>``), whose rows are summed separately.
    """

    def __init__(self, frequent: Optional[int] = None) -> None:
        self.frequent = frequent
        self.of_head_VC: Optional[Tensor] = None


def tied_lookup(tokens: Tensor, weight_VC: Tensor, padding_idx: int, tied: TiedGradient) -> Tensor:
    """Return rows of ``weight_VC``; the value is ``torch.nn.functional.embedding``'s.

    Args:
        tokens: int64, any shape.
        weight_VC: the embedding.
        padding_idx: the token whose row gets no gradient from the lookup.
        tied: must also be passed to the head in the same forward pass.

    Returns:
        ``(*tokens.shape, C)``.
    """
    return _TiedLookup.apply(tokens, weight_VC, padding_idx, tied)


class _TiedLookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight_VC: Tensor, padding_idx: int, tied: TiedGradient) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.padding_idx, ctx.tied, ctx.dtype = padding_idx, tied, weight_VC.dtype
        return F.embedding(tokens, weight_VC)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, None]:
        (tokens,) = ctx.saved_tensors
        total_VC, ctx.tied.of_head_VC = ctx.tied.of_head_VC, None
        if total_VC is None:
            raise RuntimeError("the head's gradient is missing: its loss must be part of the differentiated value")
        flat_N, values_NC = tokens.reshape(-1), gradient.reshape(-1, gradient.shape[-1]).to(total_VC.dtype)
        # Padding contributes nothing; zeroing keeps the shape, whereas dropping rows would need a synchronisation.
        apart_N = flat_N.eq(ctx.padding_idx)
        if ctx.tied.frequent is not None:
            frequent_N = flat_N.eq(ctx.tied.frequent)
            total_VC[ctx.tied.frequent] += torch.mv(values_NC.t(), frequent_N.to(total_VC.dtype))
            apart_N = apart_N | frequent_N
        values_NC = values_NC.masked_fill(apart_N[:, None], 0)
        # A GPU adds the rows of one token sequentially, so the zeros are spread over different rows.
        others_N = torch.arange(len(flat_N), device=flat_N.device).remainder(len(total_VC))
        flat_N = torch.where(apart_N, others_N, flat_N)
        # Not index_add_, whose order of summation is nondeterministic on a GPU.
        total_VC.index_put_((flat_N,), values_NC, accumulate=True)
        return None, total_VC.to(ctx.dtype), None, None
