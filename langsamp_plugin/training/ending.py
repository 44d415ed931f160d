"""Ending a run: SIGTERM, and restarting a finished job.

SIGTERM is what clusters send before they kill: save after the update that is running, and exit with status 0.

Every worker notes the signal when it comes; the criterion sends the note along with the sums of an update, and the task
reads it from the sum over all workers, so that all of them stop after the same update.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from typing import Any

from fairseq import checkpoint_utils

logger = logging.getLogger(__name__)


class StopSignal:
    """The state of this process."""

    noted = False
    """SIGTERM has come."""
    agreed = False
    """It has come to some worker, and all of them know."""
    owner = 0
    """The process that trains; its loader processes inherit the handler and must not use it."""


def install() -> None:
    """Let fairseq's training loop stop, and not begin where it is done; pass the signal on to workers. Idempotent."""
    train: Any = sys.modules.get("fairseq_cli.train")
    if train is None or hasattr(train.validate_and_save, "langsamp"):
        return
    train.validate_and_save = _stopping(train.validate_and_save)
    train.train = _unless_done(train.train)
    signal.signal(signal.SIGTERM, _pass_on)


def watch() -> None:
    """Begin to note the signal. Called by the task before each update, in the process that trains."""
    if StopSignal.owner != os.getpid() and "fairseq_cli.train" in sys.modules:
        StopSignal.owner = os.getpid()
        signal.signal(signal.SIGTERM, _note)


def _note(number: int, frame: Any) -> None:
    if os.getpid() == StopSignal.owner:
        StopSignal.noted = True
    else:
        _die(number)


def _pass_on(number: int, frame: Any) -> None:
    """In the process that has started one worker per GPU: they save, and it ends when they have ended."""
    children = multiprocessing.active_children()
    for child in children:
        assert child.pid is not None, "it has been started"
        os.kill(child.pid, number)
    if not children:
        _die(number)


def _die(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _stopping(stock: Any) -> Any:
    def validate_and_save(cfg: Any, trainer: Any, task: Any, epoch_itr: Any, *rest: Any) -> Any:
        if not StopSignal.agreed:
            return stock(cfg, trainer, task, epoch_itr, *rest)
        # No validation: the time until the kill is short.
        logger.info("SIGTERM: saving after update %d and stopping", trainer.get_num_updates())
        checkpoint_utils.save_checkpoint(cfg.checkpoint, trainer, epoch_itr, None)
        return [None], True

    validate_and_save.langsamp = True  # type: ignore[attr-defined]
    return validate_and_save


def _unless_done(stock: Any) -> Any:
    """Fairseq would do one more update, and save it, whenever a finished run is started again."""

    def train(cfg: Any, trainer: Any, *rest: Any) -> Any:
        most = cfg.optimization.max_update
        if not most or trainer.get_num_updates() < most:
            return stock(cfg, trainer, *rest)
        logger.info("nothing to do: %d of --max-update %d updates are done", trainer.get_num_updates(), most)
        return [None], True

    return train
