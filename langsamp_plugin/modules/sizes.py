"""The sizes that a checkpoint and a model must share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from torch import Tensor

BODY = "encoder.sentence_encoder."
"""Prefix of the names of the transformer's weights in a checkpoint."""
ROWS = {
    f"{BODY}embed_tokens.weight": (
        "the vocabulary has {old:,} types in the checkpoint and {new:,} here (dict.txt): make a starting checkpoint "
        "for this dictionary with `langsamp init CHECKPOINT --spm NEW.model --out CKPT`"
    ),
    f"{BODY}embed_positions.weight": (
        "the position table has {old} rows in the checkpoint and {new} here: set --max-positions {fit} (two rows less, "
        "for the offset of <pad>)"
    ),
}


def check_sizes(checkpoint: Mapping[str, Tensor], model: Mapping[str, Tensor], prefix: str = "") -> None:
    """Compare the blocks, and the number of types and positions.

    Args:
        checkpoint, model: state dicts with fairseq's names.
        prefix: prefix of the names.

    Raises:
        ValueError: a size differs; the message has both sizes and a remedy.
    """
    old, new = _blocks(checkpoint, prefix), _blocks(model, prefix)
    if old and new and old != new:
        layers, width, inner = old
        raise ValueError(
            f"the encoder has {layers} layers of width {width} ({inner} inside) in the checkpoint and {new[0]} of "
            f"{new[1]} ({new[2]}) here: set --encoder-layers {layers} --encoder-embed-dim {width} "
            f"--encoder-ffn-embed-dim {inner}, and --encoder-attention-heads as it was trained"
        )
    for name, message in ROWS.items():
        rows = [len(weights[prefix + name]) for weights in (checkpoint, model) if prefix + name in weights]
        if len(set(rows)) == 2:
            raise ValueError(message.format(old=rows[0], new=rows[1], fit=rows[0] - 2))


def _blocks(weights: Mapping[str, Tensor], prefix: str) -> Optional[tuple[int, int, int]]:
    """Return number, width and inner width of the blocks; ``None`` if there are none."""
    start = f"{prefix}{BODY}layers."
    numbers = {name[len(start) :].partition(".")[0] for name in weights if name.startswith(start)}
    first = weights.get(f"{start}0.fc1.weight")
    return None if first is None else (len(numbers), first.shape[1], first.shape[0])
