"""``examples/pretrain/train.sh``: how it shares out an update, with stand-ins for the programs that it starts."""

import os
import subprocess

import pytest
from support import ROOT

SCRIPT = ROOT / "examples" / "pretrain" / "train.sh"


def call(folder, counted, **environment):
    """Run it where torch counts so many GPUs and nvidia-smi lists eight; return status and output."""
    programs = {
        "python": f"echo {counted}",
        "nvidia-smi": "for i in 0 1 2 3 4 5 6 7; do echo GPU; done",
        "langsamp": "echo plugin",
        "fairseq-train": 'echo "$@"; echo "slurm: ${SLURM_JOB_NODELIST:-none}"',
    }
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        ["bash", SCRIPT, "DATA", "START", "SAVE"],
        env={"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_gpus_are_those_that_torch_may_use(tmp_path):
    status, output = call(tmp_path, 1, CUDA_VISIBLE_DEVICES="0")
    assert status == 0 and "--distributed-world-size 1 " in output and "--update-freq 32 " in output
    status, output = call(tmp_path, 4)
    assert "--distributed-world-size 4 " in output and "--update-freq 8 " in output
    status, output = call(tmp_path, 0)
    assert "--distributed-world-size 1 " in output


@pytest.mark.parametrize("gpus", [3, 5, 6, 7])
def test_a_number_of_gpus_that_no_batch_fits_is_named(tmp_path, gpus):
    status, output = call(tmp_path, gpus)
    assert status == 2 and f"GPUS must divide 1024, but is {gpus}: set GPUS={2 if gpus == 3 else 4}" in output
    status, output = call(tmp_path, 4, BATCH="48")
    assert status == 2 and "4 GPUS times 48 BATCH must divide 1024: set BATCH=32" in output


def test_one_machine_inside_an_allocation_of_slurm(tmp_path):
    """fairseq would look for tasks that were never asked for; with GPUS given it is to find the other nodes."""
    assert "slurm: none" in call(tmp_path, 8, SLURM_JOB_NODELIST="node1")[1]
    assert "slurm: node1" in call(tmp_path, 8, SLURM_JOB_NODELIST="node1", GPUS="16")[1]


def test_tasks_of_slurm_get_their_cores():
    text = (ROOT / "examples" / "pretrain" / "train.sbatch").read_text(encoding="utf-8")
    assert 'srun --cpus-per-task="$SLURM_CPUS_PER_TASK" bash' in text
    assert "--shutdown-timeout" in (ROOT / "examples" / "pretrain" / "README.md").read_text(encoding="utf-8")
