"""Runs ranks of Megatron-Core over gloo, and programs, as forks of a process that has imported it already."""

import io
import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
import traceback

import torch
from support import ROOT

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["fairseq_cli.train", "langsamp_plugin.cli", "langsamp_plugin.megatron.training", "langsamp_plugin.megatron.model",
     "megatron.core.dist_checkpointing", "transformers.models.xlm_roberta", "megatron_jobs"]
)  # fmt: skip


def run_ranks(world, job, *arguments, tensor_parallel=1):
    """Run ``job(*arguments)``, a function of a module, on each rank and return what each rank returned."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = FORKS.SimpleQueue()
    ranks = [
        FORKS.Process(target=_rank, args=(queue, rank, world, port, tensor_parallel, job, arguments))
        for rank in range(world)
    ]
    for process in ranks:
        process.start()
    found = dict(queue.get() for _ in ranks)
    for process in ranks:
        process.join()
    for rank in range(world):
        error, result = found[rank]
        assert error is None, f"rank {rank}:\n{error}"
        found[rank] = torch.load(io.BytesIO(result))
    return [found[rank] for rank in range(world)]


def _rank(queue, rank, world, port, tensor_parallel, job, arguments):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world))
    os.environ.update(LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    try:
        from langsamp_plugin.megatron.parallel import start, stop

        start(tensor_parallel)
        try:
            result = job(*arguments)
        finally:
            stop()
        data = io.BytesIO()  # and no tensors themselves, whose memory would end with the rank
        torch.save(result, data)
        queue.put((rank, (None, data.getvalue())))
    except BaseException:
        queue.put((rank, (traceback.format_exc(), None)))


def run_program(*command, expect=0):
    """Run ``langsamp ...`` or ``program.py ...`` and return its output; fail where the status is another one."""
    command = [str(part) for part in command]
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as output:
        process = FORKS.Process(target=_program, args=(command, output.name))
        process.start()
        process.join()
        text = output.read()
    assert process.exitcode == expect, f"{command} ended with {process.exitcode}:\n{text[-4000:]}"
    return text


def _program(command, output):
    descriptor = os.open(output, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.chdir(ROOT)
    sys.argv = command
    torch.set_num_threads(1)
    if command[0] == "langsamp":
        from langsamp_plugin.cli import main

        main()
    else:
        runpy.run_path(command[0], run_name="__main__")
