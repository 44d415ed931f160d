"""Reading checkpoints without running code that they carry."""

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
"""What fairseq keeps beside the weights, where it is read here."""

# What torch's reader meets in a damaged pickle, besides errors of its own.
UNREADABLE = (
    RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError, OverflowError,
    struct.error,
)  # fmt: skip


def allow_fairseq_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read what fairseq writes.

    fairseq stores its options as an ``argparse.Namespace``, which torch >= 2.6 refuses by default. On resume with several
    workers it also sends what it has read to the others, by then with its options as OmegaConf containers. All of these
    are containers of plain data; none runs anything when it is built.
    """
    allowed: list[Any] = [argparse.Namespace]
    distributed = sys.modules.get("fairseq.distributed.utils")
    if distributed is not None:
        from omegaconf import DictConfig, ListConfig
        from omegaconf.base import ContainerMetadata, Metadata
        from omegaconf.nodes import AnyNode

        allowed += [distributed._TensorPlaceholder, DictConfig, ListConfig, ContainerMetadata, Metadata, AnyNode]
        allowed += [int, list, dict, collections.defaultdict, Any]
    torch.serialization.add_safe_globals(allowed)


def is_intact(path: PathLike) -> bool:
    """Return whether every record of a checkpoint has the checksum (CRC-32) that torch stored with it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, zlib.error, struct.error):
        return False


def read_saved(path: PathLike) -> Any:
    """Read what ``torch.save`` wrote onto the CPU, tensors mapped from the file and not copied.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or carries code.
    """
    allow_fairseq_checkpoints()
    # The format since torch 1.6 has checksums. Comparing them reads the file once, in a fraction of the time that
    # anything done with a model takes, and a flipped bit would otherwise become a weight.
    zipped = zipfile.is_zipfile(path)
    if zipped and not is_intact(path):
        raise ValueError(f"{path} is damaged, its checksums are wrong: get it again, or take an older one")
    try:
        # Memory-mapped where the format allows it: a checkpoint is two thirds optimizer state that nobody here uses.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged, or carries objects that could run code, and was not loaded: {_first_line(error)}"
        ) from error
    except OSError as error:
        # A folder; or torch has looked for the end of a file before its beginning, as too little of it is left.
        if error.errno not in (errno.EISDIR, errno.EINVAL):
            raise
        raise ValueError(f"{path} is not a whole checkpoint file: {error.strerror}") from error
    except UNREADABLE as error:
        raise ValueError(f"{path} is not a whole checkpoint file: {_first_line(error)}") from error


def load_checkpoint(path: PathLike) -> dict[str, Any]:
    """Read a fairseq checkpoint of any model, see :func:`read_saved`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, is no fairseq checkpoint, or carries code.
    """
    state = read_saved(path)
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise ValueError(f"{path} is no fairseq checkpoint: it has no 'model' in it")
    for name, kinds in PARTS.items():
        if state.get(name) is not None and not isinstance(state[name], kinds):
            raise ValueError(f"{path} is no fairseq checkpoint: its {name!r} is a {type(state[name]).__name__}")
    for name, tensor in state["model"].items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"{path} is no fairseq checkpoint: {name!r} in its 'model' is no weight with a name")
    state["model"] = modern_names(state["model"])
    return state


def _first_line(error: Exception) -> str:
    """Return the first line of what torch says, which goes on with advice that would switch safe loading off."""
    return (str(error).splitlines() or [type(error).__name__])[0]
