"""The sizes that a checkpoint and a model must share."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

SIZES = {
    "encoder.sentence_encoder.embed_tokens.weight": (
        "the vocabulary has {old:,} types in the checkpoint and {new:,} here (dict.txt): make a starting checkpoint "
        "for this dictionary with `langsamp init CHECKPOINT --spm NEW.model --out CKPT`"
    ),
    "encoder.sentence_encoder.embed_positions.weight": (
        "the position table has {old} rows in the checkpoint and {new} here: set --max-positions {fit} (two rows less, "
        "for the offset of <pad>)"
    ),
}


def check_vocabulary(checkpoint: Mapping[str, Tensor], model: Mapping[str, Tensor], prefix: str = "") -> None:
    """Compare the number of types and positions.

    Args:
        checkpoint, model: state dicts with fairseq's names.
        prefix: what stands before the names.

    Raises:
        ValueError: a size differs; the message has both sizes and what to do.
    """
    for name, message in SIZES.items():
        old, new = checkpoint.get(prefix + name), model.get(prefix + name)
        if old is not None and new is not None and len(old) != len(new):
            raise ValueError(message.format(old=len(old), new=len(new), fit=len(old) - 2))
