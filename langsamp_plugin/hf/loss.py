"""The loss of a transformers masked LM at masked positions only, in blocks if that saves memory."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor, nn

from langsamp_plugin.hf.heads import Head
from langsamp_plugin.modules.head_loss import TokenLosses, in_blocks, masked_lm_loss
from langsamp_plugin.modules.ignored import IGNORED
from langsamp_plugin.modules.tied_embedding import TiedGradient, tied_lookup

ROBERTA_POSITIONS = ("xlm-roberta", "xlm-roberta-xl", "roberta", "camembert")
"""Model types that count positions from the padding id; they need explicit positions with embeddings as input."""

PLAIN_POSITIONS = ("bert", "modernbert", "eurobert")
"""Model types that always number positions from 0."""


@torch.compiler.disable
def token_losses(
    head: Head, features_BTC: Tensor, tags_BC: Optional[Tensor], labels_BT: Tensor, tied: Optional[TiedGradient]
) -> TokenLosses:
    """Return the losses of the masked positions.

    This is a graph break in a compiled model, because the number of masked positions varies between batches.

    Args:
        head: head of the model.
        features_BTC: the backbone's output.
        tags_BC: embeddings to add to it, or ``None``.
        labels_BT: int64, :data:`~langsamp_plugin.modules.ignored.IGNORED` at positions that are not predicted.
        tied: result of :func:`tied_input`.
    """
    labels_BT = labels_BT.to(features_BTC.device)
    masked_BT = labels_BT != IGNORED
    x_NC = features_BTC[masked_BT]
    if tags_BC is not None:
        x_NC = x_NC + tags_BC.unsqueeze(1).expand_as(features_BTC)[masked_BT]
    x_ND = head.transform(x_NC)
    weight_VD, bias_V = head.weight, head.bias
    kind = x_ND.device.type
    # Apply autocast's dtypes explicitly, because the loss computes its products itself.
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight_VD.dtype
    x_ND, weight_VD = x_ND.to(dtype), weight_VD.to(dtype)
    bias_V = weight_VD.new_zeros(len(weight_VD)) if bias_V is None else bias_V.to(dtype)
    with torch.autocast(kind, enabled=False):
        return masked_lm_loss(x_ND, weight_VD, bias_V, labels_BT[masked_BT].long(), tied=tied)


def tied_input(model: Any, head: Head, labels_BT: Tensor, inputs: dict[str, Any]) -> Optional[TiedGradient]:
    """Look up the tokens here if the head's gradient can be added to the lookup's, which saves a tensor (V, C).

    Args:
        model: a masked LM.
        head: its head.
        labels_BT: labels, see :func:`token_losses`.
        inputs: the backbone's arguments; if this applies, ``input_ids`` is replaced by ``inputs_embeds`` and
            ``position_ids``.

    Returns:
        The argument for :func:`token_losses`. ``None`` if it does not apply: the embedding is not tied or not trained,
        its lookup has hooks, or the architecture's position numbering is unknown.
    """
    embedding, tokens_BT = model.get_input_embeddings(), inputs.get("input_ids")
    numbering = model.config.model_type
    if (
        tokens_BT is None
        or torch.compiler.is_compiling()
        or type(embedding) is not nn.Embedding
        or embedding.weight is not head.weight
        or not (torch.is_grad_enabled() and embedding.weight.requires_grad)
        or embedding._forward_hooks or embedding._forward_pre_hooks or hasattr(embedding, "_hf_hook")
        or embedding.max_norm is not None or embedding.sparse or embedding.scale_grad_by_freq
        or numbering not in (*ROBERTA_POSITIONS, *PLAIN_POSITIONS)
        or not in_blocks(int((labels_BT != IGNORED).sum()), embedding.weight)
    ):  # fmt: skip
        return None
    padding = -1 if embedding.padding_idx is None else embedding.padding_idx
    if numbering in ROBERTA_POSITIONS and inputs.get("position_ids") is None:
        there_BT = tokens_BT.ne(padding).int()
        inputs["position_ids"] = (there_BT.cumsum(1) * there_BT).long() + padding
    tied = TiedGradient()
    del inputs["input_ids"]
    inputs["inputs_embeds"] = tied_lookup(tokens_BT, embedding.weight, padding, tied)
    return tied
