"""The Trainer on binarized data: the same training as fairseq-train, its place in the data, its validation."""

import csv
import json
import socket

import pytest
import torch
from hf_jobs import EPSILON, UPDATES, data, make_model, train_rank, trainer
from support import ROOT, run, train_command
from warm_functions import Called

from langsamp_plugin.atomic import atomic_write
from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.convert.hf_folder import read_hf_folder
from langsamp_plugin.convert.import_hf import import_hf
from langsamp_plugin.hf.trainer import WEIGHS_BY_TOKENS

by_tokens = pytest.mark.skipif(not WEIGHS_BY_TOKENS, reason="this transformers gives each batch the same weight")
NO_DROPOUT = ("--dropout", 0, "--attention-dropout", 0, "--activation-dropout", 0)


@pytest.fixture(scope="module")
def finished(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp("trainer")
    return out, *trainer(demo, out, save_strategy="steps", save_steps=25)


def furthest(one, other):
    one, other = one.state_dict(), other.state_dict()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.fixture(scope="module")
def start(demo, tmp_path_factory):
    """The model before training, as a checkpoint of fairseq."""
    folder = tmp_path_factory.mktemp("start")
    make_model(demo).save_pretrained(folder)
    with atomic_write(folder / "start.pt", "wb") as stream:
        torch.save(import_hf(read_hf_folder(folder), "").state, stream)
    return folder / "start.pt"


@pytest.fixture(scope="module")
def fairseqs(demo, start, tmp_path_factory):
    """What fairseq-train makes of 50 updates: the losses in nats, and the weights."""
    folder = tmp_path_factory.mktemp("fairseq")
    flags = ["--finetune-from-model", start, *NO_DROPOUT, "--max-positions", 512, "--adam-eps", EPSILON]
    command = train_command(demo / "data-bin", folder, UPDATES, *flags)
    run("python", ROOT / "tests" / "recorded_training.py", folder / "losses", *command[1:])
    losses = [float(line) for line in (folder / "losses").read_text().split()][:UPDATES]
    return losses, load_checkpoint(folder / "checkpoint_last.pt")["model"]


def test_the_same_training_as_fairseq(finished, start, fairseqs, tmp_path):
    (losses, weights), (_, made, ours) = fairseqs, finished
    assert len(ours) == len(losses) == UPDATES and ours[0] - ours[-1] > 0.01
    assert max(abs(one - other) for one, other in zip(ours, losses)) < 1e-5
    made.model.save_pretrained(tmp_path / "end")
    imported = import_hf(read_hf_folder(tmp_path / "end"), "").state["model"]
    apart = {name: float((weights[name] - imported[name]).abs().max()) for name in imported if name in weights}
    assert len(apart) > 30 and max(apart.values()) < 1e-4, {name: far for name, far in apart.items() if far >= 1e-4}
    # The control: the tables have moved by more.
    before = load_checkpoint(start)["model"]
    assert (
        float((weights["encoder.lang_embedding.weight"] - before["encoder.lang_embedding.weight"]).abs().max()) > 1e-3
    )


def test_epsilon_stands_where_fairseq_has_it(demo, fairseqs, tmp_path, monkeypatch):
    """The control: with torch's own place the losses drift apart."""
    monkeypatch.setattr("langsamp_plugin.hf.trainer._like_fairseq", lambda *args, **kwargs: None)
    _, ours = trainer(demo, tmp_path, max_steps=10)
    assert max(abs(one - other) for one, other in zip(ours, fairseqs[0])) > 1e-4


def test_an_optimizer_that_is_passed_in_stays_as_it_is(demo, tmp_path):
    """Its epsilon, too, which changes with each update in the AdamW that a Trainer creates."""
    epsilons = []
    for number, passed in enumerate((lambda model: (torch.optim.AdamW(model.parameters(), eps=1e-3), None), None)):
        made, _ = trainer(demo, tmp_path / str(number), max_steps=2, optimizers=passed)
        inner = getattr(made.optimizer, "optimizer", made.optimizer)
        epsilons.append([group["eps"] for group in inner.param_groups])
    assert set(epsilons[0]) == {1e-3} and EPSILON not in epsilons[1]


@by_tokens
def test_two_processes_equal_one(demo, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [Called(train_rank, rank, 2, port, demo, tmp_path, modules=("hf_jobs",)) for rank in range(2)]
    assert [rank.wait() for rank in ranks] == [0, 0]
    _, weights = torch.load(tmp_path / "end.pt", weights_only=True)
    one = trainer(demo, tmp_path / "one", max_steps=10)[0].model.state_dict()
    assert max(float((weights[name] - one[name]).abs().max()) for name in one) < 1e-4


@by_tokens
def test_the_tables_have_a_rate_of_their_own(demo, tmp_path):
    """At 0 they keep their values and all else learns; what the rate is worth is in tests/unit/test_table_rate.py."""
    model = make_model(demo)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    made, _ = trainer(demo, tmp_path, model=model, max_steps=2, tables_lr_scale=0.0)
    changed = {name for name, weight in made.model.state_dict().items() if not torch.equal(weight, before[name])}
    assert {"lm_head.dense.weight", "roberta.embeddings.word_embeddings.weight"} <= changed
    assert not [name for name in changed if "lang_embedding" in name or "script_embedding" in name]
    with pytest.raises(ValueError, match="tables_lr_scale must be at least 0, but is -1"):
        trainer(demo, tmp_path, tables_lr_scale=-1)


def test_train_called_again_scales_once(demo, tmp_path):
    made, _ = trainer(demo, tmp_path, max_steps=1, tables_lr_scale=5.0)
    before = {name: weight.clone() for name, weight in made.model.state_dict().items()}
    made.train()
    moved = {name: float((weight - before[name]).abs().max()) for name, weight in made.model.state_dict().items()}
    # Adam moves a weight by about its learning rate; a factor that is applied twice would be 25.
    tables = [change for name, change in moved.items() if name.endswith("_embedding.weight") and "roberta" not in name]
    assert len(tables) == 2 and all(3.0 < table / moved["lm_head.dense.weight"] < 7.0 for table in tables), moved


def test_another_scale_is_said_on_resuming(demo, tmp_path, caplog):
    trainer(demo, tmp_path, max_steps=1, tables_lr_scale=5.0, save_strategy="steps", save_steps=1)
    for scale, said in ((5.0, False), (1.0, True)):
        caplog.clear()
        trainer(demo, tmp_path / "other", max_steps=2, resume=str(tmp_path / "checkpoint-1"), tables_lr_scale=scale)
        assert ("tables_lr_scale is 1, but was 5 in" in caplog.text) == said


def test_accumulated_batches_equal_one(demo, finished, tmp_path):
    made, losses = trainer(demo, tmp_path, batch=4, gradient_accumulation_steps=4)
    assert furthest(made.model, finished[1].model) < 1e-4
    assert max(abs(one - other) for one, other in zip(losses, finished[2])) < 1e-4


def test_a_version_without_weights_by_tokens_is_said(demo, tmp_path, monkeypatch, caplog):
    for weighs, said in ((True, False), (False, True)):
        monkeypatch.setattr("langsamp_plugin.hf.trainer.WEIGHS_BY_TOKENS", weighs)
        caplog.clear()
        trainer(demo, tmp_path / str(weighs), max_steps=1, gradient_accumulation_steps=2)
        assert ("gives each batch of an update the same weight" in caplog.text) == said


@pytest.mark.parametrize("batch, accumulation, most", ((16, 1, 0.0), pytest.param(4, 4, 1e-4, marks=by_tokens)))
def test_a_resumed_run_ends_as_the_uninterrupted_one(demo, finished, tmp_path, batch, accumulation, most):
    folder = finished[0] / "checkpoint-25"
    assert json.loads((folder / "langsamp_data.json").read_text())["consumed"] == 25 * 16
    made, losses = trainer(demo, tmp_path, batch=batch, gradient_accumulation_steps=accumulation, resume=str(folder))
    assert len(losses) == UPDATES - 25
    assert furthest(made.model, finished[1].model) <= most
    if not most:
        assert losses == finished[2][25:]


def test_other_data_are_refused(demo, finished, tmp_path):
    with pytest.raises(ValueError, match="the sampling changed"):
        trainer(demo, tmp_path, resume=str(finished[0] / "checkpoint-25"), train=data(demo, seed=4))
    model = make_model(demo)
    model.resize_token_embeddings(50)
    with pytest.raises(ValueError, match="the model must have the vocabulary of dict.txt"):
        trainer(demo, tmp_path, model=model)


def test_items_are_fairseqs_batches(demo):
    from langsamp_plugin.data.block_dataset import BlockDataset

    ours = data(demo, multilang_sampling_alpha=0.3, tag_dropout=0.2)
    core = ours.blocks
    theirs = BlockDataset(
        core.languages, tag_ids=core.tag_ids, lang_ids=core.lang_ids, script_ids=core.script_ids, masking=core.masking,
        bos_id=core.bos_id, seed=core.seed, sampler=core.sampler, tag_dropout=0.2,
    )  # fmt: skip
    size = len(core)
    for epoch, items in ((1, range(8)), (2, range(size, size + 8))):
        theirs.set_epoch(epoch)
        batch = theirs.collater(theirs.__getitems__([item % size for item in items]))
        made = ours.collate(ours.__getitems__(list(items)))
        assert torch.equal(made["input_ids"], batch["net_input"]["src_tokens"])
        assert torch.equal(made["lang_ids"], batch["net_input"]["lang_ids"])
        assert torch.equal(made["labels"].masked_fill(made["labels"] == -100, 1), batch["target"])


def test_validation_per_language(demo, finished):
    out, made, _ = finished
    metrics = made.evaluate()
    with open(out / "validation" / f"{UPDATES}.tsv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    tags = {row["name"]: row for row in rows if row["kind"] == "tag"}
    assert {"deu_Latn", "hin_Deva"} <= tags.keys() and metrics["eval_loss_macro"] > 0
    tokens = sum(int(row["masked_tokens"]) for row in tags.values())
    total = sum(float(row["loss_bits"]) * int(row["masked_tokens"]) for row in tags.values())
    assert abs(total / tokens * 0.6931471805599453 - metrics["eval_loss"]) < 1e-4
