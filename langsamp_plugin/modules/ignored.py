"""The target of a position that is not predicted, where targets are not fairseq's (which marks it by ``<pad>``)."""

IGNORED = -100
"""What ``torch.nn.functional.cross_entropy`` ignores by default, and what collators of transformers write."""
