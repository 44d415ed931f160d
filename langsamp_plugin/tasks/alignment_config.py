"""The flags for parallel text."""

import math
from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from langsamp_plugin.data.pair_batches import OBJECTIVES


@dataclass
class AlignmentConfig(FairseqDataclass):
    """Flags for pairs of translations in a share of the updates, which align middle layers."""

    align_share: float = field(
        default=0.0,
        metadata={"help": "share of updates that also have pairs of translations; 0 trains without parallel text"},
    )
    align_data: Optional[str] = field(
        default=None,
        metadata={"help": "folder of binarized pairs (default: pairs/ in the first data folder)"},
    )
    align_pairs: int = field(default=160, metadata={"help": "pairs per update, worker and micro-batch"})
    align_objective: ChoiceEnum(list(OBJECTIVES)) = field(  # type: ignore[valid-type]
        default="contrast",
        metadata={
            "help": "contrast: InfoNCE between mean-pooled states, and the masked-LM loss of the sentences; tlm: the "
            "masked-LM loss with both sentences in one row, each predicted in the context of the other"
        },
    )
    align_layer: int = field(
        default=0,
        metadata={"help": "block whose states are compared, from 1; 0 is two thirds of the depth, as in retrieval"},
    )
    align_weight: float = field(
        default=1.0, metadata={"help": "weight of the contrastive loss relative to the masked-LM loss"}
    )
    align_temperature: float = field(default=0.1, metadata={"help": "divisor of cosines"})
    align_warmup: int = field(default=0, metadata={"help": "updates over which the weight rises from 0"})
    align_alpha: float = field(
        default=1.0, metadata={"help": "languages of first sentences are sampled by p ~ sentences ** alpha"}
    )
    align_pivot: Optional[str] = field(
        default=None,
        metadata={"help": "preferred tag of the second sentence, such as eng_Latn; by default any language"},
    )
    align_validate: int = field(
        default=50, metadata={"help": "held-out pairs per language in a validation; 0 measures none"}
    )


def check_alignment_flags(cfg: AlignmentConfig) -> None:
    """Raise ``ValueError`` if a flag is out of range."""
    if not 0.0 <= cfg.align_share <= 1.0:
        raise ValueError(f"--align-share must be between 0 and 1, but is {cfg.align_share}: 0 trains without pairs")
    for name, value, least in (
        ("--align-pairs", cfg.align_pairs, 2),
        ("--align-layer", cfg.align_layer, 0),
        ("--align-warmup", cfg.align_warmup, 0),
        ("--align-validate", cfg.align_validate, 0),
        ("--align-weight", cfg.align_weight, 0),
        ("--align-alpha", cfg.align_alpha, 0),
    ):
        if not (value >= least and math.isfinite(value)):
            raise ValueError(f"{name} must be at least {least}, but is {value}: raise it")
    if not 0.0 < cfg.align_temperature < math.inf:
        raise ValueError(f"--align-temperature must be above 0, but is {cfg.align_temperature}: 0.05 to 0.2 are usual")
