"""The Trainer on binarized data: the same training as fairseq-train, its place in the data, its validation."""

import csv
import json

import pytest
import torch
from support import run, train_command
from transformers import TrainingArguments, set_seed

from langsamp_plugin.atomic import atomic_write
from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.convert.hf_folder import read_hf_folder
from langsamp_plugin.convert.import_hf import import_hf
from langsamp_plugin.hf import DataBin, LangSampConfig, LangSampForMaskedLM, LangSampTrainer
from langsamp_plugin.lang_script import Tables

SEED, UPDATES = 3, 50
NO_DROPOUT = ("--dropout", 0, "--attention-dropout", 0, "--activation-dropout", 0)


def data(demo, split="train", **changes):
    return DataBin(demo / "data-bin", split, **{"tokens_per_sample": 32, "seed": SEED, **changes})


def make_model(demo):
    set_seed(0)
    tables = Tables.load(demo / "data-bin")
    config = LangSampConfig(
        list(tables.languages), list(tables.scripts), vocab_size=data(demo, "valid").vocab_size, hidden_size=32,
        num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_position_embeddings=514, pad_token_id=1,
        type_vocab_size=1, layer_norm_eps=1e-5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = LangSampForMaskedLM(config)
    with torch.no_grad():  # fairseq has no token types
        model.roberta.embeddings.token_type_embeddings.weight.zero_()
    model.roberta.embeddings.token_type_embeddings.weight.requires_grad_(False)
    return model


def trainer(demo, out, batch=16, resume=None, model=None, train=None, **changes):
    arguments = {"max_steps": UPDATES, "save_strategy": "no", "learning_rate": 2e-3, **changes}
    args = TrainingArguments(
        str(out), per_device_train_batch_size=batch, lr_scheduler_type="constant", max_grad_norm=0.0,
        use_cpu=True, report_to=[], logging_steps=1, disable_tqdm=True, seed=SEED, **arguments,
    )  # fmt: skip
    model = model or make_model(demo)
    made = LangSampTrainer(model, args, train_dataset=train or data(demo), eval_dataset=data(demo, "valid"))
    made.train(resume_from_checkpoint=resume)
    return made, [entry["loss"] for entry in made.state.log_history if "loss" in entry]


@pytest.fixture(scope="module")
def finished(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp("trainer")
    return out, *trainer(demo, out, save_strategy="steps", save_steps=25)


def furthest(one, other):
    one, other = one.state_dict(), other.state_dict()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_the_same_training_as_fairseq(demo, tmp_path):
    model = make_model(demo)
    model.save_pretrained(tmp_path / "start")
    state = import_hf(read_hf_folder(tmp_path / "start"), "").state
    with atomic_write(tmp_path / "start.pt", "wb") as stream:
        torch.save(state, stream)
    command = train_command(
        demo / "data-bin", tmp_path / "run", UPDATES, "--finetune-from-model", tmp_path / "start.pt", *NO_DROPOUT
    )
    command = [
        *command,
        "--log-interval",
        1,
        "--log-format",
        "json",
        "--max-positions",
        512,
        "--optimizer",
        "sgd",
        "--lr",
        0.2,
    ]
    at = command.index("--adam-betas")
    output = run(*command[:at], *command[at + 2 :])
    lines = [
        json.loads(line[line.index("{") :]) for line in output.splitlines() if '"train_loss"' in line or '"ups"' in line
    ]
    losses = [float(line["loss"]) * 0.6931471805599453 for line in lines if "loss" in line]
    made, ours = trainer(demo, tmp_path / "hf", learning_rate=0.2, optim="sgd")
    assert len(ours) == UPDATES and ours[0] - ours[-1] > 0.01
    assert len(losses) >= UPDATES - 1
    assert max(abs(one - other) for one, other in zip(ours, losses)) < 1e-3  # fairseq prints three digits
    weights = load_checkpoint(tmp_path / "run" / "checkpoint_last.pt")["model"]
    imported = import_hf(read_hf_folder(saved(made, tmp_path / "end")), "").state["model"]
    apart = {name: float((weights[name] - imported[name]).abs().max()) for name in imported if name in weights}
    # With SGD: the two Adams divide by other epsilons in the first updates, and make steps of rounding in tiny
    # gradients.
    far = {name: value for name, value in apart.items() if value >= 1e-4}
    assert len(apart) > 30 and not far
    assert float((weights["encoder.lang_embedding.weight"] - model.lang_embedding.weight).abs().max()) > 1e-3


def saved(made, folder):
    made.model.save_pretrained(folder)
    return folder


def test_accumulated_batches_equal_one(demo, finished, tmp_path):
    made, losses = trainer(demo, tmp_path, batch=4, gradient_accumulation_steps=4)
    assert furthest(made.model, finished[1].model) < 1e-4
    assert max(abs(one - other) for one, other in zip(losses, finished[2])) < 1e-4


@pytest.mark.parametrize("batch, accumulation, most", ((16, 1, 0.0), (4, 4, 1e-4)))
def test_a_resumed_run_ends_as_the_uninterrupted_one(demo, finished, tmp_path, batch, accumulation, most):
    folder = finished[0] / "checkpoint-25"
    assert json.loads((folder / "langsamp_data.json").read_text())["consumed"] == 25 * 16
    made, losses = trainer(demo, tmp_path, batch=batch, gradient_accumulation_steps=accumulation, resume=str(folder))
    assert len(losses) == UPDATES  # those before it come from the checkpoint
    assert furthest(made.model, finished[1].model) <= most
    if not most:
        assert losses == finished[2]


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
