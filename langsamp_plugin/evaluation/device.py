"""The device and precision that a model runs with."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch

AUTO = "auto"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PRECISIONS = (AUTO, *DTYPES)
BATCH_TOKENS = 4096
"""Tokens per batch, including padding: large enough for a GPU, small enough for a CPU cache."""


class Compute(NamedTuple):
    """Device, precision and batch size.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:1``; empty selects a GPU if there is one.
        precision: one of :data:`PRECISIONS`; ``auto`` is float32 for features, and for fine-tuning bfloat16 on a GPU
            that has it.
        batch_tokens: tokens per batch for encoding and testing, including padding.
    """

    device: str = ""
    precision: str = AUTO
    batch_tokens: int = BATCH_TOKENS

    def where(self) -> torch.device:
        """Return the device.

        Raises:
            ValueError: the name is not a device, or this machine does not have it.
        """
        if not self.device:
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
        except RuntimeError as error:
            raise ValueError(f"--device must be cpu, cuda or cuda:N, but is {self.device!r}") from error
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise ValueError(f"--device is {self.device!r}, but this machine has {torch.cuda.device_count()} GPUs")
        return device

    def key(self, precision: str) -> list[Any]:
        """Return what a value depends on in addition to model and data: kind of device, precision, tokens per batch.

        The index of the GPU is excluded, so that the parts of several jobs merge.
        """
        return [self.where().type, precision, self.batch_tokens]

    def finetuning_precision(self, wanted: str = AUTO) -> str:
        """Return the precision of fine-tuning: the flag's, else the protocol's, else the best that the device supports.

        Args:
            wanted: the protocol's precision.
        """
        chosen = self.precision if self.precision != AUTO else wanted
        if chosen != AUTO:
            return chosen
        if self.where().type != "cuda":
            return "float32"
        # Emulated bfloat16 (before Ampere) is slower than float32.
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"

    def feature_precision(self) -> str:
        """Return the precision of sentence vectors: float32 unless the flag says otherwise."""
        return "float32" if self.precision == AUTO else self.precision


def check_precision(name: str) -> str:
    """Return a precision.

    Raises:
        ValueError: the precision is unknown.
    """
    if name not in PRECISIONS:
        raise ValueError(f"--precision must be one of {' '.join(PRECISIONS)}, but is {name!r}")
    return name


def autocast(device: torch.device, precision: str) -> Any:
    """Return the autocast context of a precision; weights stay float32."""
    return nullcontext() if precision == "float32" else torch.autocast(device.type, DTYPES[precision])
