"""Megatron-Core on a CPU over gloo, for tests and experiments without a GPU.

Megatron-Core (tested with 0.16.1 and 0.19.2) can train on a CPU except for code that refers to CUDA: schedules,
clipping and gradient buffers create CUDA tensors, and newer versions use its streams. Inside :func:`on_cpu`, tensors
are created on the CPU, streams are ignored, and CUDA's random number tracker has no effect. With a GPU, nothing
changes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode


class _MadeOnCpu(TorchFunctionMode):
    """Redirects tensor creation on ``cuda`` to the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:  # clipping uses torch.cuda.FloatTensor
            return func(*args).replace("torch.", "torch.cuda.")
        if func is torch.Tensor.cuda:
            return args[0]
        if str(kwargs.get("device", "")).startswith("cuda"):
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


class _NoTracker:
    """Replaces Megatron's tracker of CUDA's random number states."""

    def fork(self, *names: Any) -> Any:
        return contextlib.nullcontext()


class _NoStream:
    """Replaces CUDA's current stream; waiting for it has no effect."""

    def wait_event(self, *events: Any) -> None:
        pass

    wait_stream = record_event = synchronize = wait_event


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Run Megatron-Core on the CPU inside the block; has no effect if torch finds a GPU."""
    if torch.cuda.is_available():
        yield
        return
    from megatron.core import tensor_parallel

    with (
        mock.patch.object(torch.cuda, "current_device", lambda: torch.device("cpu")),
        mock.patch.object(torch.cuda, "current_stream", lambda *args: _NoStream()),
        mock.patch.object(torch.cuda, "synchronize", lambda *args: None),
        mock.patch.object(tensor_parallel, "get_cuda_rng_tracker", _NoTracker),
        _MadeOnCpu(),
    ):
        yield
