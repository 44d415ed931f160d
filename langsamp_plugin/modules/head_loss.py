"""Cross-entropy over a large vocabulary without storing all logits.

With 250,000 to 400,000 words the logits of a batch, their log-probabilities and the gradients of both are the largest
tensors of a training step. Here they and everything derived from them exist for one block of masked positions at a
time. Only the gradient of the projection, which the optimizer needs anyway, has the size of the vocabulary.

Tensor names end in their shape: N masked tokens, C width, V vocabulary, P vocabulary with padding, R rows of a block,
W words of a matrix product.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from langsamp_plugin.modules.logit_blocks import (
    aligned_parts,
    block_in_place,
    fused_block,
    gradient_in_place,
    make_logits,
)
from langsamp_plugin.modules.tied_embedding import TiedGradient

BLOCK_BYTES = {"cpu": 2**27}
"""Size of a block of logits in float32, by type of device. Each block costs one pass over the projection's gradient: on
two cores at 250,002 words 128 MB lose a tenth against one block, 16 MB take more than twice as long
(scripts/benchmarks/head.py --megabytes). Other devices use :data:`SHARE_OF_MEMORY`."""

SHARE_OF_MEMORY = 12
"""Denominator of the share of a GPU's memory that a block takes: 80 GB hold all 4,915 masked tokens of 64 x 512 at
401,145 words in about one block, 24 GB in four. Estimated and not measured."""


KINDS = ("auto", "blocks", "plain")


class TokenLosses(NamedTuple):
    """Losses of masked tokens.

    Args:
        total: float32 scalar, the sum of ``losses_N``; gradients flow from it.
        losses_N: float32, in nats, without gradient.
        correct_N: bool, whether no word has a higher logit than the correct one.
    """

    total: Tensor
    losses_N: Tensor
    correct_N: Tensor


def in_blocks(tokens: int, weight_VC: Tensor, kind: str = "auto") -> bool:
    """Return whether :func:`masked_lm_loss` computes the logits block by block.

    Raises:
        ValueError: ``kind`` is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"head loss must be one of {', '.join(KINDS)}, but is {kind}")
    return kind == "blocks" or (kind == "auto" and tokens > rows_of_a_block(weight_VC) // 8)


def masked_lm_loss(
    features_NC: Tensor,
    weight_VC: Tensor,
    bias_V: Tensor,
    target_N: Tensor,
    kind: str = "auto",
    tied: Optional[TiedGradient] = None,
    fused: bool = False,
) -> TokenLosses:
    """Return the cross-entropy of ``softmax(features @ weight.T + bias)``, summed in float32.

    Args:
        features_NC: float32, bfloat16 or float16, the input of the last projection.
        weight_VC: in the same dtype.
        bias_V: in the same dtype.
        target_N: int64.
        kind: ``plain`` computes all logits at once; ``blocks`` computes them block by block, with equal value and
            gradient up to rounding; ``auto`` selects ``blocks`` for more tokens than an eighth of
            :func:`rows_of_a_block`.
        tied: with blocks, receives the gradient of ``weight_VC`` in place of the weight itself.
        fused: with blocks, compile the operations on a block's logits: fewer passes over them, and no float32 copy.

    Raises:
        ValueError: ``kind`` is unknown.
    """
    if not in_blocks(len(features_NC), weight_VC, kind):
        logits_NV = F.linear(features_NC, weight_VC) + bias_V
        losses_N = F.nll_loss(F.log_softmax(logits_NV, dim=-1, dtype=torch.float32), target_N, reduction="none")
        with torch.no_grad():
            correct_N = logits_NV.gather(1, target_N[:, None])[:, 0] >= logits_NV.amax(-1)
        return TokenLosses(losses_N.sum(), losses_N.detach(), correct_N)
    # Blocks of equal size: a small last block costs as much as a full one.
    blocks = max(1, -(-len(target_N) // rows_of_a_block(weight_VC)))
    rows = max(1, -(-len(target_N) // blocks))
    parts, device = (features_NC, weight_VC, bias_V), features_NC.device.type
    trained = torch.is_grad_enabled() and any(part.requires_grad for part in parts)
    if not torch.is_autocast_enabled(device):
        return TokenLosses(*_BlockwiseCrossEntropy.apply(*parts, target_N, rows, tied, trained, fused))
    # As autocast does for a matrix product; inside, all dtypes are explicit.
    dtype = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        halves = [part.to(dtype) for part in parts]
        return TokenLosses(*_BlockwiseCrossEntropy.apply(*halves, target_N, rows, tied, trained, fused))


def rows_of_a_block(weight_VC: Tensor) -> int:
    """Return the maximum number of masked tokens per block of logits."""
    size = BLOCK_BYTES.get(weight_VC.device.type)
    if size is None:
        size = torch.cuda.get_device_properties(weight_VC.device).total_memory // SHARE_OF_MEMORY
    return max(1, size // (4 * len(weight_VC)))


class _BlockwiseCrossEntropy(torch.autograd.Function):
    """Computes losses by blocks of rows, and the gradients while a block's logits exist.

    With ``e = exp(logits - max)`` and ``s`` its sum over the vocabulary, the gradient of a row's logits is
    ``(e - s * onehot) / s``. In float32, ``1 / s`` is applied to the narrow side of each following product, which saves
    a pass over the block. In half precision it is part of the pass that rounds the gradient, which overwrites the
    logits.

    In float16, gradients must be scaled before rounding, or small ones are lost. The scale is known only in the
    backward pass, which therefore recomputes the logits of each block.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features_NC: Tensor,
        weight_VC: Tensor,
        bias_V: Tensor,
        target_N: Tensor,
        rows: int,
        tied: Optional[TiedGradient],
        trained: bool,
        fused: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Not ctx.needs_input_grad, which is also true if no gradient is recorded: a validation would compute gradients.
        early = trained and features_NC.dtype != torch.float16
        gradients = _Gradients(features_NC, weight_VC) if early else None
        losses, correct, log_sums = [], [], []
        for start in range(0, len(target_N), rows):
            part = slice(start, start + rows)
            logits_RP = make_logits(features_NC[part], weight_VC, bias_V)
            block = (fused_block if fused else block_in_place)(logits_RP, target_N[part], early)
            log_sums.append(block.log_sums_R)
            losses.append(block.log_sums_R - block.right_R)
            correct.append(block.right_R >= block.most_R)
            if gradients is not None:
                gradients.add(part, block.gradient_RP, block.factor_R)
        losses_N = torch.cat(losses) if losses else features_NC.new_zeros(0, dtype=torch.float32)
        correct_N = torch.cat(correct) if correct else target_N.new_zeros(0, dtype=torch.bool)
        ctx.rows, ctx.tied, ctx.fused = rows, tied, fused
        ctx.gradients = gradients
        if trained and not early:
            log_sums_N = torch.cat(log_sums) if log_sums else losses_N
            ctx.save_for_backward(features_NC, weight_VC, bias_V, target_N, log_sums_N)
        ctx.mark_non_differentiable(losses_N, correct_N)
        return losses_N.sum(), losses_N, correct_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor, *_: Tensor) -> tuple[Any, ...]:
        gradients = ctx.gradients
        if gradients is None:
            features_NC, weight_VC, bias_V, target_N, log_sums_N = ctx.saved_tensors
            gradients = _Gradients(features_NC, weight_VC)
            for start in range(0, len(target_N), ctx.rows):
                part = slice(start, start + ctx.rows)
                logits_RP = make_logits(features_NC[part], weight_VC, bias_V)
                gradient_in_place(logits_RP, target_N[part], log_sums_N[part], scale, ctx.fused)
                gradients.add(part, logits_RP, None)
            return (*gradients.result(None, ctx.tied), *[None] * 5)
        if gradients.used:
            raise RuntimeError("the blockwise loss supports only one backward pass")
        gradients.used = True
        return (*gradients.result(scale, ctx.tied), *[None] * 5)


class _Gradients:
    """Gradients of features, weight and bias, summed over blocks in float32."""

    def __init__(self, features_NC: Tensor, weight_VC: Tensor):
        self.features_NC, self.weight_VC = features_NC, weight_VC
        self.of_features_NC = torch.empty_like(features_NC, dtype=torch.float32)
        self.of_weight_VC: Optional[Tensor] = None
        self.of_bias_V = torch.zeros(len(weight_VC), dtype=torch.float32, device=features_NC.device)
        self.used = False

    def add(self, part: slice, logits_gradient_RP: Tensor, factor_R: Optional[Tensor]) -> None:
        """Add a block.

        Args:
            part: rows of the block.
            logits_gradient_RP: gradient of its logits in float32 or half precision, divided by ``factor_R`` if that is
                given.
            factor_R: float32.
        """
        features_RC, words = self.features_NC[part], len(self.weight_VC)
        if factor_R is None:
            self.of_bias_V += logits_gradient_RP[:, :words].sum(0, dtype=torch.float32)
        else:
            features_RC = features_RC * factor_R[:, None]
            self.of_bias_V.addmv_(logits_gradient_RP[:, :words].t(), factor_R)
        first = self.of_weight_VC is None
        if self.of_weight_VC is None:
            self.of_weight_VC = torch.empty_like(self.weight_VC, dtype=torch.float32)
        shares = []
        for product in aligned_parts(words) if logits_gradient_RP.shape[1] > words else [slice(0, words)]:
            gradient_RW, of_weight_WC = logits_gradient_RP[:, product], self.of_weight_VC[product]
            if gradient_RW.dtype == torch.float32:
                of_weight_WC.addmm_(gradient_RW.t(), features_RC, beta=0 if first else 1)
            elif first:
                of_weight_WC.copy_(torch.mm(gradient_RW.t(), features_RC))
            else:
                of_weight_WC += torch.mm(gradient_RW.t(), features_RC)
            shares.append(torch.mm(gradient_RW, self.weight_VC[product]).float())
        of_features_RC = shares[0] if len(shares) == 1 else shares[0] + shares[1]
        self.of_features_NC[part] = of_features_RC if factor_R is None else of_features_RC * factor_R[:, None]

    def result(self, scale: Optional[Tensor], tied: Optional[TiedGradient]) -> tuple[Optional[Tensor], ...]:
        """Return the three gradients, multiplied by ``scale`` if there is one, in the parameters' dtype.

        The weight's goes to ``tied`` if that is given, still in float32.
        """
        of_weight_VC = self.of_weight_VC
        if of_weight_VC is None:
            of_weight_VC = torch.zeros_like(self.weight_VC, dtype=torch.float32)
        self.of_weight_VC = None
        found = [self.of_features_NC, of_weight_VC, self.of_bias_V]
        # On a CPU, check the factor to save a pass over the largest tensor for a factor of 1. On a GPU, the check would
        # cost a synchronisation, which is slower than the pass.
        if scale is not None and not _is_one_on_cpu(scale):
            for tensor in found:
                tensor.mul_(scale)
        dtype = self.features_NC.dtype
        if tied is not None:
            tied.of_head_VC = of_weight_VC
            return found[0].to(dtype), None, found[2].to(dtype)
        return tuple(tensor.to(dtype) for tensor in found)


def _is_one_on_cpu(scale: Tensor) -> bool:
    return scale.device.type == "cpu" and scale.item() == 1
