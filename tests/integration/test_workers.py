"""Several workers on the CPU give what one worker gives (design: invariant 7)."""

import csv
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import ROOT, run, train_command

from langsamp_plugin.checkpoint.loading import load_checkpoint

# Dropout draws from a generator per worker, so it is off where workers are compared.
PLAIN = ("--dropout", 0, "--attention-dropout", 0)


def start_two_workers(data, folder, updates, *more):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(part) for part in train_command(data, folder, updates, *more)]
    command[0] = str(Path(sys.executable).parent / command[0])
    distributed = [
        "--distributed-world-size", "2", "--distributed-no-spawn", "--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp",
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
    outputs = [worker.communicate(timeout=300)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs[1][-3000:]
    return outputs


def train_with_two_workers(*arguments):
    wait_for(start_two_workers(*arguments))


def table(folder, updates):
    with open(folder / "validation" / f"{updates}.tsv") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_two_workers_equal_one_with_update_freq_2(demo, tmp_path):
    data = demo / "data-bin"
    run(*train_command(data, tmp_path / "one", 12, "--update-freq", 2, *PLAIN))
    train_with_two_workers(data, tmp_path / "two", 12, *PLAIN)
    one, two = (load_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("one", "two"))
    for name, weight in one.items():
        if weight.is_floating_point():
            assert (weight - two[name]).abs().max() < 1e-5, name
    for ours, theirs in zip(table(tmp_path / "one", 12), table(tmp_path / "two", 12)):
        assert ours["name"] == theirs["name"] and ours["masked_tokens"] == theirs["masked_tokens"]
        assert float(ours["loss_bits"]) == pytest.approx(float(theirs["loss_bits"]), abs=2e-4)
    # Control: one worker alone has half the batch and ends elsewhere.
    run(*train_command(data, tmp_path / "half", 12, *PLAIN))
    half = load_checkpoint(tmp_path / "half" / "checkpoint_last.pt")["model"]
    assert not torch.allclose(half["encoder.lang_embedding.weight"], two["encoder.lang_embedding.weight"], atol=1e-3)


def test_two_workers_go_on_where_one_stopped(demo, tmp_path):
    """The change of the number of workers keeps the place in the data."""
    data = demo / "data-bin"
    run(*train_command(data, tmp_path / "both", 12, "--update-freq", 2, *PLAIN))
    run(*train_command(data, tmp_path / "parts", 5, "--update-freq", 2, *PLAIN))
    train_with_two_workers(data, tmp_path / "parts", 12, *PLAIN)
    both, parts = (load_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("both", "parts"))
    for name, weight in both.items():
        if weight.is_floating_point():
            assert (weight - parts[name]).abs().max() < 1e-5, name


def test_sigterm_to_one_of_two_workers_stops_both_after_the_same_update(demo, tmp_path):
    """Neither waits for the other for ever, and what they saved goes on to the weights of a run without the signal."""
    data, more = demo / "data-bin", (*PLAIN, "--log-interval", 1)
    train_with_two_workers(data, tmp_path / "whole", 20, *more)
    workers = start_two_workers(data, tmp_path / "parts", 20, *more)
    for line in workers[0].stdout:
        if "num_updates=3" in line:
            workers[1].send_signal(signal.SIGTERM)
            break
    assert "SIGTERM: saving after update" in wait_for(workers)[0]
    stopped = load_checkpoint(tmp_path / "parts" / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]
    assert 3 <= stopped < 20
    train_with_two_workers(data, tmp_path / "parts", 20, *more)
    whole, parts = (load_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
