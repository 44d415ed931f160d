"""A checkpoint that training starts from: weights, options and inventories, but no optimizer and no place in the data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike, atomic_write


def fresh_checkpoint(state: dict[str, Any], weights: dict[str, Tensor]) -> dict[str, Any]:
    """Return a checkpoint that fairseq takes for one at the start of its first epoch.

    Args:
        state: where options and inventories come from (``args``, ``cfg``, ``task_state``).
        weights: the model.
    """
    return {
        "args": state.get("args"),
        "cfg": state.get("cfg"),
        "model": weights,
        "optimizer_history": [{"num_updates": 0, "lr_scheduler_state": {}}],
        "task_state": state.get("task_state") or {},
        "extra_state": {"train_iterator": {"version": 2, "epoch": 1, "iterations_in_epoch": 0, "shuffle": True}},
    }


def save_checkpoint(state: dict[str, Any], out: PathLike) -> None:
    """Write a checkpoint; ``out`` is what it was before unless all of it could be written."""
    with atomic_write(out, "wb") as stream:
        torch.save(state, stream)
