"""Importing registers the optimizer with fairseq."""

from langsamp_plugin.optim.fused_adamw import FairseqFusedAdamW

__all__ = ["FairseqFusedAdamW"]
