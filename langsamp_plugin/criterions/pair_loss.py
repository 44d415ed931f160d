"""The loss of an update's pairs: masked-LM loss of their sentences, and agreement of their middle layers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Optional

import torch
from fairseq.logging import metrics

from langsamp_plugin.modules.contrastive_loss import contrastive_loss, mean_pooled, sum_over_workers

LOGGED = ("align_masked", "align_mlm", "align_pairs", "align_loss", "align_correct", "align_margin")
"""Sums in the logging output; every batch has the same names, because fairseq uses those of the first."""


class PairLoss(NamedTuple):
    """Contribution of pairs to an update.

    Args:
        total: scalar with gradient; 0 without pairs.
        masked: number of additional predicted tokens.
        log: sums named in :data:`LOGGED`.
    """

    total: Any
    masked: Any
    log: dict[str, Any]


def align_layer(wanted: int, layers: int) -> int:
    """Return the block whose states are compared, from 1: by default two thirds of the depth, as in retrieval.

    Raises:
        ValueError: the model has fewer blocks.
    """
    if wanted > layers:
        raise ValueError(f"--align-layer must be at most {layers}, the model's blocks, but is {wanted}: lower it")
    return wanted or max(1, round(layers * 2 / 3))


def pair_loss(model: Any, pairs: Optional[dict[str, Any]], cfg: Any, head_loss: str, sample_size: int) -> PairLoss:
    """Return the loss of a batch of pairs, in the scale of summed masked-LM losses.

    fairseq divides the gradient of all workers' losses by the total number of masked tokens. The mean contrastive loss
    is therefore multiplied by that number, so that its weight does not depend on the batch size.

    Args:
        model: the LangSAMP model, possibly wrapped for many workers.
        pairs: from :class:`~langsamp_plugin.data.pair_batches.PairBatches`, with its ``weight``; ``None`` without
            pairs.
        cfg: the task's flags.
        head_loss: how the head's loss is computed.
        sample_size: masked tokens of the blocks of the same batch.
    """
    log: dict[str, Any] = dict.fromkeys(LOGGED, 0)
    if pairs is None:
        return PairLoss(0, 0, log)
    pad = _encoder(model).padding_idx
    mlm: Any = 0
    masked, pooled = 0, []
    for part in pairs["parts"]:
        (losses, _, _), extra = model(
            **part["net_input"], **_masked(part, pad), head_loss=head_loss, return_all_hiddens=True
        )
        mlm, masked = mlm + losses, masked + part["masked"]
        states = extra["inner_states"]
        layer = align_layer(cfg.align_layer, len(states) - 1)
        pooled.append(mean_pooled(states[layer], part["net_input"]["src_tokens"].eq(pad)))
    log.update(align_masked=masked, align_mlm=mlm.detach())
    if str(cfg.align_objective) != "contrast":
        return PairLoss(mlm, masked, log)
    one_NC, other_NC = torch.cat(pooled)[pairs["order"]].chunk(2)
    found = contrastive_loss(one_NC, other_NC, pairs["related"], cfg.align_temperature)
    everywhere = sum_over_workers(mlm.new_tensor(sample_size + masked))
    total = mlm + found.total * (pairs["weight"] / found.pairs) * everywhere
    log.update(
        align_pairs=len(one_NC),
        align_loss=found.total.detach(),
        align_correct=found.correct,
        align_margin=found.margin,
    )
    return PairLoss(total, masked, log)


def log_pairs(logging_outputs: list[dict[str, Any]]) -> None:
    """Log the pairs' masked-LM loss (base 2), and contrastive loss (nats), accuracy (%) and margin of cosines."""
    sums = {name: float(sum(log.get(name, 0) for log in logging_outputs)) for name in LOGGED}
    masked, pairs = sums["align_masked"], sums["align_pairs"]
    if masked:
        metrics.log_scalar("align_mlm", sums["align_mlm"] / masked / math.log(2), masked, round=3)
    if pairs:
        metrics.log_scalar("align_loss", sums["align_loss"] / pairs, pairs, round=3)
        metrics.log_scalar("align_accuracy", 100.0 * sums["align_correct"] / pairs, pairs, round=2)
        metrics.log_scalar("align_margin", sums["align_margin"] / pairs, pairs, round=3)


def _masked(part: dict[str, Any], pad: int) -> dict[str, Any]:
    """Return the arguments that select the tokens to predict."""
    if "index" in part:
        return {"masked_index": part["index"], "masked_rows": part["rows"], "target": part["words"]}
    masked_BT = part["target"].ne(pad)
    return {"masked_tokens": masked_BT, "target": part["target"][masked_BT]}


def _encoder(model: Any) -> Any:
    """Return the encoder of a model that may be wrapped for many workers."""
    while hasattr(model, "module"):
        model = model.module
    return model.encoder.sentence_encoder
