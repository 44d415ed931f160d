"""Starting checkpoints: weights, options and inventories, without optimizer state or data position."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.checkpoint.loading import load_checkpoint


def fresh_checkpoint(state: dict[str, Any], weights: dict[str, Tensor]) -> dict[str, Any]:
    """Return a checkpoint that fairseq reads as the start of the first epoch.

    Args:
        state: source of options and inventories (``args``, ``cfg``, ``task_state``).
        weights: the model's weights.
    """
    return {
        "args": state.get("args"),
        "cfg": state.get("cfg"),
        "model": weights,
        "optimizer_history": [{"num_updates": 0, "lr_scheduler_state": {}}],
        "task_state": dict(state.get("task_state") or {}),
        "extra_state": {"train_iterator": {"version": 2, "epoch": 1, "iterations_in_epoch": 0, "shuffle": True}},
    }


def check_out(out: PathLike, overwrite: bool = False) -> None:
    """Raise ``ValueError`` if ``out`` must not be replaced: another kind of file, or a checkpoint with updates.

    Args:
        out: the checkpoint to write.
        overwrite: replace any file.
    """
    path = Path(out)
    if path.is_dir():
        raise ValueError(
            f"--out must be a file, but {path} is a folder: name the checkpoint in it, {path / 'model.pt'}"
        )
    if overwrite or not path.is_file():
        return
    try:
        history = (load_checkpoint(path).get("optimizer_history") or [{}])[-1]
        updates = history.get("num_updates") if isinstance(history, dict) else None
    except ValueError:
        updates = None
    if updates != 0:
        what = "is not a checkpoint" if updates is None else f"is a checkpoint with {updates:,} updates of training"
        raise ValueError(f"{path} is not replaced, because it {what}: choose another --out, or add --overwrite")


def save_checkpoint(state: dict[str, Any], out: PathLike) -> None:
    """Write a checkpoint atomically."""
    with atomic_write(out, "wb") as stream:
        torch.save(state, stream)
