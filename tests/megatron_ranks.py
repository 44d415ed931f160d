"""Runs ranks of Megatron-Core over gloo, and programs, as forks of a process that has imported it already."""

import os
import socket

import torch
from support import ROOT
from warm_commands import run_warm
from warm_functions import Called, server_with

IMPORTED = (
    "langsamp_plugin.cli", "langsamp_plugin.megatron.training", "langsamp_plugin.megatron.model",
    "langsamp_plugin.megatron.verification", "langsamp_plugin.megatron.export_model",
    "langsamp_plugin.megatron.import_model", "megatron.core.dist_checkpointing", "megatron_ranks", "megatron_jobs",
)  # fmt: skip


def start_rank(job, *arguments, rank=0, world=1, port=0, tensor_parallel=1):
    """Start ``job(*arguments)``, a function of a module, on a rank."""
    return Called(_rank, rank, world, port, tensor_parallel, job, arguments, modules=IMPORTED)


def run_ranks(world, job, *arguments, tensor_parallel=1):
    """Run ``job(*arguments)``, a function of a module, on each rank and return what each rank returned."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [
        start_rank(job, *arguments, rank=rank, world=world, port=port, tensor_parallel=tensor_parallel)
        for rank in range(world)
    ]
    return [rank.result() for rank in ranks]


def _rank(rank, world, port, tensor_parallel, job, arguments):
    from langsamp_plugin.megatron.parallel import start, stop

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world))
    os.environ.update(LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    start(tensor_parallel)
    try:
        return job(*arguments)
    finally:
        stop()


def run_program(*command, expect=0):
    """Run ``langsamp ...`` or ``program.py ...`` and return its output; fail where the status is another one."""
    command = [str(part) for part in command]
    command = command if command[0] == "langsamp" else ["python", *command]
    status, text = run_warm(command, ROOT, dict(os.environ), server_with(*IMPORTED))
    assert status == expect, f"{command} ended with {status}:\n{text[-4000:]}"
    return text
