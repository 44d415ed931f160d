"""Training with parallel text: without pairs nothing changes, restarts are exact, two workers are one."""

import csv
import json
import re
import shutil

import pytest
import torch
from support import ROOT, run, train_command
from two_workers import PLAIN, farthest, train_with_two_workers

from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.corpus.pairs import write_pairs
from langsamp_plugin.data.pair_binarizer import binarize_pairs

ALIGN = ("--align-share", 0.5, "--align-pairs", 8, "--align-warmup", 4)


@pytest.fixture(scope="module")
def data(demo, tmp_path_factory):
    """The demo's data with pairs in addition to blocks."""
    folder = tmp_path_factory.mktemp("pairs")
    shutil.copytree(demo / "data-bin", folder / "data-bin")
    write_pairs("django", folder / "pairs", langs=[path.stem for path in (demo / "corpus" / "train").glob("*.txt")])
    binarize_pairs(folder / "pairs", demo / "spm.model", folder / "data-bin", demo / "corpus" / "train")
    return folder / "data-bin"


def weights(folder):
    return load_checkpoint(folder / "checkpoint_last.pt")["model"]


def differences(one, other):
    assert one.keys() == other.keys()
    return sum(not torch.equal(one[name], other[name]) for name in one)


def train(data, folder, updates, *flags):
    printed = run(*train_command(data, folder, updates, *flags))
    return printed, weights(folder)


@pytest.fixture(scope="module")
def aligned(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("aligned")
    return (folder, *train(data, folder, 12, *ALIGN))


def test_without_a_share_pairs_beside_the_data_change_nothing(demo, data, aligned, tmp_path):
    _, without = train(demo / "data-bin", tmp_path / "a", 6)
    _, beside = train(data, tmp_path / "b", 6)
    assert differences(without, beside) == 0
    _, control = train(data, tmp_path / "c", 6, *ALIGN)
    assert differences(without, control) > 0


def test_resumed_run_is_the_uninterrupted_one(data, aligned, tmp_path):
    _, _, expected = aligned
    train(data, tmp_path, 5, *ALIGN)
    _, resumed = train(data, tmp_path, 12, *ALIGN)
    assert differences(expected, resumed) == 0
    printed = run(*train_command(data, tmp_path, 14, *ALIGN[:2], "--align-pairs", 6), expect=1)
    assert "the parallel text was" in printed


def test_resume_in_folders_and_in_phases_of_different_lengths(data, tmp_path):
    """Stopped in each of them and at a border; pairs count on over the run."""
    small = tmp_path / "small"
    small.mkdir()
    for name in ("dict.txt", "languages.tsv", "scripts.tsv", "deu_Latn", "hin_Deva"):
        (shutil.copytree if (data / name).is_dir() else shutil.copy)(data / name, small / name)
    phases = tmp_path / "phases.json"
    phases.write_text(json.dumps([{"updates": 2}, {"updates": 3, "data": [str(small)]}, {"updates": 4}]))
    flags = ("--batch-size", 96, "--align-share", 0.4, "--align-pairs", 6, "--disable-validation")
    for kind, source, more in (("folders", f"{data}:{small}", ()), ("phases", data, ("--phases", phases))):
        _, expected = train(source, tmp_path / kind, 9, *flags, *more)
        for updates in (1, 4, 9) if kind == "phases" else (3, 7, 9):
            _, resumed = train(source, tmp_path / f"{kind}-parts", updates, *flags, *more)
        assert differences(expected, resumed) == 0


def test_tags_are_measured_without_the_pairs(demo, aligned, tmp_path):
    """Another data folder, which has none, is enough to measure a model that was trained with pairs."""
    folder, _, _ = aligned
    command = ("langsamp", "analyze", "tags", folder / "checkpoint_last.pt", "--data", demo / "data-bin")
    assert "language replaced" in run(*command, "--blocks", 1, "--out", tmp_path / "tags.json")


def test_what_is_seen_while_it_trains(data, aligned):
    folder, printed, _ = aligned
    for name in ("align_loss", "align_accuracy", "align_margin", "align_mlm"):
        assert re.search(rf"train_inner .*\b{name}=[\d.]+", printed), name
    assert re.search(r"valid .*align_margin_macro -?[\d.]+ .*", printed)
    with open(folder / "alignment" / "12.tsv", encoding="utf-8") as stream:
        rows = {(row["kind"], row["name"]): row for row in csv.DictReader(stream, delimiter="\t")}
    assert {("tag", "deu_Latn"), ("tag", "hin_Deva"), ("macro", "macro"), ("macro", "nonlatn")} <= rows.keys()
    assert ("tag", "eng_Latn") not in rows
    state = load_checkpoint(folder / "checkpoint_last.pt")
    assert "deu_Latn" in state["task_state"]["pair_tags"]


@pytest.mark.parametrize(
    "flags",
    [
        ("--align-objective", "tlm"),
        ("--embed-tags", "none"),
        ("--embed-tags", "lang", "--head-loss", "blocks"),
        ("--embed-tags-at", "input"),
        ("--fp16", "--memory-efficient-fp16"),
        ("--align-pivot", "eng_Latn", "--update-freq", 2, "--align-share", 1),
    ],
    ids=lambda flags: " ".join(map(str, flags)),
)
def test_works_with(data, tmp_path, flags):
    printed, _ = train(data, tmp_path, 4, *ALIGN, *map(str, flags))
    assert re.search(r"train \| .*align_mlm [\d.]+", printed)
    assert ("align_loss" in printed) == ("tlm" not in flags)


@pytest.mark.parametrize("backend", ["legacy_ddp", "c10d"])
def test_two_workers_are_one_with_their_pairs(data, tmp_path, backend):
    flags = ("--align-share", 0.5, "--align-temperature", 0.2, *PLAIN)
    run(*train_command(data, tmp_path / "one", 6, *flags, "--align-pairs", 8, "--batch-size", 16))
    halves = ("--align-pairs", 4, "--batch-size", 8)
    train_with_two_workers(data, tmp_path / "two", 6, *flags, *halves, backend=backend)
    assert farthest(tmp_path) < 1e-5
    if backend == "legacy_ddp":  # the control: the same pairs without the other worker's negatives
        run(*train_command(data, tmp_path / "three", 6, *flags, *halves, "--update-freq", 2))
        assert farthest(tmp_path, "one", "three") > 1e-4


@pytest.mark.parametrize(
    "flags, said",
    [
        (("--align-share", 1.5), "--align-share must be between 0 and 1"),
        (("--align-share", 0.5, "--align-pairs", 1), "--align-pairs must be at least 2"),
        (("--align-share", 0.5, "--align-temperature", 0), "--align-temperature must be above 0"),
        (("--align-share", 0.5, "--align-layer", 9), "--align-layer must be at most 2"),
        (("--align-share", 0.5, "--align-pivot", "fra_Latn"), "--align-pivot must be a language of"),
        (("--align-share", 0.5, "--align-data", ROOT), "is missing: make pairs with"),
    ],
    ids=lambda part: " ".join(map(str, part)) if isinstance(part, tuple) else "",
)
def test_what_is_refused(data, tmp_path, flags, said):
    printed = run(*train_command(data, tmp_path, 2, *flags), expect=1)
    assert said in printed and " split of " not in printed, "refused before any text is opened"
