"""Options of this package's training loop on Megatron-Core, and its learning rate schedule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from langsamp_plugin.atomic import PathLike

DECAYS = ("linear", "constant")


@dataclass
class TrainingOptions:
    """Options of a run.

    Args:
        data: a data folder of ``langsamp binarize``.
        load: the starting checkpoint of a new run, written by ``langsamp megatron import``.
        save: the folder of the run's checkpoints; a run resumes from an existing checkpoint there.
        iterations: total number of optimizer steps.
        micro_batch, global_batch: samples per micro-batch of a rank, and per step of all ranks.
        seq_length: tokens per sample.
        save_interval, keep: steps between checkpoints, and number of checkpoints to keep.
        lr, lr_decay, warmup: the maximum rate, ``linear`` (to 0) or ``constant``, and the number of warm-up steps.
        beta2, eps, weight_decay, clip: Adam's settings, with epsilon placed as in fairseq, and the maximum gradient
            norm.
        dropout: of states and attention.
        seed: seed of order, masks and dropout.
        tensor_parallel, sequence_parallel: how the model is split.
        bf16: train in bfloat16 (GPU).
        dataset: further arguments of :class:`~langsamp_plugin.megatron.data.LangSampDataset`.
    """

    data: PathLike
    load: PathLike
    save: PathLike
    iterations: int
    micro_batch: int = 8
    global_batch: int = 8
    seq_length: int = 512
    save_interval: int = 1000
    keep: int = 2
    lr: float = 5e-5
    lr_decay: str = "linear"
    warmup: int = 0
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0
    dropout: float = 0.1
    seed: int = 42
    tensor_parallel: int = 1
    sequence_parallel: bool = False
    bf16: bool = False
    dataset: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise ``ValueError`` if an option is out of range, before anything is read."""
        for name in ("iterations", "micro_batch", "global_batch", "save_interval", "keep", "tensor_parallel"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but is {getattr(self, name)}")
        for name in ("lr", "eps", "weight_decay", "clip", "warmup"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a number from 0, but is {getattr(self, name)}")
        for name in ("beta2", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, but is {getattr(self, name)}")
        if self.lr_decay not in DECAYS:
            raise ValueError(f"lr_decay must be {' or '.join(DECAYS)}, but is {self.lr_decay!r}")
        if self.sequence_parallel and self.tensor_parallel == 1:
            raise ValueError("sequence_parallel must come with tensor_parallel of 2 or more, but that is 1")


def learning_rate(options: TrainingOptions, iteration: int) -> float:
    """Return the rate of a step, from 1: rising during warm-up, then constant or linear to 0."""
    if iteration <= options.warmup:
        return options.lr * iteration / options.warmup
    if options.lr_decay == "constant":
        return options.lr
    left = options.iterations - (iteration - 1)
    return options.lr * left / max(1, options.iterations - options.warmup)
