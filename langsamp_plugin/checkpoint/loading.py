"""Reads checkpoints without running code that they contain."""

from __future__ import annotations

import argparse
import collections
import errno
import pickle
import struct
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.weight_names import modern_names

PARTS: dict[str, tuple[type, ...]] = {
    "args": (argparse.Namespace, Mapping),
    "cfg": (Mapping,),
    "task_state": (Mapping,),
    "optimizer_history": (list,),
}
"""Fields next to the weights that this package reads, with their types."""
HF_PREFIXES = ("roberta.", "embeddings.", "encoder.layer.")
"""Prefix of names in Hugging Face's files."""

# Exceptions that torch.load raises on a damaged pickle, in addition to its own.
UNREADABLE = (
    RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError, OverflowError,
    struct.error,
)  # fmt: skip


def allow_fairseq_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read what fairseq writes.

    fairseq stores its options as an ``argparse.Namespace``, which torch >= 2.6 refuses by default. On resume with
    several workers it also broadcasts the state with options as OmegaConf containers. All of these hold plain data, and
    constructing them runs no code.
    """
    allowed: list[Any] = [argparse.Namespace]
    distributed = sys.modules.get("fairseq.distributed.utils")
    if distributed is not None:
        from omegaconf import DictConfig, ListConfig
        from omegaconf.base import ContainerMetadata, Metadata
        from omegaconf.nodes import AnyNode

        allowed += [distributed._TensorPlaceholder, DictConfig, ListConfig, ContainerMetadata, Metadata, AnyNode]
        # By name, because torch would otherwise use __name__, which typing.Any lacks on Python 3.9.
        allowed += [int, list, dict, collections.defaultdict, (Any, "typing.Any")]
    torch.serialization.add_safe_globals(allowed)


def is_intact(path: PathLike) -> bool:
    """Return whether every record of a checkpoint matches its stored checksum (CRC-32)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, zlib.error, struct.error):
        return False


def read_saved(path: PathLike) -> Any:
    """Read a ``torch.save`` file onto the CPU, with memory-mapped tensors.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, or carries code.
    """
    allow_fairseq_checkpoints()
    _check_is_checkpoint(Path(path))
    # The format since torch 1.6 has checksums. Comparing them reads the file once, which is fast in comparison with any
    # use of the model, and detects flipped bits that would otherwise become weights.
    zipped = zipfile.is_zipfile(path)
    if zipped and not is_intact(path):
        raise ValueError(f"{path} is damaged, its checksums are wrong: download or copy it again, or use an older one")
    try:
        # Memory-mapped where the format allows it: two thirds of a checkpoint are optimizer state, which is not used
        # here.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged, or carries objects that could run code, and was not loaded: {_first_line(error)}"
        ) from error
    except OSError as error:
        # A file that is so short that torch seeks to before its beginning.
        if error.errno not in (errno.EISDIR, errno.EINVAL):
            raise
        raise ValueError(f"{path} is not a complete checkpoint file: it is cut off, copy it again") from error
    except UNREADABLE as error:
        if Path(path).stat().st_size == 0:
            raise ValueError(f"{path} is empty: download or copy it again, or use an older one") from error
        # The message of a KeyError, for example, is only a byte of the file.
        reason = f": {_first_line(error)}" if isinstance(error, RuntimeError) else ", or is of another kind"
        raise ValueError(f"{path} is not a complete checkpoint file{reason}") from error


def _check_is_checkpoint(path: Path) -> None:
    """Raise ``ValueError`` for common mistakes in place of a checkpoint file, and say what the path is."""
    if path.is_dir():
        if (path / "config.json").is_file():
            what = f"is a Hugging Face folder: `langsamp import {path} --out CKPT` makes a checkpoint of it"
        elif (path / "dict.txt").is_file():
            what = "is a data folder: name a checkpoint file"
        else:
            checkpoints = sorted(file.name for file in path.glob("*.pt"))
            what = f"is a folder: name a file in it{', such as ' + checkpoints[-1] if checkpoints else ''}"
        raise ValueError(f"{path} must be a checkpoint file of fairseq, but {what}")
    if path.suffix == ".safetensors" and path.is_file():
        raise ValueError(
            f"{path} must be a checkpoint file of fairseq, but has Hugging Face weights: `langsamp import "
            f"{path.parent} --out CKPT` makes a checkpoint of its folder"
        )


def load_checkpoint(path: PathLike) -> dict[str, Any]:
    """Read a fairseq checkpoint of any model, see :func:`read_saved`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged, is not a fairseq checkpoint, or carries code.
    """
    state = read_saved(path)
    if isinstance(state, dict) and any(str(name).startswith(HF_PREFIXES) for name in state):
        raise ValueError(
            f"{path} must be a checkpoint file of fairseq, but has Hugging Face weights: `langsamp import "
            f"{Path(path).parent} --out CKPT` makes a checkpoint of its folder"
        )
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise ValueError(f"{path} is not a fairseq checkpoint: it has no 'model' in it")
    for name, kinds in PARTS.items():
        if state.get(name) is not None and not isinstance(state[name], kinds):
            raise ValueError(f"{path} is not a fairseq checkpoint: its {name!r} is a {type(state[name]).__name__}")
    for name, tensor in state["model"].items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"{path} is not a fairseq checkpoint: {name!r} in its 'model' is not a named tensor")
    state["model"] = modern_names(state["model"])
    return state


def _first_line(error: Exception) -> str:
    """Return the first line of torch's message; the rest advises disabling safe loading."""
    return (str(error).splitlines() or [type(error).__name__])[0]
