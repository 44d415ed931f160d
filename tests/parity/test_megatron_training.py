"""Training on Megatron-Core equals fairseq-train's, for any number of ranks and any time of a kill."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from support import run, train_command

pytest.importorskip("megatron.core", reason="needs the extra megatron")

from megatron_jobs import run_training
from megatron_ranks import run_ranks, start_rank

from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.data.block_dataset import BlockDataset
from langsamp_plugin.lang_script import Tables
from langsamp_plugin.megatron.data import LangSampDataset, check_same_data, consumed_batches
from langsamp_plugin.megatron.export_model import export_from_megatron
from langsamp_plugin.megatron.import_model import import_to_megatron
from langsamp_plugin.megatron.options import TrainingOptions, learning_rate
from langsamp_plugin.megatron.training import StepLog, masked_loss

STEPS = 20
SETTINGS = {
    "iterations": STEPS, "micro_batch": 16, "global_batch": 16, "seq_length": 32, "lr": 1e-3, "lr_decay": "constant",
    "eps": 1e-6, "dropout": 0.0, "seed": 3, "save_interval": 10,
}  # fmt: skip


@pytest.fixture(scope="module")
def start(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("start") / "start"
    import_to_megatron(trained, out, multiple=64)
    return out


@pytest.fixture(scope="module")
def one_rank(demo, start, tmp_path_factory):
    """Twenty steps on one rank: the run's folder and its log."""
    save = tmp_path_factory.mktemp("one") / "run"
    return save, training(1, settings(demo, start, save))[0]


def training(world, options):
    """The steps of each rank."""
    logs = run_ranks(world, run_training, options, tensor_parallel=options.get("tensor_parallel", 1))
    return [[StepLog(*step) for step in log] for log in logs]


def settings(demo, start, save, **changes):
    return {"data": str(demo / "data-bin"), "load": str(start), "save": str(save), **SETTINGS, **changes}


def weights(save, folder, name="exported.pt"):
    export_from_megatron(save, folder / name)
    return load_checkpoint(folder / name)["model"]


def furthest(one, other):
    assert one.keys() == other.keys()
    return max((one[name].float() - other[name].float()).abs().max().item() for name in one)


def test_twenty_steps_are_fairseqs(demo, trained, one_rank, tmp_path):
    run(*train_command(
        demo / "data-bin", tmp_path / "fairseq", STEPS, "--finetune-from-model", trained, "--dropout", 0,
        "--attention-dropout", 0, "--adam-eps", 1e-6, "--lr", 1e-3, "--clip-norm", 1.0,
    ))  # fmt: skip
    ours = load_checkpoint(tmp_path / "fairseq" / "checkpoint_last.pt")["model"]
    theirs = weights(one_rank[0], tmp_path)
    assert furthest(ours, theirs) < 1e-5
    # The control: the weights have moved, by a thousand times as much.
    assert furthest(load_checkpoint(trained)["model"], theirs) > 1e-2
    assert [step.iteration for step in one_rank[1]] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("split", ["data", "tensor"])
def test_two_ranks_equal_one(demo, trained, start, one_rank, tmp_path, split):
    changes = {"micro_batch": 4}
    if split == "tensor":
        changes = {"tensor_parallel": 2, "sequence_parallel": True}
        # Its rows are odd, as one rank may have them: two pad them again.
        start = tmp_path / "odd"
        words = len(load_checkpoint(trained)["model"]["encoder.sentence_encoder.embed_tokens.weight"])
        import_to_megatron(trained, start, multiple=words | 1)
    logs = training(2, settings(demo, start, tmp_path / "run", save_interval=100, **changes))
    one, two = weights(one_rank[0], tmp_path, "one.pt"), weights(tmp_path / "run", tmp_path, "two.pt")
    assert furthest(one, two) < 1e-5
    for step, (first, second) in zip(one_rank[1], zip(*logs)):
        assert abs(first.loss - step.loss) < 1e-5 and first.loss == second.loss
        seen = [*first.samples, *second.samples] if split == "data" else first.samples
        assert sorted(seen) == sorted(step.samples)


def test_a_killed_run_resumes_with_another_number_of_ranks(demo, start, one_rank, tmp_path):
    """Killed after the checkpoint of step 10 was written; the rest by two ranks: each remaining sample exactly once."""
    options = settings(demo, start, tmp_path / "run", iterations=10**6)
    process = start_rank(run_training, options)
    latest = tmp_path / "run" / "latest_checkpointed_iteration.txt"
    while not latest.exists():
        assert process.is_alive(), process.result()
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    assert process.wait() == -signal.SIGKILL
    # Megatron-Core writes in processes, of which none must outlive the training.
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, children
        time.sleep(0.1)
    stopped = int(latest.read_text())
    assert stopped in (10, 20)  # a slow machine may have let it come further
    latest.write_text("10")
    (tmp_path / "run" / ".iter_0000012.tmp").mkdir(exist_ok=True)  # what a kill during a save leaves
    logs = training(2, {**options, "iterations": STEPS, "micro_batch": 4})
    assert [step.iteration for step in logs[0]] == list(range(11, STEPS + 1))
    assert not list((tmp_path / "run").glob(".*.tmp"))
    seen = [number for log in logs for step in log for number in step.samples]
    assert sorted(seen) == list(range(160, 320)), "each once, and none before"
    one, resumed = weights(one_rank[0], tmp_path, "one.pt"), weights(tmp_path / "run", tmp_path, "resumed.pt")
    assert furthest(one, resumed) < 1e-5


