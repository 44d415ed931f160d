"""Trainings of a tiny model in transformers' Trainer; another process imports this module by name."""

import os

import torch
from transformers import TrainingArguments, set_seed

from langsamp_plugin.hf import DataBin, LangSampConfig, LangSampForMaskedLM, LangSampTrainer
from langsamp_plugin.lang_script import Tables

SEED, UPDATES, EPSILON = 3, 50, 1e-6


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


class Recorded(LangSampTrainer):
    """Keeps the loss of each update as it is; the log may round it."""

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        self.losses = [*getattr(self, "losses", []), float(loss.detach())]
        return loss


def trainer(demo, out, batch=16, resume=None, model=None, train=None, tables_lr_scale=1.0, optimizers=None, **changes):
    """A trained trainer, and the loss of each update."""
    arguments = {"max_steps": UPDATES, "save_strategy": "no", "learning_rate": 2e-3, "adam_epsilon": EPSILON, **changes}
    args = TrainingArguments(
        str(out), per_device_train_batch_size=batch, lr_scheduler_type="constant", max_grad_norm=0.0,
        use_cpu=True, report_to=[], logging_steps=1, disable_tqdm=True, seed=SEED, **arguments,
    )  # fmt: skip
    model = model or make_model(demo)
    splits = {"train_dataset": train or data(demo), "eval_dataset": data(demo, "valid")}
    if optimizers:
        splits["optimizers"] = optimizers(model)
    made = Recorded(model, args, tables_lr_scale=tables_lr_scale, **splits)
    made.train(resume_from_checkpoint=resume)
    parts = args.gradient_accumulation_steps
    return made, [sum(made.losses[first : first + parts]) for first in range(0, len(made.losses), parts)]


def train_rank(rank, world, port, demo, out):
    """Be one of several processes, as torchrun starts them; the first one saves the model."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    made, losses = trainer(demo, out, batch=16 // world, max_steps=10, ddp_backend="gloo")
    assert made.args.world_size == world
    if rank == 0:
        torch.save((losses, made.model.state_dict()), out / "end.pt")
    torch.distributed.barrier()
    # torch 2.6 can deadlock in freeing the process group: it holds the GIL and waits for a thread that wants it.
    os._exit(0)
