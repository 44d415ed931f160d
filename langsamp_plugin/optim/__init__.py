"""The fairseq optimizer of the plugin; importing registers it."""

from langsamp_plugin.optim.fused_adamw import FairseqFusedAdamW

__all__ = ["FairseqFusedAdamW"]
