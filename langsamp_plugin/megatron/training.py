"""A training loop on Megatron-Core, with its schedule, data parallelism, optimizer and checkpoints.

The example uses it if Megatron-LM's own loop (``megatron.training``) is not installed, and the tests use it on a CPU
over gloo. Losses are sums over masked tokens, divided by the masked tokens of all ranks and micro-batches, so any split
of a batch gives the same step.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from langsamp_plugin.megatron.cpu import on_cpu
from langsamp_plugin.megatron.data import LangSampDataset, consumed_batches
from langsamp_plugin.megatron.options import TrainingOptions, learning_rate
from langsamp_plugin.megatron.run import Run, build_run
from langsamp_plugin.megatron.run_checkpoint import load_run, save_run

logger = logging.getLogger(__name__)


class StepLog(NamedTuple):
    """Result of one step.

    Args:
        iteration: number of the step, from 1.
        loss: bits per masked token, over all ranks.
        grad_norm: gradient norm before clipping.
        samples: numbers of the samples that this rank processed.
    """

    iteration: int
    loss: float
    grad_norm: float
    samples: list[int]


def train(options: TrainingOptions) -> list[StepLog]:
    """Train, or resume from the run's newest checkpoint; call it on every rank, between start and stop.

    Returns:
        The steps of this call.

    Raises:
        FileNotFoundError: the data or the starting checkpoint is missing.
        ValueError: sizes are not divisible by the ranks, or the data differ from those that the run began with.
    """
    from megatron.core import parallel_state

    options.check()
    rank, ranks = parallel_state.get_data_parallel_rank(), parallel_state.get_data_parallel_world_size()
    rounds, rest = divmod(options.global_batch, options.micro_batch * ranks)
    if rest or not rounds:
        raise ValueError(
            f"global_batch must be a multiple of micro_batch x data-parallel ranks = {options.micro_batch * ranks}, "
            f"but is {options.global_batch}"
        )
    with on_cpu():
        run = build_run(options)
        done, consumed = load_run(run, options)
        total = consumed + (options.iterations - done) * options.global_batch
        run.dataset.num_samples = total
        batches = consumed_batches(total, consumed, micro_batch=options.micro_batch, rank=rank, ranks=ranks)
        logs = []
        for iteration in range(done + 1, options.iterations + 1):
            logs.append(_step(run, options, iteration, batches, rounds))
            consumed += options.global_batch
            if iteration % options.save_interval == 0 or iteration == options.iterations:
                save_run(run, options, iteration, consumed)
    return logs


def _step(run: Run, options: TrainingOptions, iteration: int, batches: Iterator[list[int]], rounds: int) -> StepLog:
    from megatron.core import parallel_state
    from megatron.core.pipeline_parallel import get_forward_backward_func

    _reseed(options.seed, iteration)
    run.model.zero_grad_buffer()
    run.optimizer.zero_grad()
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(options, iteration)
        # fairseq adds epsilon to the root of the second moment before the bias correction, torch and Apex after it.
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
    """Forward step for Megatron's schedules: return the model's output and a function that computes the loss."""
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


def _micro_batches(
    dataset: LangSampDataset, batches: Iterator[list[int]], seen: list[int]
) -> Iterator[dict[str, Tensor]]:
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    for numbers in batches:
        samples = [dataset[number] for number in numbers]
        seen.extend(numbers)
        yield {name: torch.stack([sample[name] for sample in samples]).to(device) for name in samples[0]}


def _reseed(seed: int, iteration: int) -> None:
    """Seed dropout by seed, step and data-parallel rank, so that a resumed run draws the same."""
    from megatron.core import parallel_state

    own = (seed * 1_000_003 + iteration) * 1009 + parallel_state.get_data_parallel_rank()
    torch.manual_seed(own % 2**31)
    if torch.cuda.is_available():
        from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

        model_parallel_cuda_manual_seed(own % 2**31, force_reset_rng=True)
