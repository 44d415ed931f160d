"""A checkpoint that training starts from: weights, options and inventories, no optimizer, no place in the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.checkpoint.loading import load_checkpoint


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
        "task_state": dict(state.get("task_state") or {}),
        "extra_state": {"train_iterator": {"version": 2, "epoch": 1, "iterations_in_epoch": 0, "shuffle": True}},
    }


def check_out(out: PathLike, overwrite: bool = False) -> None:
    """Raise ``ValueError`` where a checkpoint may not be written: another file is there, or one with a training in it.

    Args:
        out: where it shall be written.
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
    """Write a checkpoint; ``out`` is what it was before unless all of it could be written."""
    with atomic_write(out, "wb") as stream:
        torch.save(state, stream)
