"""A training loop on Megatron-Core alone: its schedule, data parallelism, optimizer and checkpoints.

It is what the example runs where Megatron-LM's own loop (``megatron.training``) is not installed, and what the tests
train with on a CPU over gloo. Losses are sums over masked tokens, divided by the masked tokens of all ranks and
micro-batches: any split of a batch gives the same step.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.lang_script import Tables
from langsamp_plugin.megatron.convert import Record, read_record
from langsamp_plugin.megatron.cpu import on_cpu
from langsamp_plugin.megatron.data import LangSampDataset, check_same_data, consumed_batches
from langsamp_plugin.megatron.layout import stored_tables
from langsamp_plugin.megatron.sizes import transformer_config
from langsamp_plugin.megatron.stored import (
    LATEST,
    check_stored,
    iteration_folder,
    mark_latest,
    open_stored,
    read_common,
    remove_older,
)

logger = logging.getLogger(__name__)


@dataclass
class TrainingOptions:
    """What a run is.

    Args:
        data: a data folder of ``langsamp binarize``.
        load: the checkpoint that a new run starts from, written by ``langsamp megatron import``.
        save: the folder of the run's checkpoints; a run that has one there resumes from it.
        iterations: optimizer steps in all.
        micro_batch, global_batch: samples of a rank's micro-batch, and of a step of all ranks.
        seq_length: tokens of a sample.
        save_interval, keep: steps between checkpoints, and how many are kept.
        lr, lr_decay, warmup: the highest rate, ``linear`` (to 0) or ``constant``, and steps before it is reached.
        beta2, eps, weight_decay, clip: Adam's, epsilon where fairseq has it, and the largest gradient norm.
        dropout: of states and attention.
        seed: of order, masks and dropout.
        tensor_parallel, sequence_parallel: how the model is split.
        bf16: train in bfloat16 (GPU).
        dataset: further arguments of :class:`~langsamp_plugin.megatron.data.LangSampDataset`.
    """

    data: PathLike
    load: PathLike
    save: PathLike
    iterations: int
    micro_batch: int = 8
    global_batch: int = 8
    seq_length: int = 512
    save_interval: int = 1000
    keep: int = 2
    lr: float = 5e-5
    lr_decay: str = "linear"
    warmup: int = 0
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0
    dropout: float = 0.1
    seed: int = 42
    tensor_parallel: int = 1
    sequence_parallel: bool = False
    bf16: bool = False
    dataset: dict[str, Any] = field(default_factory=dict)


class StepLog(NamedTuple):
    """What one step gave.

    Args:
        iteration: from 1.
        loss: bits a masked token, over all ranks.
        grad_norm: before clipping.
        samples: numbers of the samples that this rank has seen.
    """

    iteration: int
    loss: float
    grad_norm: float
    samples: list[int]


class _Run(NamedTuple):
    model: Any
    optimizer: Any
    config: Any
    dataset: LangSampDataset
    record: Record


def train(options: TrainingOptions) -> list[StepLog]:
    """Train, or resume where the run's newest checkpoint stands; call it on every rank, between start and stop.

    Returns:
        The steps that were done.

    Raises:
        FileNotFoundError: the data or the starting checkpoint is missing.
        ValueError: sizes do not divide by the ranks, or the run's data is not what it began with.
    """
    from megatron.core import parallel_state

    rank, ranks = parallel_state.get_data_parallel_rank(), parallel_state.get_data_parallel_world_size()
    rounds, rest = divmod(options.global_batch, options.micro_batch * ranks)
    if rest or not rounds:
        raise ValueError(
            f"global_batch must be a multiple of micro_batch x data-parallel ranks = {options.micro_batch * ranks}, "
            f"but is {options.global_batch}"
        )
    with on_cpu():
        run = _build(options)
        done, consumed = _load(run, options)
        total = consumed + (options.iterations - done) * options.global_batch
        run.dataset.num_samples = total
        batches = consumed_batches(total, consumed, micro_batch=options.micro_batch, rank=rank, ranks=ranks)
        logs = []
        for iteration in range(done + 1, options.iterations + 1):
            logs.append(_step(run, options, iteration, batches, rounds))
            consumed += options.global_batch
            if iteration % options.save_interval == 0 or iteration == options.iterations:
                _save(run, options, iteration, consumed)
    return logs


def model_tables(load: PathLike) -> Optional[Tables]:
    """Return the inventories of a checkpoint, ``None`` where it has no tables."""
    return stored_tables(open_stored(load))


def _build(options: TrainingOptions) -> _Run:
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer

    from langsamp_plugin.megatron.model import LangSampBertModel

    gpu = torch.cuda.is_available()
    record = read_record(iteration_folder(options.load))
    tables = model_tables(options.load)
    sizes = record.sizes
    if options.seq_length > sizes.positions:
        raise ValueError(
            f"seq_length must be at most the model's {sizes.positions} positions, but is {options.seq_length}"
        )
    dataset = LangSampDataset(
        options.data, tables=tables or codes_of(options.data), seq_length=options.seq_length, seed=options.seed,
        **options.dataset,
    )  # fmt: skip
    if dataset.num_words != sizes.words:
        raise ValueError(
            f"{options.data} must have the model's {sizes.words:,} words, but dict.txt makes {dataset.num_words:,}: "
            "binarize with the model's SentencePiece model"
        )
    torch.manual_seed(options.seed)
    if gpu:
        from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

        model_parallel_cuda_manual_seed(options.seed)
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    config = transformer_config(
        sizes, tensor_model_parallel_size=options.tensor_parallel, sequence_parallel=options.sequence_parallel,
        use_cpu_initialization=not gpu, hidden_dropout=options.dropout, attention_dropout=options.dropout,
        bf16=options.bf16, params_dtype=dtype, pipeline_dtype=dtype,
    )  # fmt: skip
    stored = open_stored(options.load).tensors["embedding.word_embeddings.weight"].size[0]
    fits = stored % options.tensor_parallel == 0
    model = LangSampBertModel(
        config, num_words=sizes.words, max_positions=sizes.positions, tables=tables, embed_tags=sizes.embed_tags,
        post_norm=sizes.post_norm, token_types=sizes.token_types, padded_words=stored if fits else None,
    )  # fmt: skip
    if options.bf16:
        from megatron.core.transformer.module import Float16Module

        model = Float16Module(config, model)
    parallel = DistributedDataParallel(config, DistributedDataParallelConfig(grad_reduce_in_fp32=True), model)
    optimizer = get_megatron_optimizer(
        OptimizerConfig(
            optimizer="adam", lr=options.lr, min_lr=0.0, adam_beta1=0.9, adam_beta2=options.beta2, adam_eps=options.eps,
            weight_decay=options.weight_decay, clip_grad=options.clip, bf16=options.bf16, params_dtype=dtype,
        ),
        [parallel],
    )  # fmt: skip
    config.grad_scale_func = optimizer.scale_loss
    config.finalize_model_grads_func = finalize_model_grads
    config.no_sync_func = parallel.no_sync
    return _Run(parallel, optimizer, config, dataset, record)


def codes_of(data: PathLike) -> Tables:
    """Return tables for data whose model has none: the ids are then not looked at."""
    from langsamp_plugin.data.data_folder import data_languages

    return Tables.of(data_languages(data))


def _step(run: _Run, options: TrainingOptions, iteration: int, batches: Iterator[list[int]], rounds: int) -> StepLog:
    from megatron.core import parallel_state
    from megatron.core.pipeline_parallel import get_forward_backward_func

    _reseed(options.seed, iteration)
    run.model.zero_grad_buffer()
    run.optimizer.zero_grad()
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(options, iteration)
        # fairseq adds epsilon to the root of the second moment before its bias is corrected, torch and Apex after it.
        group["eps"] = options.eps / (1 - options.beta2**iteration) ** 0.5
    seen: list[int] = []
    parts = get_forward_backward_func()(
        forward_step_func=forward_step,
        data_iterator=_micro_batches(run.dataset, batches, seen),
        model=[run.model],
        num_microbatches=rounds,
        seq_length=options.seq_length,
        micro_batch_size=options.micro_batch,
        forward_only=False,
    )
    _, norm, _ = run.optimizer.step()
    sums = torch.stack([part["sums"] for part in parts]).sum(0)
    torch.distributed.all_reduce(sums, group=parallel_state.get_data_parallel_group())
    log = StepLog(iteration, float(sums[0] / sums[1].clamp_min(1)) / math.log(2), float(norm or 0.0), seen)
    if not math.isfinite(log.loss):
        raise FloatingPointError(f"the loss of step {iteration} is {log.loss}: lower lr, or resume with another seed")
    if torch.distributed.get_rank() == 0:
        logger.info("step %d: %.3f bits, gradient norm %.3f", iteration, log.loss, log.grad_norm)
    return log


def forward_step(data_iterator: Iterator[dict[str, Tensor]], model: Any) -> tuple[Tensor, Any]:
    """Do what Megatron's schedules ask of a model: return its output, and what makes a loss of it."""
    batch = next(data_iterator)
    losses_N = model(
        batch["tokens"], batch["attention_mask"], lang_ids=batch["lang_ids"], script_ids=batch["script_ids"],
        labels=batch["labels"],
    )  # fmt: skip
    return losses_N, masked_loss


