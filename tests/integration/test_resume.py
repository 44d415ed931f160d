"""A run that is cut off and started again is the uninterrupted one."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from support import LANGS, assert_same, run, train_command, weights

from langsamp_plugin.modules.tag_embedding import decode_codes

pytestmark = pytest.mark.filterwarnings("ignore")


def test_resume_at_any_update_equals_an_uninterrupted_run(demo, tmp_path):
    """Stopped in the first epoch, exactly at its end, and in the second (the epoch has 19 rounds of 2 batches or
    so)."""
    whole = train_command(demo / "data-bin", tmp_path / "whole", 45)
    run(*whole)
    for stop in (7, 31):
        folder = tmp_path / f"stop{stop}"
        run(*train_command(demo / "data-bin", folder, stop))
        log = run(*train_command(demo / "data-bin", folder, 45))
        assert f"@ {stop} updates" in log
        assert_same(weights(tmp_path / "whole" / "checkpoint_last.pt"), weights(folder / "checkpoint_last.pt"))
    # Control: without the state of the data the same updates end elsewhere.
    folder = tmp_path / "reset"
    run(*train_command(demo / "data-bin", folder, 31))
    run(*train_command(demo / "data-bin", folder, 45, "--reset-dataloader"))
    other = weights(folder / "checkpoint_last.pt")
    assert not torch.equal(
        other["encoder.lang_embedding.weight"],
        weights(tmp_path / "whole" / "checkpoint_last.pt")["encoder.lang_embedding.weight"],
    )


def test_same_seed_same_weights(demo, tmp_path):
    """In a fork of one process and in another process, which orders its sets differently."""
    run(*train_command(demo / "data-bin", tmp_path / "one", 5))
    command = train_command(demo / "data-bin", tmp_path / "two", 5)
    run(Path(sys.executable).with_name("fairseq-train"), *command[1:])
    assert_same(weights(tmp_path / "one" / "checkpoint_last.pt"), weights(tmp_path / "two" / "checkpoint_last.pt"))


def test_resume_on_changed_data_is_refused(demo, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demo / "data-bin", data)
    run(*train_command(data, tmp_path / "save", 5))
    shutil.rmtree(data / "hin_Deva")
    log = run(*train_command(data, tmp_path / "save", 8), expect=1)
    assert "cannot continue in the middle of other data: the data was" in log and "--reset-dataloader" in log
    run(*train_command(data, tmp_path / "save", 8, "--reset-dataloader"))


def test_half_precision(demo, tmp_path):
    log = run(*train_command(demo / "data-bin", tmp_path, 6, "--fp16", "--memory-efficient-fp16"))
    assert "loss_scale" in log
    assert decode_codes(weights(tmp_path / "checkpoint_last.pt")["encoder.lang_embedding.codes"])


def test_two_folders_in_turns_resume_at_the_end_of_an_epoch(demo, tmp_path):
    """The save has the finished folder's fingerprint, and the run continues with the other's."""
    parts = []
    for number, tags in enumerate((LANGS[:3], LANGS[3:])):
        folder = tmp_path / f"part{number}"
        folder.mkdir()
        for name in ("dict.txt", "languages.tsv", "scripts.tsv"):
            shutil.copy(demo / "data-bin" / name, folder / name)
        for tag in tags:
            shutil.copytree(demo / "data-bin" / tag, folder / tag)
        parts.append(str(folder))
    both = ":".join(parts)
    command = ("--batch-size", 128, "--save-interval", 1, "--disable-validation")
    run(*train_command(both, tmp_path / "whole", 10**4, *command, "--max-epoch", 3))
    for epoch in (1, 2, 3):
        log = run(*train_command(both, tmp_path / "parts", 10**4, *command, "--max-epoch", epoch))
        assert epoch == 1 or "Loaded checkpoint" in log
    found = [weights(tmp_path / name / "checkpoint_last.pt") for name in ("whole", "parts")]
    assert_same(*found)
    # The control: other text in the folder whose turn comes next.
    shutil.copytree(demo / "data-bin" / LANGS[0], tmp_path / "part1" / LANGS[0])
    log = run(*train_command(both, tmp_path / "parts", 10**4, *command, "--max-epoch", 4), expect=1)
    assert "cannot continue in the middle of other data: the data was" in log


def test_a_damaged_last_checkpoint_with_a_suffix(demo, tmp_path):
    command = ("--checkpoint-suffix", "_a", "--save-interval-updates", 2, "--disable-validation")
    run(*train_command(demo / "data-bin", tmp_path, 4, *command))
    last = tmp_path / "checkpoint_last_a.pt"
    last.write_bytes(last.read_bytes()[:-100])  # and the newest, of which it is a link
    log = run(*train_command(demo / "data-bin", tmp_path, 6, *command))
    assert "checkpoint_last_a.pt is damaged; continuing from checkpoint_1_2_a.pt" in log
