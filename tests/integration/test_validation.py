"""What a validation leaves: figures that flags choose by, and files of each subset."""

import csv
import re
import shutil

import pytest
from support import LANGS, ROOT, run, train_command

from langsamp_plugin.checkpoint.loading import load_checkpoint

OFTEN = ("--save-interval-updates", 3)


def bits(folder, name):
    with open(folder / "validation" / name, encoding="utf-8") as stream:
        return {row["name"]: float(row["loss_bits"]) for row in csv.DictReader(stream, delimiter="\t")}


@pytest.mark.parametrize("metric", ["loss_macro", "loss_latn"])
def test_the_best_checkpoint_by_an_average_over_languages(demo, tmp_path, metric):
    """The second validation looks for the best one before it; a resumed run does so in its first."""
    command = [*OFTEN, "--best-checkpoint-metric", metric, "--keep-best-checkpoints", 2]
    log = run(*train_command(demo / "data-bin", tmp_path, 9, *command))
    assert log.count(f"best_{metric}") == 2, "in the second and third"
    log = run(*train_command(demo / "data-bin", tmp_path, 12, *command))
    assert log.count(f"best_{metric}") == 1
    losses = {update: bits(tmp_path, f"{update}.tsv")[metric[5:]] for update in (3, 6, 9, 12)}
    best = load_checkpoint(tmp_path / "checkpoint_best.pt")
    update = best["optimizer_history"][-1]["num_updates"]
    assert losses[update] == min(losses.values())
    assert best["extra_state"]["best"] == pytest.approx(losses[update], abs=1e-3)
    # fairseq names them by the loss to three places, and a random digit that makes equal losses differ.
    kept = [float(path.stem.rpartition("_")[2]) for path in tmp_path.glob(f"checkpoint.best_{metric}_*.pt")]
    assert len(kept) == 2 and min(kept) == pytest.approx(losses[update], abs=2e-3)


def test_a_run_ends_by_an_average(demo, tmp_path):
    worse = ("--lr", 0, "--best-checkpoint-metric", "loss_macro", *OFTEN)
    log = run(*train_command(demo / "data-bin", tmp_path / "patience", 30, *worse, "--patience", 2))
    assert "early stop since valid performance hasn't improved for last 2 runs" in log


def test_the_learning_rate_falls_where_an_average_stays(tmp_path):
    """fairseq's reduce_lr_on_plateau looks at each epoch's end at --best-checkpoint-metric: it finds the average."""
    data = ROOT / "tests" / "fixtures" / "earlier_formats" / "data-bin"
    falls = ("--best-checkpoint-metric", "loss_macro", "--lr", "1e-6", "--lr-scheduler", "reduce_lr_on_plateau")
    log = run(*train_command(data, tmp_path, 1000, *falls, "--lr-shrink", 0.5, "--lr-threshold", 0, "--lr-patience", 0,
                             "--max-epoch", 5, "--validate-interval", 1))  # fmt: skip
    rates = [float(rate) for rate in re.findall(r"\| train \|.* lr ([\d.e-]+)", log)]
    assert rates == [1e-6, 1e-6, 5e-7, 2.5e-7, 1.25e-7], "halved at each epoch's end after the first"


def test_an_average_that_no_language_is_in_is_named_before_the_first_update(demo, tmp_path):
    log = run(*train_command(demo / "data-bin", tmp_path, 3, "--best-checkpoint-metric", "loss_tail"), expect=1)
    last = log.strip().splitlines()[-1]
    assert "must be loss, ppl, accuracy, or one of loss_head, loss_latn, loss_macro, loss_nonlatn" in last
    assert "but is loss_tail" in last and "update" not in last


def test_each_subset_has_its_files(demo, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(demo / "data-bin", data)
    for tag in LANGS[:3]:
        for kind in ("bin", "idx"):
            shutil.copy(data / tag / f"train.{kind}", data / tag / f"test.{kind}")
    command = train_command(
        data, tmp_path / "save", 3, "--valid-subset", "valid,test", "--tensorboard-logdir", tmp_path
    )
    run(*command)
    first, second = (bits(tmp_path / "save", name) for name in ("3.tsv", "3.test.tsv"))
    assert set(LANGS) <= set(first) and set(LANGS[:3]) <= set(second) and not set(LANGS[3:]) & set(second)
    assert first["eng_Latn"] != second["eng_Latn"]
    assert all(list((tmp_path / f"{name}_by_tag").iterdir()) for name in ("valid", "test"))