def masked_loss(losses_N: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return the summed loss in nats, the number of masked tokens (int32), and both for the log."""
    total = losses_N.float().sum()
    count = torch.tensor(losses_N.numel(), dtype=torch.int32, device=losses_N.device)
    return total, count, {"sums": torch.stack([total.detach(), count.float()])}


def learning_rate(options: TrainingOptions, iteration: int) -> float:
    """Return the rate of a step, from 1: up over the warm-up, then constant or linear to 0."""
    if iteration <= options.warmup:
        return options.lr * iteration / options.warmup
    if options.lr_decay == "constant":
        return options.lr
    if options.lr_decay != "linear":
        raise ValueError(f"lr_decay must be linear or constant, but is {options.lr_decay!r}")
    left = options.iterations - (iteration - 1)
    return options.lr * left / max(1, options.iterations - options.warmup)


def _micro_batches(
    dataset: LangSampDataset, batches: Iterator[list[int]], seen: list[int]
) -> Iterator[dict[str, Tensor]]:
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    for numbers in batches:
        samples = [dataset[number] for number in numbers]
        seen.extend(numbers)
        yield {name: torch.stack([sample[name] for sample in samples]).to(device) for name in samples[0]}


def _reseed(seed: int, iteration: int) -> None:
    """Make dropout a function of seed, step and data-parallel rank, so that a resumed run draws the same."""
    from megatron.core import parallel_state

    own = (seed * 1_000_003 + iteration) * 1009 + parallel_state.get_data_parallel_rank()
    torch.manual_seed(own % 2**31)
    if torch.cuda.is_available():
        from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

        model_parallel_cuda_manual_seed(own % 2**31, force_reset_rng=True)


def _load(run: _Run, options: TrainingOptions) -> tuple[int, int]:
    """Load the run's newest checkpoint, or the one to start from; return the steps done and the samples consumed."""
    from megatron.core import dist_checkpointing

    save = Path(options.save)
    resumed = (save / LATEST).is_file()
    folder = check_stored(save if resumed else options.load)
    model = _inner(run.model)
    wanted: dict[str, Any] = {"model": model.sharded_state_dict()}
    if resumed:
        common = read_common(folder)
        check_same_data(common.get("data") or {}, run.dataset.fingerprint)
        wanted["optimizer"] = run.optimizer.sharded_state_dict(wanted["model"], is_loading=True)
    state = dist_checkpointing.load(wanted, str(folder))
    model.load_state_dict(state["model"])
    if not resumed:
        run.optimizer.reload_model_params()
        return 0, 0
    run.optimizer.load_state_dict(state["optimizer"])
    logger.info("resumed from %s: %d steps, %d samples", folder, common["iteration"], common["consumed_samples"])
    return int(common["iteration"]), int(common["consumed_samples"])


def _save(run: _Run, options: TrainingOptions, iteration: int, consumed: int) -> None:
    """Write a checkpoint that takes its name only when all ranks have written their parts."""
    from megatron.core import dist_checkpointing

    first = torch.distributed.get_rank() == 0
    save = Path(options.save)
    folder, partial = save / f"iter_{iteration:07d}", save / f".iter_{iteration:07d}.tmp"
    if first:
        for old in save.glob(".iter_*.tmp"):  # of a run that was killed while it saved
            shutil.rmtree(old)
        partial.mkdir(parents=True)
        _copy_beside(options.load, save)
    torch.distributed.barrier()
    state: dict[str, Any] = {"model": _inner(run.model).sharded_state_dict()}
    state["optimizer"] = run.optimizer.sharded_state_dict(state["model"])
    state.update(
        iteration=iteration, consumed_samples=consumed, data=run.dataset.fingerprint, langsamp=run.record.to_json()
    )
    dist_checkpointing.save(state, str(partial))
    torch.distributed.barrier()
    if first:
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
        mark_latest(save, str(iteration))
        remove_older(save, options.keep)
    torch.distributed.barrier()


def _copy_beside(load: PathLike, save: Path) -> None:
    """Put what an export needs beside the run's checkpoints: sizes, SentencePiece model and dictionary."""
    folder = iteration_folder(load)
    for place in (folder.parent, folder):
        for path in place.glob("*"):
            if (
                path.name in ("langsamp.json", "sentencepiece.bpe.model", "dict.txt")
                and not (save / path.name).exists()
            ):
                shutil.copyfile(path, save / path.name)


def _inner(model: Any) -> Any:
    """Return the model inside its wrappers."""
    while hasattr(model, "module"):
        model = model.module
    return model
