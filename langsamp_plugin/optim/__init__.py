"""Importing registers the optimizer with fairseq."""

from langsamp_plugin.optim.fused_adamw import FairseqAdam

__all__ = ["FairseqAdam"]
