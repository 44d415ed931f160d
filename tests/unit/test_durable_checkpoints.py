"""Checkpoints under faults: half-written, damaged, no space, the same file twice."""

import errno
import os

import pytest
import torch
from fairseq import checkpoint_utils
from support import Evil

from langsamp_plugin.checkpoint.loading import is_intact
from langsamp_plugin.temporary import temporary_name
from langsamp_plugin.training.durable_checkpoints import LAST, check_restore_file, link, repair_last_checkpoint


def save(path, value):
    torch.save({"model": {"weight": torch.full((1000,), float(value))}}, path)


def value_of(path):
    return float(torch.load(path, weights_only=True)["model"]["weight"][0])


def test_a_restore_file_that_cannot_be_read_is_refused(tmp_path):
    """fairseq would train from random weights without a word."""
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="is a Hugging Face folder: `langsamp import .* makes a checkpoint of it"):
        check_restore_file(str(tmp_path), tmp_path / "save")
    with pytest.raises(FileNotFoundError, match="--restore-file .*model.pt is missing: name a checkpoint"):
        check_restore_file(str(tmp_path / "model.pt"), tmp_path / "save")
    with pytest.raises(FileNotFoundError, match="model-rank-0.pt is missing"):
        check_restore_file(str(tmp_path / "model.pt"), tmp_path / "save", "-rank-0")
    save(tmp_path / "model.pt", 1)
    for allowed in (tmp_path / "model.pt", tmp_path / "save" / "checkpoint3.pt", LAST, "s3://bucket/model.pt"):
        check_restore_file(str(allowed), tmp_path / "save")  # a run's own checkpoint may be written later


@pytest.mark.parametrize("damage", ["cut", "empty", "a bit", "zeros", "text", "missing"])
def test_whole(tmp_path, damage):
    path = tmp_path / LAST
    save(path, 1)
    assert is_intact(path)
    data = bytearray(path.read_bytes())
    if damage == "a bit":
        data[len(data) // 2] ^= 1
    elif damage == "zeros":  # a file system that had the size but not the data when the power went
        data[1000:] = bytes(len(data) - 1000)
    path.write_bytes(
        {"cut": data[: len(data) // 2], "empty": b"", "text": b"not a checkpoint"}.get(damage, bytes(data))
    )
    if damage == "missing":
        path.unlink()
    assert not is_intact(path)


def test_newest_whole_one_takes_the_place_of_a_damaged_last(tmp_path, caplog):
    for number, name in enumerate(("checkpoint_1_10.pt", "checkpoint_1_20.pt", "checkpoint_1_30.pt", LAST)):
        save(tmp_path / name, number)
        os.utime(tmp_path / name, (number, number))
    assert repair_last_checkpoint(tmp_path) is None and value_of(tmp_path / LAST) == 3
    for name in (LAST, "checkpoint_1_30.pt"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-100])
    temporary_name(tmp_path / LAST).write_bytes(b"a save that was killed")
    assert repair_last_checkpoint(tmp_path) == tmp_path / "checkpoint_1_20.pt" and value_of(tmp_path / LAST) == 1
    assert f"{tmp_path / LAST} is damaged; continuing from checkpoint_1_20.pt" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint_1_10.pt", "checkpoint_1_20.pt", "checkpoint_1_30.pt", LAST, f"{LAST}.damaged",
    ]  # fmt: skip
    for path in tmp_path.glob("*.pt"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="no other checkpoint in its folder is complete: remove it to start over"):
        repair_last_checkpoint(tmp_path)
    assert repair_last_checkpoint(tmp_path / "nowhere") is None


def test_last_is_the_same_file_and_outlives_the_other_name(tmp_path, monkeypatch):
    one, last = tmp_path / "checkpoint_1_10.pt", tmp_path / LAST
    save(one, 1)
    save(last, 0)
    for _ in range(2):  # the second time both names are one file already
        assert checkpoint_utils.PathManager.copy(str(one), str(last), overwrite=True)
        assert value_of(last) == 1 and os.path.samefile(one, last)
    one.unlink()
    assert value_of(last) == 1 and [path.name for path in tmp_path.iterdir()] == [LAST]

    def refused(*names):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refused)
    link(last, one)
    assert value_of(one) == 1 and not os.path.samefile(one, last) and len(list(tmp_path.iterdir())) == 2


def test_no_space_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / LAST
    save(path, 1)

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="could not be written, free some space and run again"):
        checkpoint_utils.torch_persistent_save({"model": {}}, str(path))
    assert value_of(path) == 1 and [file.name for file in tmp_path.iterdir()] == [LAST]
    monkeypatch.undo()
    checkpoint_utils.torch_persistent_save({"model": {"weight": torch.ones(1) * 5}}, str(path))
    assert value_of(path) == 5


def test_code_in_a_checkpoint_is_refused_by_training(trained, tmp_path, capsys):
    torch.save({"model": {}, "args": Evil()}, tmp_path / LAST)
    with pytest.raises(ValueError, match="carries objects that could run code, and was not loaded"):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / LAST))
    assert "code ran" not in capsys.readouterr().out
    assert checkpoint_utils.load_checkpoint_to_cpu(str(trained))["model"]