def test_a_run_resumes_on_its_own_data_alone(demo, start, one_rank, tmp_path):
    with pytest.raises(AssertionError, match="must resume on the data it began with, but changed: the sampling"):
        training(1, settings(demo, start, one_rank[0], seed=4, iterations=30))
    with pytest.raises(
        AssertionError, match="global_batch must be a multiple of micro_batch x data-parallel ranks = 16"
    ):
        training(1, settings(demo, start, tmp_path / "run", global_batch=8))
    with pytest.raises(AssertionError, match="seq_length must be at most the model's 512 positions, but is 600"):
        training(1, settings(demo, start, tmp_path / "run", seq_length=600))
    for change, message in (
        ({"micro_batch": 0}, "micro_batch must be at least 1, but is 0"),
        ({"lr_decay": "cosine"}, "lr_decay must be linear or constant, but is 'cosine'"),
        ({"lr": float("nan")}, "lr must be a number from 0, but is nan"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, but is 1.0"),
        ({"sequence_parallel": True}, "sequence_parallel must come with tensor_parallel"),
    ):
        with pytest.raises(ValueError, match=message):
            TrainingOptions(**settings(demo, start, tmp_path / "run", **change)).check()
    with pytest.raises(ValueError, match="changed: the data, the tables"):
        check_same_data({"the data": "1", "the tables": "2"}, {"the data": "2"})


@pytest.mark.parametrize("tag_dropout", [0.0, 0.5])
def test_samples_are_those_of_fairseqs_side(demo, tag_dropout):
    """Tokens, masks, ids and order over two epochs, language by language drawn with alpha 0.3."""
    tables = Tables.load(demo / "data-bin")
    ours = LangSampDataset(
        demo / "data-bin", tables=tables, seq_length=32, seed=5, alpha=0.3, tag_dropout=tag_dropout, num_samples=10**6
    )
    theirs = fairseqs_side(ours, tag_dropout)
    changed = 0
    for epoch in (1, 2):
        theirs.set_epoch(epoch)
        for place in range(0, ours.epoch_length, 97):
            sample = ours[(epoch - 1) * ours.epoch_length + place]
            batch = theirs.collater([theirs[place]])
            length = int(batch["net_input"]["src_lengths"][0])
            assert torch.equal(sample["tokens"][:length], batch["net_input"]["src_tokens"][0])
            assert (sample["tokens"][length:] == 1).all() and sample["attention_mask"].sum() == length
            target = batch["target"][0]
            assert torch.equal(sample["labels"][:length], target.where(target != 1, torch.tensor(-100)))
            for name in ("lang_ids", "script_ids"):
                assert sample[name] == batch["net_input"][name][0]
            changed += int(sample["lang_ids"] == -1)
    assert (changed > 0) == (tag_dropout > 0)


def fairseqs_side(ours, tag_dropout):
    """The data set that the task builds, over the same languages."""
    blocks = ours.blocks
    return BlockDataset(
        blocks.languages, tag_ids=blocks.tag_ids, lang_ids=blocks.lang_ids, script_ids=blocks.script_ids,
        masking=ours.masking, bos_id=0, seed=5, sampler=blocks.sampler, tag_dropout=tag_dropout,
    )  # fmt: skip


@pytest.mark.parametrize("ranks, micro_batch", [(1, 8), (2, 4), (4, 1), (3, 5)])
def test_every_sample_once_whatever_the_number_of_ranks(ranks, micro_batch):
    parts = [
        list(consumed_batches(1000, 123, micro_batch=micro_batch, rank=rank, ranks=ranks)) for rank in range(ranks)
    ]
    assert len({len(part) for part in parts}) == 1, "all ranks have as many rounds"
    seen = sorted(number for part in parts for batch in part for number in batch)
    assert seen == list(range(123, 123 + len(seen))) and 1000 - seen[-1] - 1 < ranks * micro_batch


def test_validation_takes_every_block_once(demo):
    tables = Tables.load(demo / "data-bin")
    data = LangSampDataset(demo / "data-bin", tables=tables, split="valid", seq_length=32, sampled=False)
    assert len(data) == sum(map(len, data.blocks.languages))
    kept = [data[number]["attention_mask"].sum().item() - 1 for number in range(len(data))]
    assert sum(kept) == sum(blocks.num_tokens for blocks in data.blocks.languages), "no token is lost"
    with pytest.raises(IndexError):
        data[len(data)]


def test_data_that_does_not_fit_is_named(demo, tmp_path):
    tables = Tables.load(demo / "data-bin")
    for changes, message in (
        ({"tag_dropout": 2.0}, "tag_dropout"),
        ({"seq_length": 1}, "seq_length"),
        ({"mask_prob": 0.0}, "0"),
    ):
        with pytest.raises(ValueError, match=message):
            LangSampDataset(demo / "data-bin", tables=tables, **changes)
    with pytest.raises(FileNotFoundError, match="dict.txt is missing"):
        LangSampDataset(tmp_path, tables=tables)
    with pytest.raises(FileNotFoundError, match="has a test split"):
        LangSampDataset(demo / "data-bin", tables=tables, split="test")


def test_the_rate_and_the_loss():
    options = TrainingOptions("data", "load", "save", iterations=100, lr=1.0, warmup=10)
    rates = [learning_rate(options, step) for step in (1, 10, 11, 56, 100)]
    assert np.allclose(rates, [0.1, 1.0, 1.0, 0.5, 1 / 90])
    total, count, log = masked_loss(torch.tensor([1.0, 2.0]))
    assert total == 3 and count == 2 and log["sums"].tolist() == [3, 2]
    assert masked_loss(torch.empty(0))[0] == 0, "a batch of short lines may have nothing to predict"
