"""A training step of each side: this plugin and stock fairseq through the Trainer of fairseq, and Hugging Face."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import ROOT
from step_profile import BLOCKS, HEADS, INNER, WIDTH

Step = Callable[[dict[str, Any]], float]


def fairseq_arguments(side: str, data: str, options: argparse.Namespace) -> list[str]:
    """Return a training command of one of fairseq's two sides."""
    rows, columns = options.shape
    own = {
        "langsamp": ["--user-dir", str(ROOT / "langsamp_plugin"), "--task", "langsamp_masked_lm", "--tables", "data",
                     "--criterion", "langsamp_masked_lm", "--arch", "langsamp_roberta", "--optimizer",
                     options.optimizer,
                     "--head-loss", options.head_loss, *(["--compile"] if options.compile else [])],
        "fairseq": ["--task", "masked_lm", "--criterion", "masked_lm", "--arch", "roberta_base", "--optimizer", "adam"],
    }[side]  # fmt: skip
    precision = [] if options.precision == "fp32" else [f"--{options.precision}"]
    return [
        data, *own, *precision, *([] if options.cuda else ["--cpu"]), "--adam-betas", "(0.9,0.999)", "--lr", "5e-5",
        "--lr-scheduler", "fixed", "--clip-norm", "1.0", "--batch-size", str(rows), "--tokens-per-sample", str(columns),
        "--max-positions", "512", "--seed", "1", "--num-workers", "0", "--max-update", "1000000", "--log-format",
        "none",
    ]  # fmt: skip


def make_batches(folder: str, data: str, options: argparse.Namespace) -> None:
    """Write the batches that all sides train on."""
    import torch

    task = open_fairseq(fairseq_arguments("langsamp", data, options))[1]
    task.load_dataset("train")
    batches = task.get_batch_iterator(
        task.dataset("train"), max_sentences=options.shape[0], max_positions=512, seed=1
    ).next_epoch_itr()
    wanted = []
    for batch in batches:
        if batch["target"].shape == options.shape:
            wanted.append(batch)
        if len(wanted) == options.updates:
            break
    torch.save(wanted, Path(folder) / "batches.pt")


def open_fairseq(arguments: list[str]) -> tuple[Any, Any]:
    """Parse a training command and return fairseq's configuration and task; imports the plugin where it is named."""
    from fairseq import options as fairseq_options
    from fairseq import tasks, utils
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    if "--user-dir" in arguments:
        utils.import_user_module(argparse.Namespace(user_dir=arguments[arguments.index("--user-dir") + 1]))
    parser = fairseq_options.get_training_parser()
    namespace = fairseq_options.parse_args_and_arch(parser, input_args=arguments)
    namespace.tpu = False  # which fairseq sets with --bf16
    cfg = convert_namespace_to_omegaconf(namespace)
    return cfg, tasks.setup_task(cfg.task)


def fairseq_step(side: str, data: str, options: argparse.Namespace) -> tuple[Step, Any, Any]:
    """Return ``(step(batch) -> loss in nats per masked token, model, trainer)`` by fairseq's Trainer."""
    from fairseq.trainer import Trainer

    cfg, task = open_fairseq(fairseq_arguments(side, data, options))
    model = task.build_model(cfg.model)
    trainer = Trainer(cfg, task, model, task.build_criterion(cfg.criterion))
    losses: list[float] = []  # taken from the criterion, as fairseq's log rounds them
    trainer.criterion.register_forward_hook(lambda *parts: losses.append(float(parts[2][0]) / float(parts[2][1])))

    def step(batch: dict[str, Any]) -> float:
        inputs = {name: value for name, value in batch["net_input"].items() if side == "langsamp" or "ids" not in name}
        if side == "langsamp":
            inputs = {
                name: value if "ids" not in name else value.new_full(value.shape, -1) for name, value in inputs.items()
            }
        trainer.train_step([{**batch, "net_input": inputs}])
        return losses.pop()

    return step, model, trainer


def huggingface_step(options: argparse.Namespace, words: int) -> tuple[Step, Any, None]:
    """Return the same by transformers, as its example run_mlm.py and the Trainer do."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    config = XLMRobertaConfig(
        vocab_size=words, max_position_embeddings=514, hidden_size=WIDTH, num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS, intermediate_size=INNER,
    )  # fmt: skip
    device = "cuda" if options.cuda else "cpu"
    model = XLMRobertaForMaskedLM(config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.0, fused=True)
    half = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[options.precision]
    scaler = torch.amp.GradScaler(device, enabled=options.precision == "fp16")

    def step(batch: dict[str, Any]) -> float:
        tokens, target = batch["net_input"]["src_tokens"].to(device), batch["target"].to(device)
        with torch.autocast(device, dtype=half, enabled=half is not None):
            labels = target.masked_fill(target.eq(1), -100)
            loss = model(input_ids=tokens, attention_mask=tokens.ne(1).long(), labels=labels).loss
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        return float(loss.detach())

    return step, model, None
