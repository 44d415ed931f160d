"""Starts and ends Megatron's process groups."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Act as the only rank during a conversion, over gloo and without a port.

    Raises:
        ModuleNotFoundError: megatron-core is not installed.
    """
    from megatron.core import parallel_state

    if torch.distributed.is_initialized():  # a training run converts within its own groups
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        store = torch.distributed.FileStore(str(Path(folder) / "store"), 1)
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        try:
            parallel_state.initialize_model_parallel()
            yield
        finally:
            parallel_state.destroy_model_parallel()
            torch.distributed.destroy_process_group()


def start(tensor_parallel: int = 1, pipeline_parallel: int = 1) -> None:
    """Join the ranks started by ``torchrun``, if any, over NCCL with GPUs and over gloo otherwise.

    Raises:
        ModuleNotFoundError: megatron-core is not installed.
        ValueError: the number of ranks is not divisible by the tensor- and pipeline-parallel sizes.
    """
    from megatron.core import parallel_state

    if "RANK" not in os.environ:  # not started by torchrun: a single rank
        os.environ.update(RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world % (tensor_parallel * pipeline_parallel):
        raise ValueError(
            f"the {world} ranks must be divisible by tensor x pipeline size {tensor_parallel * pipeline_parallel}, but "
            "are not"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=tensor_parallel, pipeline_model_parallel_size=pipeline_parallel
    )


def stop() -> None:
    """Leave the ranks."""
    from megatron.core import parallel_state

    parallel_state.destroy_model_parallel()
    torch.distributed.destroy_process_group()


def require_megatron() -> None:
    """Raise ``ModuleNotFoundError`` unless megatron-core is installed."""
    try:
        found = importlib.util.find_spec("megatron.core") is not None
    except ModuleNotFoundError:  # not even another NVIDIA package of that name
        found = False
    if not found:
        raise ModuleNotFoundError("this needs megatron-core: pip install 'langsamp-plugin[megatron]'", name="megatron")
