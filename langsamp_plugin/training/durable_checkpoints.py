"""Checkpoints that survive a kill, a full disk and a crash of the machine.

fairseq writes a checkpoint under another name and renames it, but does not sync it to disk, and copies
``checkpoint_last.pt``, which a kill can interrupt. Here both are atomic, and a run with a damaged last checkpoint
resumes from the newest complete one.
"""

from __future__ import annotations

import atexit
import logging
import os
from contextlib import ExitStack
from glob import escape
from pathlib import Path
from typing import Any, Optional

import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.checkpoint.loading import is_intact, load_checkpoint, read_saved
from langsamp_plugin.place import claim_folder, making, resolve, try_place
from langsamp_plugin.temporary import remove_leftovers, temporary_name

logger = logging.getLogger(__name__)

LAST = "checkpoint_last.pt"


def install() -> None:
    """Replace fairseq's functions by those below; fairseq has no hook for them. Idempotent."""
    if checkpoint_utils.PathManager is _Files:
        return
    checkpoint_utils.torch_persistent_save = _saving(checkpoint_utils.torch_persistent_save)
    checkpoint_utils.load_checkpoint_to_cpu = _safely(checkpoint_utils.load_checkpoint_to_cpu)
    checkpoint_utils.load_checkpoint = _mending(checkpoint_utils.load_checkpoint)
    checkpoint_utils.verify_checkpoint_directory = try_save_dir
    checkpoint_utils.PathManager = _Files


def _saving(stock: Any) -> Any:
    def save(obj: Any, filename: str, async_write: bool = False) -> None:
        if async_write or not PathManager.supports_rename(filename):
            stock(obj, filename, async_write)
            return
        with atomic_write(filename, "wb") as stream:
            torch.save(obj, stream)

    return save


def _safely(stock: Any) -> Any:
    def load(path: str, *args: Any, **kwargs: Any) -> Any:
        if os.path.isfile(path):
            state = load_checkpoint(path)  # raises on objects that could run code, also where fairseq would not check
            _Read.path, _Read.dictionary = path, (state.get("task_state") or {}).get("dictionary")
        return stock(path, *args, **kwargs)

    return load


def _mending(stock: Any) -> Any:
    def load(cfg: Any, trainer: Any, **kwargs: Any) -> Any:
        if trainer.data_parallel_rank == 0 and not cfg.no_save:
            # A checkpoint has the weights in float32, and usually the optimizer state. Use the unwrapped model:
            # trainer.model creates the data-parallel wrapper, which requires all workers.
            weights = sum(parameter.numel() for parameter in trainer._model.parameters())
            hold_save_dir(cfg.save_dir, trainer.checkpoint_suffix, 4 * weights)
        check_restore_file(cfg.restore_file, cfg.save_dir, trainer.checkpoint_suffix)
        if cfg.restore_file == LAST:
            if trainer.data_parallel_rank == 0:
                repair_last_checkpoint(cfg.save_dir, trainer.checkpoint_suffix)
            if torch.distributed.is_initialized():
                torch.distributed.barrier()
        _Read.dictionary = None
        loaded = stock(cfg, trainer, **kwargs)
        check_dictionary(_Read.path, _Read.dictionary, trainer.task)
        return loaded

    return load


class _Read:
    """The last checkpoint that was read, and the hash of its dictionary."""

    path = ""
    dictionary: Optional[str] = None


def check_restore_file(restore_file: str, save_dir: PathLike, suffix: str = "") -> None:
    """Raise an error for a ``--restore-file`` that is a folder or missing: fairseq would silently train from scratch.

    A missing file in ``save_dir`` is allowed, as a run may name its own checkpoint before the first one is written.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is a folder.
    """
    path = Path(restore_file.replace(".pt", f"{suffix}.pt"))
    if restore_file == LAST or "://" in restore_file:
        return
    if path.is_dir():
        read_saved(path)  # says what kind of folder it is
    if not path.exists() and path.resolve().parent != Path(save_dir).resolve():
        raise FileNotFoundError(
            f"--restore-file {path} is missing: name a checkpoint, or leave the flag out to train from the beginning"
        )


