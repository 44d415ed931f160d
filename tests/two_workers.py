"""Trainings with two workers on the CPU, over gloo."""

import socket
import subprocess

from support import ROOT, train_command
from warm_commands import client

from langsamp_plugin.checkpoint.loading import load_checkpoint

# Dropout draws from a generator per worker, so it is off where workers are compared.
PLAIN = ("--dropout", 0, "--attention-dropout", 0)


# torch's own wrapper is fairseq's default on GPUs, which are all that fairseq asks it for.
TORCH_DDP_ON_CPU = """
from fairseq.models import distributed_fairseq_model as there
stock = there.DistributedDataParallel
there.DistributedDataParallel = lambda *args, device_ids, output_device, **more: stock(*args, **more)
from fairseq_cli.train import cli_main
cli_main()
"""


def start_two_workers(data, folder, updates, *more, backend="legacy_ddp"):
    """Start both; a signal to a process is passed on to its worker, and killed it kills its worker."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(part) for part in train_command(data, folder, updates, *more)]
    if backend != "legacy_ddp":
        command[:1] = ["python", "-c", TORCH_DDP_ON_CPU]
    command = client(*command)
    distributed = [
        "--distributed-world-size", "2", "--distributed-no-spawn", "--distributed-backend", "gloo", "--ddp-backend",
        backend,
        "--distributed-init-method", f"tcp://127.0.0.1:{port}",
    ]  # fmt: skip
    return [
        subprocess.Popen(
            [*command, *distributed, "--distributed-rank", str(rank)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        for rank in (0, 1)
    ]


def wait_for(workers):
    try:
        outputs = [worker.communicate(timeout=300)[0] for worker in workers]
    finally:  # two that wait for each other would do so for ever
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], outputs[1][-3000:]
    return outputs


def train_with_two_workers(*arguments, **options):
    wait_for(start_two_workers(*arguments, **options))


def farthest(folder, one="one", two="two"):
    """The largest difference between the weights that two runs ended in."""
    one, two = (load_checkpoint(folder / name / "checkpoint_last.pt")["model"] for name in (one, two))
    assert one.keys() == two.keys()
    return max(float((weight - two[name]).abs().max()) for name, weight in one.items() if weight.is_floating_point())
