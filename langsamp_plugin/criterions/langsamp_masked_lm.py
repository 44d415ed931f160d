"""Masked-LM loss, with sums per tag in validation."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from fairseq import utils
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor


@dataclass
class LangSampMaskedLMCriterionConfig(FairseqDataclass):
    """No flags: everything follows from task and model."""


@register_criterion("langsamp_masked_lm", dataclass=LangSampMaskedLMCriterionConfig)
class LangSampMaskedLMCriterion(FairseqCriterion):
    """Cross-entropy of the masked tokens, summed over the batch.

    The value is stock ``masked_lm``'s. In validation the logging output also has ``tag_sums``, float64
    ``(tags, 3)``: per tag the summed loss in nats, the masked tokens, and how many of them were predicted right.
    Sums of a fixed shape are what fairseq adds up across workers in one reduction.
    """

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Return ``(loss, sample_size, logging_output)``: summed loss in nats, masked tokens, sums for the log."""
        target_BT = sample["target"]
        masked_BT = target_BT.ne(self.padding_idx)
        sample_size = masked_BT.int().sum()
        logits_NV, _ = model(**sample["net_input"], masked_tokens=masked_BT)
        target_N = target_BT[masked_BT]
        losses_N = F.nll_loss(F.log_softmax(logits_NV, dim=-1, dtype=torch.float32), target_N, reduction="none")
        loss = losses_N.sum()
        correct_N = logits_NV.detach().argmax(-1).eq(target_N)
        logging_output = {
            "loss": loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample_size,
            "correct": correct_N.sum(),
        }
        if not model.training and "tag_ids" in sample:
            tags_N = sample["tag_ids"].unsqueeze(1).expand_as(target_BT)[masked_BT]
            sums = torch.zeros(len(self.task.tags), 3, dtype=torch.float64, device=losses_N.device)
            columns = torch.stack([losses_N.double(), torch.ones_like(losses_N).double(), correct_N.double()], dim=1)
            logging_output["tag_sums"] = sums.index_add_(0, tags_N, columns)
        return loss, sample_size, logging_output

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        """Log loss (base 2), perplexity and accuracy over all workers; the sums per tag are the task's."""
        loss = sum(log.get("loss", 0) for log in logging_outputs)
        sample_size = sum(log.get("sample_size", 0) for log in logging_outputs)
        correct = sum(log.get("correct", 0) for log in logging_outputs)
        # A batch of very short lines can have nothing masked at all; its mean counts with weight 0.
        count = max(float(sample_size), 1.0)
        metrics.log_scalar("loss", float(loss) / count / math.log(2), float(sample_size), round=3)
        metrics.log_derived("ppl", lambda meters: utils.get_perplexity(meters["loss"].avg))
        metrics.log_scalar("accuracy", 100.0 * float(correct) / count, float(sample_size), round=2)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Every value is a sum."""
        return True
