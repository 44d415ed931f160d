"""Ends runs: SIGTERM, and restarts of finished jobs.

Clusters send SIGTERM before they kill a job: the run saves after the current update and exits with status 0.

Every worker records the signal. The criterion adds this flag to the sums of an update or of a validation batch, and the
task reads it from the sum over all workers, so that all of them stop at the same place. Before the first update, and
after a save or a validation, the workers communicate explicitly.

1. Start, data, compilation: the loaded state is saved and the run ends before its first update.
2. An update: it is finished and saved, and the run ends.
3. A validation: it stops after the current batch and its results are dropped.
4. A save: the run ends after it.

Loader processes ignore a signal from any process except their parent, because it may have been sent to all processes of
a job: see :class:`langsamp_plugin.data.block_iterator.Loader`.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils

from langsamp_plugin.training.durable_checkpoints import LAST
from langsamp_plugin.training.train_program import train_namespaces

logger = logging.getLogger(__name__)


class StopSignal:
    """The state of this process."""

    noted = False
    """This process has received SIGTERM."""
    agreed = False
    """Some worker has received it, and all of them know."""
    owner = 0
    """The process that trains; its loader processes inherit the handler and must not use it."""
    saved = -1
    """Number of updates at the last save."""


def install() -> None:
    """Patch fairseq's training loop to stop on the signal, to skip finished runs, and to forward the signal to workers.
    Idempotent."""
    programs = train_namespaces()
    for names in programs:
        if not hasattr(names["validate_and_save"], "langsamp"):
            names["validate"] = _dropping(names["validate"])
            names["validate_and_save"] = _stopping(names["validate_and_save"])
            names["train"] = _unless_done(names["train"])
    if programs and not hasattr(checkpoint_utils.save_checkpoint, "langsamp"):
        checkpoint_utils.save_checkpoint = _noting(checkpoint_utils.save_checkpoint)
    if programs and StopSignal.owner != os.getpid():
        signal.signal(signal.SIGTERM, _pass_on)


def watch() -> None:
    """Start recording the signal. The task calls this at setup, in the training process."""
    if StopSignal.owner != os.getpid() and train_namespaces():
        StopSignal.owner = os.getpid()
        signal.signal(signal.SIGTERM, _note)


def stopping() -> bool:
    """Return whether to stop a loop over validation batches; equal in all workers during validation."""
    return StopSignal.agreed


def starting_to_stop() -> bool:
    """Return whether to stop a loop over batches without communication between workers (fairseq's dry run)."""
    return StopSignal.noted


def _note(number: int, frame: Any) -> None:
    StopSignal.noted = StopSignal.noted or os.getpid() == StopSignal.owner


def _pass_on(number: int, frame: Any) -> None:
    """In the process that started one worker per GPU: the workers save, and this process waits for them."""
    children = multiprocessing.active_children()
    for child in children:
        assert child.pid is not None, "it has been started"
        os.kill(child.pid, number)
    if not children:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _agree(trainer: Any) -> bool:
    """Return whether any worker has received the signal; a collective call."""
    noted = StopSignal.noted
    if trainer.data_parallel_world_size > 1:
        flag = torch.tensor([float(noted)], device=trainer.device)
        distributed_utils.all_reduce(flag, group=trainer.data_parallel_process_group)
        noted = bool(flag.item())
    StopSignal.agreed = StopSignal.agreed or noted
    return StopSignal.agreed


def _save(cfg: Any, trainer: Any, epoch_itr: Any) -> None:
    if StopSignal.saved != trainer.get_num_updates():
        logger.info("SIGTERM: saving after update %d and stopping", trainer.get_num_updates())
        checkpoint_utils.save_checkpoint(cfg.checkpoint, trainer, epoch_itr, None)
    else:
        logger.info("SIGTERM: update %d is saved, stopping", trainer.get_num_updates())


def _noting(stock: Any) -> Any:
    """Record which update was saved; fairseq stores the best value of a run as an attribute of this function."""

    @wraps(stock)
    def save_checkpoint(cfg: Any, trainer: Any, *rest: Any) -> Any:
        path = stock(cfg, trainer, *rest)
        StopSignal.saved = trainer.get_num_updates()
        return path

    save_checkpoint.langsamp = True  # type: ignore[attr-defined]
    return save_checkpoint


def _dropping(stock: Any) -> Any:
    """A stopped validation has no results, so it must not select a best checkpoint."""

    def validate(*arguments: Any) -> Any:
        losses = stock(*arguments)
        return [None] * len(losses) if StopSignal.agreed else losses

    return validate


def _stopping(stock: Any) -> Any:
    def validate_and_save(cfg: Any, trainer: Any, task: Any, epoch_itr: Any, *rest: Any) -> Any:
        if not StopSignal.agreed:
            losses, should_stop = stock(cfg, trainer, task, epoch_itr, *rest)
            # After slow work; validation losses and saves are equal in all workers.
            long = losses[0] is not None or StopSignal.saved == trainer.get_num_updates() or StopSignal.agreed
            if not long or not _agree(trainer):
                return losses, should_stop
        # Skip validation: the time until the kill is short.
        _save(cfg, trainer, epoch_itr)
        return [None], True

    validate_and_save.langsamp = True  # type: ignore[attr-defined]
    return validate_and_save


def _unless_done(stock: Any) -> Any:
    """Skip training if it is finished; fairseq would do and save another update on every restart."""

    def train(cfg: Any, trainer: Any, task: Any, epoch_itr: Any, *rest: Any) -> Any:
        most, updates = cfg.optimization.max_update, trainer.get_num_updates()
        last = Path(cfg.checkpoint.save_dir) / f"checkpoint_last{trainer.checkpoint_suffix}.pt"
        if StopSignal.saved < 0 and cfg.checkpoint.restore_file == LAST and last.exists():
            StopSignal.saved = updates  # nothing has changed since loading
        if most and updates >= most:
            logger.info("nothing to do: %d of --max-update %d updates are done", updates, most)
            return [None], True
        if _agree(trainer):
            _save(cfg, trainer, epoch_itr)
            return [None], True
        return stock(cfg, trainer, task, epoch_itr, *rest)

    return train
