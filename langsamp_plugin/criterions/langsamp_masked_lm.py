"""Masked-LM loss, with sums per tag in validation."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq import utils
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor

from langsamp_plugin.criterions.pair_loss import log_pairs, pair_loss
from langsamp_plugin.modules.head_loss import KINDS
from langsamp_plugin.training.ending import StopSignal


@dataclass
class LangSampMaskedLMCriterionConfig(FairseqDataclass):
    """All other settings come from the task and the model."""

    head_loss: ChoiceEnum(list(KINDS)) = field(  # type: ignore[valid-type]
        default="auto",
        metadata={
            "help": "plain makes the logits of all masked tokens at once, as stock fairseq does; blocks makes them "
            "block by block, with the same result up to rounding; auto is blocks where that saves memory"
        },
    )


@register_criterion("langsamp_masked_lm", dataclass=LangSampMaskedLMCriterionConfig)
class LangSampMaskedLMCriterion(FairseqCriterion):
    """Cross-entropy of the masked tokens, summed over the batch.

    The value is stock ``masked_lm``'s, up to rounding where it is computed in blocks. In validation the logging output
    also has ``tag_sums``, float64 ``(tags, 3)``: per tag the summed loss in nats, the masked tokens, and how many of
    them were predicted correctly. A fixed shape lets fairseq sum across workers in one reduction.
    """

    def __init__(self, task: Any, head_loss: str = "auto"):
        super().__init__(task)
        self.head_loss = str(head_loss)

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """Return ``(loss, sample_size, logging_output)``: summed loss in nats, masked tokens, sums for the log."""
        masked = sample.get("masked") or masked_positions(sample["target"], self.padding_idx)
        sample_size = len(masked["target"])
        # The loss is computed inside the model's forward pass, where distributed wrappers make the weights available.
        (total, losses_N, correct_N), _ = model(
            **sample["net_input"],
            masked_index=masked["index"],
            masked_rows=masked["rows"],
            target=masked["target"],
            head_loss=self.head_loss,
        )
        logging_output = {
            "loss": total.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample_size,
            "correct": correct_N.sum(),
            "stop": int(StopSignal.noted),
        }
        if not model.training and "tag_ids" in sample:
            tags_N = sample["tag_ids"].index_select(0, masked["rows"])
            sums = torch.zeros(len(self.task.tags), 3, dtype=torch.float64, device=losses_N.device)
            columns = torch.stack([losses_N.double(), torch.ones_like(losses_N).double(), correct_N.double()], dim=1)
            logging_output["tag_sums"] = sums.index_add_(0, tags_N, columns)
        if getattr(self.task, "pairs", None) is not None and model.training:
            aligned = pair_loss(model, sample.get("pairs"), self.task.cfg, self.head_loss, sample_size)
            total, sample_size = total + aligned.total, sample_size + aligned.masked
            logging_output.update(aligned.log)
        return total, sample_size, logging_output

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        """Log loss (base 2), perplexity and accuracy over all workers; the task logs the sums per tag."""
        loss = sum(log.get("loss", 0) for log in logging_outputs)
        sample_size = sum(log.get("sample_size", 0) for log in logging_outputs)
        correct = sum(log.get("correct", 0) for log in logging_outputs)
        # A batch of very short lines can have no masked token; its mean gets weight 0.
        count = max(float(sample_size), 1.0)
        metrics.log_scalar("loss", float(loss) / count / math.log(2), float(sample_size), round=3)
        metrics.log_derived("ppl", lambda meters: utils.get_perplexity(meters["loss"].avg))
        metrics.log_scalar("accuracy", 100.0 * float(correct) / count, float(sample_size), round=2)
        log_pairs(logging_outputs)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Return True: every value is a sum."""
        return True


def masked_positions(target_BT: Tensor, pad_id: int) -> dict[str, Tensor]:
    """Compute the ``masked`` entry that this package's collater adds, for batches from other data sets."""
    index_N = target_BT.flatten().ne(pad_id).nonzero()[:, 0]
    return {
        "index": index_N,
        "rows": index_N.div(target_BT.shape[1], rounding_mode="floor"),
        "target": target_BT.flatten()[index_N],
    }
