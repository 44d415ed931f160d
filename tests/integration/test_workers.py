"""Several workers on the CPU give what one worker gives (design: invariant 7)."""

import csv
import signal

import pytest
import torch
from support import run, train_command
from two_workers import PLAIN, farthest, start_two_workers, train_with_two_workers, wait_for

from langsamp_plugin.checkpoint.loading import load_checkpoint


def table(folder, updates):
    with open(folder / "validation" / f"{updates}.tsv") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@pytest.fixture(scope="module")
def one(demo, tmp_path_factory):
    """Twenty updates by one worker, each of two batches."""
    folder = tmp_path_factory.mktemp("one") / "one"
    run(*train_command(demo / "data-bin", folder, 20, "--update-freq", 2, *PLAIN))
    return folder


@pytest.fixture(scope="module")
def two(demo, tmp_path_factory):
    """Twenty updates by two workers."""
    folder = tmp_path_factory.mktemp("two") / "two"
    train_with_two_workers(demo / "data-bin", folder, 20, *PLAIN)
    return folder


def test_two_workers_equal_one_with_update_freq_2(demo, one, two, tmp_path):
    assert farthest(tmp_path, one, two) < 1e-6
    ours, theirs = table(one, 20), table(two, 20)
    assert ours == theirs, "a validation's tables are the same to the last printed digit"
    # Control: one worker alone has half the batch and ends elsewhere.
    run(*train_command(demo / "data-bin", tmp_path / "half", 20, *PLAIN))
    half, all_of_it = (load_checkpoint(path / "checkpoint_last.pt")["model"] for path in (tmp_path / "half", two))
    name = "encoder.lang_embedding.weight"
    assert not torch.allclose(half[name], all_of_it[name], atol=1e-3)


@pytest.mark.parametrize("head_loss", ["plain", "blocks"])
def test_torchs_own_data_parallel_is_the_same(demo, tmp_path, head_loss):
    """It counts which weights got a gradient, and how often: the tied embedding once."""
    data, more = demo / "data-bin", (*PLAIN, "--head-loss", head_loss)
    run(*train_command(data, tmp_path / "one", 12, "--update-freq", 2, *more))
    train_with_two_workers(data, tmp_path / "two", 12, *more, backend="pytorch_ddp")
    assert farthest(tmp_path) < 1e-6


def test_two_workers_equal_one_in_half_precision(demo, tmp_path):
    """Sums of fp16 gradients round differently when they are added across workers; the scale is found by both."""
    data = demo / "data-bin"
    more = (*PLAIN, "--fp16", "--memory-efficient-fp16")
    run(*train_command(data, tmp_path / "one", 12, "--update-freq", 2, *more))
    train_with_two_workers(data, tmp_path / "two", 12, *more)
    assert farthest(tmp_path) < 4e-3  # two steps of fp16 at the largest weights, which are near 1
    losses = [
        [float(row["loss_bits"]) for row in table(tmp_path / name, 12) if row["kind"] == "tag"]
        for name in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=5e-3)


def test_a_worker_that_dies_ends_the_run_and_costs_nothing(demo, one, tmp_path):
    data, more = demo / "data-bin", (*PLAIN, "--log-interval", 1, "--save-interval-updates", 2)
    workers = start_two_workers(data, tmp_path / "two", 20, *more)
    for line in workers[0].stdout:
        if "num_updates=5" in line:
            workers[1].kill()
            break
    output = workers[0].communicate(timeout=120)[0]
    assert workers[0].returncode != 0 and "onnection" in output, output[-1000:]
    workers[1].communicate()
    train_with_two_workers(data, tmp_path / "two", 20, *more)
    assert farthest(tmp_path, one) < 1e-6


def test_two_workers_go_on_where_one_stopped(demo, one, tmp_path):
    """The change of the number of workers keeps the place in the data."""
    data = demo / "data-bin"
    run(*train_command(data, tmp_path / "parts", 5, "--update-freq", 2, *PLAIN))
    train_with_two_workers(data, tmp_path / "parts", 20, *PLAIN)
    assert farthest(tmp_path, one, "parts") < 1e-6


def test_sigterm_to_one_of_two_workers_stops_both_after_the_same_update(demo, two, tmp_path):
    """Neither waits for the other for ever, and what they saved goes on to the weights of a run without the signal."""
    data, more = demo / "data-bin", (*PLAIN, "--log-interval", 1)
    workers = start_two_workers(data, tmp_path / "parts", 20, *more)
    for line in workers[0].stdout:
        if "num_updates=3" in line:
            workers[1].send_signal(signal.SIGTERM)
            break
    assert "SIGTERM: saving after update" in wait_for(workers)[0]
    stopped = load_checkpoint(tmp_path / "parts" / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]
    assert 3 <= stopped < 20
    train_with_two_workers(data, tmp_path / "parts", 20, *more)
    whole, parts = (load_checkpoint(path / "checkpoint_last.pt")["model"] for path in (two, tmp_path / "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
