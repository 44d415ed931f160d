"""Adds causes and remedies to fairseq's errors about values that are not finite."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from fairseq import trainer
from fairseq.nan_detector import NanDetector

from langsamp_plugin.training.durable_checkpoints import LAST
from langsamp_plugin.training.train_program import train_namespaces

SHOWN = 3


def install() -> None:
    """Patch the errors of fairseq's training loop to name the cause and flags. Idempotent."""
    for names in train_namespaces():
        if not hasattr(names["train"], "explains"):
            names["train"] = _explaining(names["train"])
        # fairseq's backward hooks raise StopIteration, because the encoder's output is a dict of lists.
        trainer.NanDetector = partial(NanDetector, backward=False)


def _explaining(stock: Any) -> Any:
    def train(cfg: Any, running: Any, *rest: Any) -> Any:
        try:
            return stock(cfg, running, *rest)
        except FloatingPointError as error:
            if "inconsistent" in str(error):  # a mismatch between workers; fairseq's message has a remedy
                raise
            broken = [name for name, weight in running.model.named_parameters() if not torch.isfinite(weight).all()]
            raise FloatingPointError(explain(cfg, running.get_num_updates(), "scale" in str(error), broken)) from error

    train.explains = True  # type: ignore[attr-defined]
    return train


def explain(cfg: Any, updates: int, overflow: bool, broken: list[str]) -> str:
    """Return what happened, the likely cause, and the flags to change.

    Args:
        cfg: fairseq's configuration.
        updates: number of finished updates.
        overflow: fp16's loss scale is at its minimum; otherwise gradients are infinite or not a number.
        broken: names of the weights that are not finite.
    """
    if overflow:
        smallest = cfg.common.min_loss_scale
        happened = f"update {updates + 1} overflows fp16 at the smallest loss scale (--min-loss-scale {smallest})"
    else:
        happened = f"the gradients of update {updates + 1} are infinite or not a number"
    folder = Path(cfg.checkpoint.save_dir)
    if broken:
        names = ", ".join(broken[:SHOWN]) + (f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else "")
        return (
            f"{happened}, because weights are not finite ({names}): either the starting checkpoint already had them, "
            f"or an earlier update produced them (see `langsamp info`); start from an older checkpoint in {folder} "
            "with --restore-file"
        )
    lr, clip = cfg.optimization.lr[0], cfg.optimization.clip_norm
    changes = [f"a lower --lr (it is {lr:g})", "a longer --warmup-updates"]
    if not clip:
        changes.append("--clip-norm 1.0 (it is off)")
    if cfg.common.fp16:
        changes.append("--bf16 instead of --fp16 where the GPU has it")
    begin = f"Resume from {folder / LAST}, which was saved earlier" if (folder / LAST).is_file() else "Start again"
    return (
        f"{happened}; the loss is probably exploding. {begin}, with {', or '.join(changes)}. {folder / 'crash.pt'} has "
        "the current state for inspection and may be removed"
    )
