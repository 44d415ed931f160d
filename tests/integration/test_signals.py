"""SIGTERM to whom and when it may come: the run ends with status 0, its last checkpoint is complete and of the right
update."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from started_commands import Started
from support import ROOT, run, train_command
from warm_commands import can_run, client

SLOW = ("--update-freq", 8, "--num-workers", 2, "--log-interval", 1)


def start(command, log):
    """Start a command in a separate session: as a fork of a warm process, or a new one where it may matter how it was
    started."""
    command = [str(part) for part in command]
    if can_run(command):
        return Started(command, ROOT, log)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with open(log, "wb") as stream:
        return subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
        )


def wait_for(process, log, text, timeout=120):
    end = time.monotonic() + timeout
    while text not in log.read_text(errors="replace"):
        assert process.poll() is None and time.monotonic() < end, log.read_text(errors="replace")[-2000:]
        time.sleep(0.02)


def updates_of(folder):
    return torch.load(folder / "checkpoint_last.pt", weights_only=True)["optimizer_history"][-1]["num_updates"]


def ended(process, log):
    try:
        status = process.wait(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    output = log.read_text(errors="replace")
    assert status == 0, output[-3000:]
    return output


def as_module(command, python="python"):
    return [python, "-m", "fairseq_cli.train", *command[1:]]


def under_torchrun(command, folder):
    """One warm worker on this machine; fairseq would count GPUs to find its place, so that it is told."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = folder / "worker.sh"
    words = " ".join(f"'{part}'" for part in client(*command))
    script.write_text(f"unset RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT\nexec {words}\n")
    return ["torchrun", "--nproc-per-node", 1, "--master-port", port, "--no-python", "bash", script]


def slowly(command, what, seconds):
    """The program with a pause where a function of fairseq is called, as long as a signal needs to come."""
    code = f"""
import time, sys, fairseq_cli.train as train
from fairseq import checkpoint_utils, trainer
owner, name = {what}
stock = getattr(owner, name)
def slow(*arguments, **settings):
    print('PAUSE', flush=True)
    time.sleep({seconds})
    return stock(*arguments, **settings)
setattr(owner, name, slow)
train.cli_main()
"""
    return ["python", "-c", code, *command[1:]]


@pytest.mark.parametrize(
    "situation", ["trainer", "group", "torchrun", "module", "module group", "start", "validation", "save"]
)
def test_sigterm(demo, tmp_path, situation):
    save, log = tmp_path / "save", tmp_path / "log.txt"
    command = train_command(demo / "data-bin", save, 400, *SLOW)
    seen = "num_updates=2"
    if situation == "torchrun":
        command = under_torchrun(command, tmp_path)
    elif situation == "module":
        command = as_module(command, sys.executable)
    elif situation == "module group":
        command = as_module(command)
    elif situation == "start":
        command, seen = slowly(command, "checkpoint_utils, 'load_checkpoint'", 1), "PAUSE"
    elif situation == "validation":
        command = [*slowly(command, "trainer.Trainer, 'valid_step'", 0.5), "--validate-interval-updates", 2]
        seen = "PAUSE"
    elif situation == "save":
        command = [*slowly(command, "checkpoint_utils, 'save_checkpoint'", 1), "--save-interval-updates", 2]
        command += ["--disable-validation"]
        seen = "PAUSE"
    process = start(command, log)
    wait_for(process, log, seen)
    if "group" in situation:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGTERM)
    output = ended(process, log) if situation != "torchrun" else ended_under_torchrun(process, log)
    done = [int(number) for number in re.findall(r"num_updates=(\d+)", output)]
    assert "SIGTERM: " in output and updates_of(save) == max(done, default=0)
    if situation == "start":
        assert updates_of(save) == 0
    if situation in ("validation", "save"):
        assert updates_of(save) == 2, "no further update"
        assert output.count("PAUSE") <= 3 and not (save / "validation").exists()
    # It resumes from there.
    again = train_command(demo / "data-bin", save, updates_of(save) + 1, *SLOW, "--disable-validation")
    assert "Loaded checkpoint" in run(*again) and updates_of(save) == max(done, default=0) + 1


def ended_under_torchrun(process, log):
    """torchrun ends with a different status after a signal."""
    process.wait(timeout=120)
    return log.read_text(errors="replace")


def test_a_finished_run_started_as_a_module_does_nothing(demo, tmp_path):
    command = train_command(demo / "data-bin", tmp_path, 2)
    run(*command)
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    output = run(*as_module(command))
    assert "nothing to do: 2 of --max-update 2 updates are done" in output
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == before
