"""``--phases``: exact counts per phase and language, and a run that is stopped anywhere resumes bit for bit."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import torch
from support import LANGS, run, train_command

from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.tasks.config import LangSampMaskedLMConfig
from langsamp_plugin.tasks.langsamp_masked_lm import LangSampMaskedLMTask
from langsamp_plugin.tasks.phases import exact_draws, read_phases

PHASES = [
    {"updates": 3, "mask_prob": 0.3, "alpha": 1.0, "languages": ["eng_Latn", "deu_Latn", "rus_Cyrl"]},
    {"updates": 4, "mask_prob": 0.15, "alpha": 0.3},
    {"updates": 5, "mask_prob": 0.05, "alpha": 0.0, "languages": list(LANGS[1:])},
]
BATCH = 16


@pytest.fixture
def phases(tmp_path):
    path = tmp_path / "phases.json"
    path.write_text(json.dumps(PHASES))
    return path


def make_task(data, path, save):
    cfg = LangSampMaskedLMConfig(
        data=str(data), phases=str(path), tokens_per_sample=32, seed=1, train_subset="train", save_dir=str(save),
        no_save=False, tensorboard_logdir=None, cpu=True, max_tokens=None, batch_size=BATCH, update_freq=[1],
        required_batch_size_multiple=8, distributed_world_size=1, best_checkpoint_metric="loss",
    )  # fmt: skip
    return LangSampMaskedLMTask.setup_task(cfg)


def test_a_run_on_the_cpu_pins_no_memory_for_a_gpu(demo, phases, tmp_path, monkeypatch):
    """Pinning opens a context on the machine's first GPU, which another job may hold for itself."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    task = make_task(demo / "data-bin", phases, tmp_path / "save")
    task.load_dataset("train")
    for cpu in (True, False):
        task.cfg.cpu = cpu
        iterator = task.get_batch_iterator(task.dataset("train"), max_sentences=BATCH, max_positions=512)
        assert iterator.pin_memory is not cpu


def test_counts_are_exact_and_text_is_not_repeated_early(demo, phases, tmp_path):
    task = make_task(demo / "data-bin", phases, tmp_path / "save")
    seen = Counter()
    for number, phase in enumerate(PHASES, 1):
        task.load_dataset("train", epoch=number)
        dataset = task.dataset("train")
        iterator = task.get_batch_iterator(dataset, max_sentences=BATCH, max_positions=512, epoch=number)
        found, masked, tokens = Counter(), 0, 0
        batches = list(iterator.next_epoch_itr())
        assert len(batches) == phase["updates"] and all(len(batch["id"]) == BATCH for batch in batches)
        for batch in batches:
            found.update(str(task.tags[tag]) for tag in batch["tag_ids"].tolist())
            masked += len(batch["masked"]["index"])
            tokens += batch["ntokens"] - batch["nsentences"]
        with open(tmp_path / "save" / f"sampling.phase{number}.tsv", encoding="utf-8") as stream:
            written = {row["tag"]: int(row["draws"]) for row in csv.DictReader(stream, delimiter="\t")}
        assert found == written and sum(written.values()) == BATCH * phase["updates"]
        assert set(found) == set(phase.get("languages", LANGS))
        assert masked / tokens == pytest.approx(phase["mask_prob"], rel=0.15)
        place = dataset.locate(np.arange(len(dataset)), dataset.epoch)
        seen.update(
            (str(dataset.languages[n].tag), block, turn) for n, block, turn in zip(*(p.tolist() for p in place))
        )
    assert max(seen.values()) == 1, "no pass over a block repeats, across phases either"
    by_language = {}
    for tag, _, turn in seen:
        by_language.setdefault(tag, []).append(turn)
    counts = {str(blocks.tag): len(blocks) for blocks in dataset.languages}
    for tag, turns in by_language.items():
        if tag in counts:
            assert max(turns) == (len(turns) - 1) // counts[tag], "all of a language before any of it again"


