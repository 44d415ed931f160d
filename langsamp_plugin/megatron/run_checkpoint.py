"""Writes and reads a run's checkpoints; kills never damage earlier ones, and reading runs no code."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.megatron.data import check_same_data
from langsamp_plugin.megatron.options import TrainingOptions
from langsamp_plugin.megatron.record import PROGRESS, RECORD
from langsamp_plugin.megatron.run import Run
from langsamp_plugin.megatron.run_folder import LATEST, iteration_folder, mark_latest, remove_older
from langsamp_plugin.megatron.stored import check_stored
from langsamp_plugin.vocabulary.tokenizer import SPM_FILENAME

logger = logging.getLogger(__name__)


def load_run(run: Run, options: TrainingOptions) -> tuple[int, int]:
    """Load the run's newest or starting checkpoint; return the number of steps done and samples consumed."""
    from megatron.core import dist_checkpointing

    save = Path(options.save)
    resumed = (save / LATEST).is_file()
    folder = check_stored(save if resumed else options.load)
    model = _inner(run.model)
    wanted: dict[str, Any] = {"model": model.sharded_state_dict()}
    if resumed:
        done, consumed, data = _progress(folder / PROGRESS)
        check_same_data(data, run.dataset.fingerprint)
        wanted["optimizer"] = run.optimizer.sharded_state_dict(wanted["model"], is_loading=True)
    state = dist_checkpointing.load(wanted, str(folder))
    model.load_state_dict(state["model"])
    if not resumed:
        run.optimizer.reload_model_params()
        return 0, 0
    run.optimizer.load_state_dict(state["optimizer"])
    logger.info("resumed from %s: %d steps, %d samples", folder, done, consumed)
    return done, consumed


def _progress(path: Path) -> tuple[int, int, dict[str, Any]]:
    """Return a checkpoint's number of steps, the samples consumed by all ranks, and the data fingerprint."""
    remedy = f"resume from another checkpoint by writing its number into {LATEST}"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, which stores the position of the run: {remedy}")
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        done, consumed, data = state["iteration"], state["consumed_samples"], state["data"]
        if type(done) is not int or type(consumed) is not int or min(done, consumed) < 0 or not isinstance(data, dict):
            raise ValueError(f"it has {done!r} steps and {consumed!r} samples")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error!r:.80}): {remedy}") from error
    return done, consumed, data


def save_run(run: Run, options: TrainingOptions, iteration: int, consumed: int) -> None:
    """Write a checkpoint that gets its final name only after all ranks have written their parts."""
    from megatron.core import dist_checkpointing

    first = torch.distributed.get_rank() == 0
    save = Path(options.save)
    folder, partial = save / f"iter_{iteration:07d}", save / f".iter_{iteration:07d}.tmp"
    if first:
        for old in save.glob(".iter_*.tmp"):  # from a run that was killed while saving
            shutil.rmtree(old)
        partial.mkdir(parents=True)
        _copy_beside(options.load, save)
    torch.distributed.barrier()
    state: dict[str, Any] = {"model": _inner(run.model).sharded_state_dict()}
    state["optimizer"] = run.optimizer.sharded_state_dict(state["model"])
    state["iteration"] = iteration
    with results_in_this_process():
        dist_checkpointing.save(state, str(partial))
    torch.distributed.barrier()
    if first:
        # In a separate file: versions of Megatron-Core store non-tensors in different places.
        progress = {"iteration": iteration, "consumed_samples": consumed, "data": run.dataset.fingerprint}
        with atomic_write(partial / PROGRESS) as stream:
            json.dump({**progress, "langsamp": run.record.to_json()}, stream)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
        mark_latest(save, str(iteration))
        remove_older(save, options.keep, newest=iteration)
    torch.distributed.barrier()


@contextlib.contextmanager
def results_in_this_process() -> Iterator[None]:
    """Let Megatron-Core's writer collect its results in a queue of this process while it saves.

    Its own queue has a process, which only a save in the background needs: starting it imports all of Megatron-Core
    again on each rank, and it would outlive a run that is killed.
    """
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    if not hasattr(filesystem_async, "_results_queue"):  # unknown version
        yield
        return
    with mock.patch.object(filesystem_async, "_results_queue", queue.Queue()):
        yield


def _copy_beside(load: PathLike, save: Path) -> None:
    """Store the files for an export next to the run's checkpoints: sizes, SentencePiece model and dictionary."""
    folder = iteration_folder(load)
    for place in (folder.parent, folder):
        for path in place.glob("*"):
            if path.name in (RECORD, SPM_FILENAME, "dict.txt") and not (save / path.name).exists():
                shutil.copyfile(path, save / path.name)


def _inner(model: Any) -> Any:
    """Return the unwrapped model."""
    while hasattr(model, "module"):
        model = model.module
    return model
