"""Ending a run: SIGTERM, and restarting a finished job.

SIGTERM is what clusters send before they kill: save after the update that is running, and exit with status 0.

Every worker notes the signal when it comes. The criterion sends the note along with the sums of an update or of a batch
of a validation, and the task reads it from the sum over all workers, so that all of them stop at the same place. Before
the first update, and after a save or a validation, they ask each other.

1. Start, data, compilation: the run is saved as it was read, and ends before its first update.
2. An update: it is finished, saved, and the run ends.
3. A validation: it is left after the batch that is running; its figures are dropped.
4. A save: the run ends after it.

Loader processes ignore a signal from elsewhere than their parent, as it may have been sent to all processes of a job:
see :class:`langsamp_plugin.data.block_iterator.Loader`.
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
    """SIGTERM has come."""
    agreed = False
    """It has come to some worker, and all of them know."""
    owner = 0
    """The process that trains; its loader processes inherit the handler and must not use it."""
    saved = -1
    """Updates of the model when it was saved last."""


def install() -> None:
    """Let fairseq's training loop stop, and not begin where it is done; pass the signal on to workers. Idempotent."""
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
    """Begin to note the signal. Called by the task when it is set up, in the process that trains."""
    if StopSignal.owner != os.getpid() and train_namespaces():
        StopSignal.owner = os.getpid()
        signal.signal(signal.SIGTERM, _note)


def stopping() -> bool:
    """Return whether a loop over a validation's batches is to be left; the same in all workers while they validate."""
    return StopSignal.agreed


def starting_to_stop() -> bool:
    """Return whether a loop over batches without anything between workers, fairseq's dry run, is to be left."""
    return StopSignal.noted


def _note(number: int, frame: Any) -> None:
    StopSignal.noted = StopSignal.noted or os.getpid() == StopSignal.owner


def _pass_on(number: int, frame: Any) -> None:
    """In the process that has started one worker per GPU: they save, and it ends when they have ended."""
    children = multiprocessing.active_children()
    for child in children:
        assert child.pid is not None, "it has been started"
        os.kill(child.pid, number)
    if not children:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _agree(trainer: Any) -> bool:
    """Return whether the signal has come to any worker; all of them ask at the same place."""
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
    """Note which update was saved; fairseq keeps the best value of a run as an attribute of this function."""

    @wraps(stock)
    def save_checkpoint(cfg: Any, trainer: Any, *rest: Any) -> Any:
        path = stock(cfg, trainer, *rest)
        StopSignal.saved = trainer.get_num_updates()
        return path

    save_checkpoint.langsamp = True  # type: ignore[attr-defined]
    return save_checkpoint


def _dropping(stock: Any) -> Any:
    """A validation that was left has no figures, which a best checkpoint would be chosen by."""

    def validate(*arguments: Any) -> Any:
        losses = stock(*arguments)
        return [None] * len(losses) if StopSignal.agreed else losses

    return validate


def _stopping(stock: Any) -> Any:
    def validate_and_save(cfg: Any, trainer: Any, task: Any, epoch_itr: Any, *rest: Any) -> Any:
        if not StopSignal.agreed:
            losses, should_stop = stock(cfg, trainer, task, epoch_itr, *rest)
            # After what takes long; losses of a validation are the same in all workers, and so is what was saved.
            long = losses[0] is not None or StopSignal.saved == trainer.get_num_updates() or StopSignal.agreed
            if not long or not _agree(trainer):
                return losses, should_stop
        # No validation: the time until the kill is short.
        _save(cfg, trainer, epoch_itr)
        return [None], True

    validate_and_save.langsamp = True  # type: ignore[attr-defined]
    return validate_and_save


def _unless_done(stock: Any) -> Any:
    """Fairseq would do one more update, and save it, whenever a finished run is started again."""

    def train(cfg: Any, trainer: Any, task: Any, epoch_itr: Any, *rest: Any) -> Any:
        most, updates = cfg.optimization.max_update, trainer.get_num_updates()
        last = Path(cfg.checkpoint.save_dir) / f"checkpoint_last{trainer.checkpoint_suffix}.pt"
        if StopSignal.saved < 0 and cfg.checkpoint.restore_file == LAST and last.exists():
            StopSignal.saved = updates  # it is what was read
        if most and updates >= most:
            logger.info("nothing to do: %d of --max-update %d updates are done", updates, most)
            return [None], True
        if _agree(trainer):
            _save(cfg, trainer, epoch_itr)
            return [None], True
        return stock(cfg, trainer, task, epoch_itr, *rest)

    return train
