"""The folder of a Megatron run: one folder per saved iteration, and a file that names the newest."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from langsamp_plugin.atomic import PathLike, atomic_write

METADATA = ".metadata"
"""File in the folder of an iteration: the locations of tensors."""
LATEST = "latest_checkpointed_iteration.txt"
RELEASE = "release"
"""Megatron's name for a folder of converted weights."""


def iteration_folder(path: PathLike) -> Path:
    """Return the newest iteration of a run's folder, or the folder itself if it is an iteration.

    Raises:
        FileNotFoundError: the folder is neither.
        ValueError: the name of the newest iteration is invalid, or the folder has another format.
    """
    path = Path(path)
    if (path / METADATA).is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"{path} must be a checkpoint folder of Megatron-Core, but is missing or a file")
    if (path / LATEST).is_file():
        text = (path / LATEST).read_text(encoding="utf-8", errors="replace").strip()
        if text != RELEASE and not (text.isascii() and text.isdecimal() and len(text) < 10):
            raise ValueError(f"{path / LATEST} must hold a number or the word release, but has {text[:40]!r}")
        folder = path / (RELEASE if text == RELEASE else f"iter_{int(text):07d}")
        if (folder / METADATA).is_file():
            return folder
        path = folder
    if list(path.glob("mp_rank_*")):
        raise ValueError(
            f"{path} must be a distributed checkpoint, but is in Megatron's older format with one folder per rank: "
            "save it with --ckpt-format torch_dist"
        )
    raise FileNotFoundError(f"{path / METADATA} is missing: the folder is not a distributed checkpoint")


def mark_latest(run: PathLike, iteration: str) -> None:
    """Record the newest iteration of a run: a number, or the word ``release``."""
    with atomic_write(Path(run) / LATEST) as stream:
        stream.write(iteration)


def remove_older(run: PathLike, keep: int, newest: int) -> None:
    """Remove all but the newest checkpoints of a run.

    Args:
        run: its folder.
        keep: number of checkpoints to keep.
        newest: the last saved iteration; later ones, from before the run was rewound, are kept.
    """
    before = sorted(folder for folder in _iterations(run) if int(folder.name[5:]) <= newest)
    for folder in before[:-keep]:
        shutil.rmtree(folder)


def _iterations(run: PathLike) -> Iterator[Path]:
    return (folder for folder in Path(run).glob("iter_*") if folder.name[5:].isdecimal())
