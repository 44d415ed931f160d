"""Training that is hit while it runs continues as if nothing had happened."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from started_commands import Started
from support import ROOT, Evil, run, train_command

from langsamp_plugin.checkpoint.loading import load_checkpoint

UPDATES = 24


@pytest.fixture(scope="module")
def whole(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(*train_command(demo / "data-bin", folder, UPDATES, "--save-interval-updates", 6))
    return load_checkpoint(folder / "checkpoint_last.pt")["model"]


def same(folder, weights):
    found = load_checkpoint(folder / "checkpoint_last.pt")
    assert found["optimizer_history"][-1]["num_updates"] == UPDATES
    return all(torch.equal(found["model"][name], weights[name]) for name in weights)


def test_sigterm_saves_and_ends_with_status_0(demo, whole, tmp_path):
    command = train_command(demo / "data-bin", tmp_path, UPDATES, "--log-interval", 1, "--num-workers", 1)
    process = Started(command, ROOT)
    for line in process.stdout:
        if "num_updates=3" in line:
            process.send_signal(signal.SIGTERM)
            break
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "SIGTERM: saving after update" in output, output[-2000:]
    stopped = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)["optimizer_history"][-1]["num_updates"]
    assert 3 <= stopped < UPDATES
    output = run(*command)
    assert "Loaded checkpoint" in output and same(tmp_path, whole)
    # Started once more, it is done: fairseq alone would do one update more each time.
    assert f"nothing to do: {UPDATES} of --max-update {UPDATES} updates are done" in run(*command) and same(
        tmp_path, whole
    )


def test_a_damaged_last_checkpoint(demo, whole, tmp_path):
    command = train_command(demo / "data-bin", tmp_path, UPDATES, "--save-interval-updates", 6)
    run(*train_command(demo / "data-bin", tmp_path, 14, "--save-interval-updates", 6))
    last = tmp_path / "checkpoint_last.pt"
    last.write_bytes(last.read_bytes()[:-1000])
    output = run(*command)
    assert "checkpoint_last.pt is damaged; continuing from checkpoint_1_12.pt" in output.replace(
        "checkpoint_2", "checkpoint_1"
    )
    assert same(tmp_path, whole)


def test_a_shard_that_is_cut_off_under_a_running_job(demo, whole, tmp_path):
    """It names the file; earlier checkpoints are complete, and with the shard restored the run resumes."""
    data = tmp_path / "data-bin"
    shutil.copytree(demo / "data-bin", data)
    # 200 updates, so that the run is still there when the file is cut.
    command = train_command(data, tmp_path / "run", 200, "--save-interval-updates", 6, "--log-interval", 1)
    process = Started(command, ROOT)
    for line in process.stdout:
        if "num_updates=8" in line:
            for path in data.glob("*/train.bin"):
                os.truncate(path, 10)
            break
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1 and "train.bin was cut off while in use; binarize this language again" in output
    shutil.copytree(demo / "data-bin", data, dirs_exist_ok=True)
    run(*train_command(data, tmp_path / "run", UPDATES, "--save-interval-updates", 6))
    assert same(tmp_path / "run", whole)


@pytest.mark.parametrize("flag", ["resume", "--restore-file", "--finetune-from-model"])
def test_code_in_a_checkpoint_does_not_run(demo, tmp_path, flag, capfd):
    """The commands refuse it in test_malformed.py."""
    path = tmp_path / ("checkpoint_last.pt" if flag == "resume" else "start.pt")
    torch.save({"model": {}, "args": Evil()}, path)
    more = [] if flag == "resume" else [flag, path]
    output = run(*train_command(demo / "data-bin", tmp_path, 3, *more), expect=1)
    assert "carries objects that could run code" in output and "code ran" not in output
    # Control: it would.
    torch.load(path, weights_only=False)
    assert "code ran" in capfd.readouterr().out


class WarmTrainings:
    """What the script takes from ``subprocess``, with training runs that are forks."""

    DEVNULL, STDOUT = subprocess.DEVNULL, subprocess.STDOUT

    @staticmethod
    def Popen(command, stdout, stderr):
        assert command[:3] == [sys.executable, "-m", "fairseq_cli.train"] and stdout is stderr
        return Started(["fairseq-train", *command[3:]], ROOT, stdout.name)

    @staticmethod
    def run(command, **options):
        run("fairseq-train", *command[3:])


def test_soak(demo, tmp_path, monkeypatch, capsys):
    """The short form of scripts/soak.py: three kills, the last one while a checkpoint is written."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import soak

    monkeypatch.setattr(soak, "subprocess", WarmTrainings)
    run("fairseq-train", "--help")  # so that the run which is timed does not wait for imports
    options = [demo / "data-bin", "--out", tmp_path / "soak", "--kills", 3, "--updates", 40]
    monkeypatch.setattr(sys, "argv", ["soak.py", *map(str, options)])
    soak.main()
    output = capsys.readouterr().out
    assert re.search(r"^[1-3] kills, 0 differences, 0 files left behind", output, re.MULTILINE), output
    # Control: it would see a difference.
    one = {"model": {"a": torch.zeros(2), "b": [1]}, "step": 3}
    assert soak.differences(one, {"model": {"a": torch.tensor([0, 1e-9]), "b": [1]}, "step": 4}) == [
        ".model.a",
        ".step",
    ]
