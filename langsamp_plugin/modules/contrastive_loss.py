"""InfoNCE between the two sides of pairs, with negatives from all data-parallel workers.

Tensor names end in their shape: N pairs of this worker, M pairs of all workers, C width, K keys of a pair, B sentences,
T tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class ContrastiveLoss(NamedTuple):
    """Sums over the pairs of this worker.

    Args:
        total: float32 scalar, the summed loss in nats, mean of both directions; gradients flow from it.
        pairs: total number of pairs of all workers.
        correct: float32 scalar, number of sentences whose nearest neighbour is their translation, mean of both
            directions.
        margin: float32 scalar, summed over pairs: cosine of the pair minus the mean cosine of its negatives.
    """

    total: Tensor
    pairs: int
    correct: Tensor
    margin: Tensor


def contrastive_loss(one_NC: Tensor, other_NC: Tensor, keys_NK: Tensor, temperature: float) -> ContrastiveLoss:
    """Return InfoNCE (van den Oord et al. 2018) of cosines divided by the temperature, in both directions.

    For each sentence of one side the candidates are the other side's sentences of all workers. A candidate is excluded
    if its pair shares a key with the sentence's own pair (the same message, or the same text on any side), so that
    translations of one message or of equal texts never repel each other.

    Args:
        one_NC, other_NC: states of the sentences, row i of one is the translation of row i of the other; any float
            dtype, computed in float32. All workers have the same number of rows.
        keys_NK: int64, keys that relate pairs, such as message and both texts; each key is compared with all keys of
            the other pair.
        temperature: above 0.
    """
    sides_2NC = F.normalize(torch.stack([one_NC.float(), other_NC.float()]), dim=-1)
    one_NC, other_NC = sides_2NC
    rank, workers = _place()
    rows_M2C = _GatherRows.apply(sides_2NC.transpose(0, 1).contiguous()) if workers > 1 else sides_2NC.transpose(0, 1)
    keys_MK = _gather(keys_NK) if workers > 1 else keys_NK
    one_MC, other_MC = rows_M2C.unbind(1)
    count = len(one_NC)
    own_N = torch.arange(rank * count, (rank + 1) * count, device=one_NC.device)
    related_NM = (keys_NK[:, None, :, None] == keys_MK[None, :, None, :]).flatten(2).any(-1)
    related_NM = related_NM.scatter(1, own_N[:, None], False)
    sums = [_direction(query_NC, rows_MC, related_NM, own_N, temperature) for query_NC, rows_MC in (
        (one_NC, other_MC), (other_NC, one_MC),
    )]  # fmt: skip
    total, correct, margin = (sum(parts[1:], parts[0]) / 2 for parts in zip(*sums))
    return ContrastiveLoss(total, count * workers, correct, margin)


def _direction(
    query_NC: Tensor, rows_MC: Tensor, related_NM: Tensor, own_N: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    cosines_NM = query_NC @ rows_MC.t()
    logits_NM = (cosines_NM / temperature).masked_fill(related_NM, -torch.inf)
    total = F.cross_entropy(logits_NM, own_N, reduction="sum")
    with torch.no_grad():
        right_N = logits_NM.gather(1, own_N[:, None])[:, 0]
        # A pair without remaining negatives counts neither as correct nor towards the margin.
        negative_NM = (~related_NM).scatter(1, own_N[:, None], False)
        negatives_N = negative_NM.sum(1)
        correct = ((right_N >= logits_NM.amax(1)) & (negatives_N > 0)).sum().float()
        mean_N = (cosines_NM * negative_NM).sum(1) / negatives_N.clamp(min=1)
        margin = ((right_N * temperature - mean_N) * (negatives_N > 0)).sum()
    return total, correct, margin


def mean_pooled(states_TBC: Tensor, padding_BT: Tensor) -> Tensor:
    """Return the mean state of each sentence over all non-padding tokens, including ``<s>`` and ``</s>``.

    Args:
        states_TBC: states in fairseq's order, time first.
        padding_BT: bool, true for padding.

    Returns:
        float32 (B, C).
    """
    weights_TB1 = (~padding_BT).t().unsqueeze(-1).float()
    return (states_TBC.float() * weights_TB1).sum(0) / weights_TB1.sum(0).clamp(min=1)


def _place() -> tuple[int, int]:
    """Return the rank of this worker and the number of workers."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def _gather(rows: Tensor) -> Tensor:
    """Return the rows of all workers, ordered by rank."""
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


class _GatherRows(torch.autograd.Function):
    """:func:`_gather` with gradients: each row's gradient is summed over all workers and returned to its origin."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        return _gather(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[dist.get_rank() * ctx.count :][: ctx.count]


def sum_over_workers(value: Tensor) -> Tensor:
    """Return a scalar summed over all workers, without gradient."""
    value = value.detach().clone()
    if _place()[1] > 1:
        dist.all_reduce(value)
    return value