def check_dictionary(path: str, old: Optional[str], task: Any) -> None:
    """Raise ``ValueError`` if a checkpoint's rows belong to other pieces than those of the run's ``dict.txt``.

    Args:
        path: the checkpoint.
        old: its stored hash, if any.
        task: the task of the run.
    """
    new = task.state_dict().get("dictionary")
    if old is not None and new is not None and old != new:
        raise ValueError(
            f"{path} was trained with another dictionary (hash {old}) than this data's dict.txt (hash {new}), so its "
            "rows would belong to other pieces: move them with `langsamp init CHECKPOINT --spm MODEL --out CKPT`"
        )


_held = ExitStack()
atexit.register(_held.close)


def hold_save_dir(save_dir: PathLike, suffix: str = "", needed: int = 0) -> None:
    """Lock a run's folder until the process ends, and remove leftovers of a killed save.

    Runs of different ``--checkpoint-suffix`` may share one.

    Args:
        save_dir: the folder.
        suffix: fairseq's ``--checkpoint-suffix``.
        needed: minimum size of a checkpoint in bytes.

    Raises:
        InUseError: another run saves there.
        StorageError: it cannot be written or lacks space.
    """
    _held.enter_context(claim_folder(save_dir, needed, part=suffix))


def try_save_dir(save_dir: PathLike) -> None:
    """Create a run's folder and test writing into it before data and model are read, for clear errors.

    If the folder is empty when the process ends, it is removed.

    Raises:
        StorageError: it cannot be written.
    """
    folder = resolve(save_dir)
    _held.enter_context(making(folder))
    try_place(folder, folder)


class _Files(PathManager):
    @staticmethod
    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        if PathManager.path_requires_pathmanager(src_path) or PathManager.path_requires_pathmanager(dst_path):
            return PathManager.copy(src_path, dst_path, overwrite)
        link(src_path, dst_path)
        return True


def link(source: PathLike, target: PathLike) -> None:
    """Atomically make ``target`` a hard link to ``source``.

    Without hard links, the file is copied to a temporary name and renamed.
    """
    unfinished = temporary_name(Path(target))
    try:
        os.link(source, unfinished)
    except OSError:
        with open(source, "rb") as stream, atomic_write(target, "wb") as copy:
            while part := stream.read(2**24):
                copy.write(part)
        return
    os.replace(unfinished, target)
    unfinished.unlink(missing_ok=True)  # renaming onto a link to the same file has no effect


def repair_last_checkpoint(save_dir: PathLike, suffix: str = "") -> Optional[Path]:
    """Replace a damaged ``checkpoint_last.pt`` by the newest complete checkpoint of its folder.

    The damaged file is kept as ``checkpoint_last.pt.damaged``.

    Args:
        save_dir: the run's folder of checkpoints.
        suffix: fairseq's ``--checkpoint-suffix``, which precedes ``.pt`` in their names.

    Returns:
        The checkpoint that was used, or ``None`` if nothing had to be done.

    Raises:
        ValueError: the last checkpoint is damaged and no other is complete.
    """
    folder = Path(save_dir)
    last = folder / f"checkpoint_last{suffix}.pt"
    remove_leftovers(folder)
    if not last.exists() or is_intact(last):
        return None
    others = sorted(folder.glob(f"checkpoint*{escape(suffix)}.pt"), key=lambda path: path.stat().st_mtime, reverse=True)
    for other in others:
        if other != last and is_intact(other):
            os.replace(last, f"{last}.damaged")
            link(other, last)
            logger.warning("%s is damaged; continuing from %s, the newest complete one in its folder", last, other.name)
            return other
    raise ValueError(
        f"{last} is damaged and no other checkpoint in its folder is complete: remove it to start over, or name one "
        "with --restore-file"
    )
