"""Checks that weights, features and losses are finite before anything is scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def check_weights(model: Any, folder: object) -> None:
    """Check every weight of a loaded model.

    Raises:
        ValueError: a weight contains NaN or infinity; the message names folder and weight, and so the layer.
    """
    broken = [
        name
        for name, weight in model.state_dict().items()
        if weight.is_floating_point() and not torch.isfinite(weight).all()
    ]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise ValueError(
            f"{folder} must have finite weights, but {broken[0]}{more} contains NaN or infinity: the run diverged, so "
            "use an earlier checkpoint"
        )


def check_features(vectors: np.ndarray, layer: int, model: object, sentences: Sequence[str]) -> None:
    """Check a batch of sentence vectors.

    Args:
        vectors: float ``(n, C)``.
        layer: the block that produced them.
        model: name for the message.
        sentences: their texts.

    Raises:
        ValueError: a vector contains NaN or infinity.
    """
    finite = np.isfinite(vectors).all(1)
    if not finite.all():
        text = sentences[int(np.argmin(finite))]
        raise ValueError(
            f"{model} must produce finite features, but block {layer} produces NaN or infinity for {text[:40]!r}: run "
            "with --precision float32, or use an earlier checkpoint"
        )


def check_loss(loss: float, update: int, folder: object) -> None:
    """Check a loss.

    Raises:
        ValueError: the loss is NaN or infinite.
    """
    if not np.isfinite(loss):
        raise ValueError(
            f"fine-tuning {folder} diverged: the loss of update {update + 1} is {loss}; lower --lr or use --precision "
            "float32"
        )