def test_the_last_phase_lasts(demo, phases, tmp_path):
    task = make_task(demo / "data-bin", phases, tmp_path / "save")
    places = []
    for epoch in (3, 4):
        task.load_dataset("train", epoch=epoch)
        task.dataset("train").set_epoch(epoch)
        places.append(set(zip(*(part.tolist() for part in task.dataset("train").locate(np.arange(80), epoch)))))
    assert not places[0] & places[1]


def test_a_run_that_is_stopped_goes_on_bit_for_bit(demo, phases, tmp_path):
    """At both borders, and in the middle of each phase."""
    command = ("--phases", phases)

    def weights(folder):
        return load_checkpoint(tmp_path / folder / "checkpoint_last.pt")["model"]

    run(*train_command(demo / "data-bin", tmp_path / "whole", 14, *command))
    for updates in (2, 3, 5, 7, 10, 13, 14):
        run(*train_command(demo / "data-bin", tmp_path / "parts", updates, *command))
    whole, parts = weights("whole"), weights("parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    run(*train_command(demo / "data-bin", tmp_path / "other", 14))
    assert any(not torch.equal(whole[name], weight) for name, weight in weights("other").items()), "the control"
    PHASES_OTHER = [{**PHASES[0], "mask_prob": 0.4}, *PHASES[1:]]
    phases.write_text(json.dumps(PHASES_OTHER))
    log = run(*train_command(demo / "data-bin", tmp_path / "parts", 15, *command), expect=1)
    assert "the phases was" in log and "--reset-dataloader" in log


def test_a_run_killed_at_random_moments(demo, phases, tmp_path):
    """Five SIGKILLs, then to the end."""
    import random
    import subprocess
    import sys
    import time
    from pathlib import Path

    command = ("--phases", phases, "--save-interval-updates", 1, "--keep-interval-updates", 2, "--disable-validation")
    run(*train_command(demo / "data-bin", tmp_path / "whole", 12, *command))
    chance = random.Random(4)
    program = str(Path(sys.executable).parent / "fairseq-train")
    for _ in range(5):
        words = [str(part) for part in train_command(demo / "data-bin", tmp_path / "parts", 12, *command)]
        process = subprocess.Popen([program, *words[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(4, 7))
        process.kill()
        process.wait()
    run(*train_command(demo / "data-bin", tmp_path / "parts", 12, *command))
    found = [load_checkpoint(tmp_path / name / "checkpoint_last.pt")["model"] for name in ("whole", "parts")]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a JSON list of phases"),
        ('[{"update": 3}]', "phase 1 must have fields of updates, .*but has 'update'"),
        ('[{"updates": 3}, {"updates": 0}]', "phase 2: updates must be a number from 1"),
        ('[{"mask_prob": "much"}]', "phase 1: mask_prob must be a number from 0 to 1, but is 'much'"),
        ('[{"languages": "all"}]', "languages must be a list of words, but is 'all'"),
    ],
)
def test_malformed_files(tmp_path, text, message):
    path = tmp_path / "phases.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_phases(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_phases(tmp_path / "nowhere")


def test_languages_that_the_data_lack_are_named(demo, tmp_path):
    path = tmp_path / "phases.json"
    path.write_text(json.dumps([{"updates": 2, "languages": ["eng_Latn", "fin_Latn"]}]))
    with pytest.raises(ValueError, match="--phases names languages that the data does not have: fin_Latn"):
        make_task(demo / "data-bin", path, tmp_path).load_dataset("train")


def test_exact_draws():
    draws = np.array([100, 0, 50, 1])
    for total in (3, 10, 151, 1000):
        shared = exact_draws(draws, total)
        assert shared.sum() == total and shared[1] == 0 and (shared[[0, 2, 3]] >= 1).all()
        assert (np.abs(shared - (draws > 0) - draws / 151 * (total - 3)) < 1).all()
    with pytest.raises(ValueError, match="2 blocks for 3 languages"):
        exact_draws(draws, 2)
