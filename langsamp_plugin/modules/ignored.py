"""The target of positions that are not predicted, outside of fairseq (which uses ``<pad>``)."""

IGNORED = -100
"""Ignored by ``torch.nn.functional.cross_entropy`` by default, and written by collators of transformers."""
