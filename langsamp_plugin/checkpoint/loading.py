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
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.key_map import EMBEDDING, POSITIONS, modern_names

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


def whole(path: PathLike) -> bool:
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
    if zipped and not whole(path):
        raise ValueError(f"{path} is damaged, its checksums are wrong: get it again, or take an older one")
    try:
        # Memory-mapped where the format allows it: a checkpoint is two thirds optimizer state that nobody here uses.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged, or carries objects that could run code, and was not loaded: {_gist(error)}"
        ) from error
    except OSError as error:
        # A folder; or torch has looked for the end of a file before its beginning, as too little of it is left.
        if error.errno not in (errno.EISDIR, errno.EINVAL):
            raise
        raise ValueError(f"{path} is not a whole checkpoint file: {error.strerror}") from error
    except UNREADABLE as error:
        raise ValueError(f"{path} is not a whole checkpoint file: {_gist(error)}") from error


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


def _gist(error: Exception) -> str:
    """Return the first line of what torch says, which goes on with advice that would switch safe loading off."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def model_config(state: dict[str, Any]) -> dict[str, Any]:
    """Return the model's options from a checkpoint, whether fairseq stored a config or a namespace."""
    config = (state.get("cfg") or {}).get("model") or state.get("args")
    if isinstance(config, argparse.Namespace):
        return vars(config)
    return dict(config) if isinstance(config, Mapping) else {}


def training_task(state: dict[str, Any]) -> Any:
    """Return the name of the task that a checkpoint was trained with, ``None`` if it does not say; as fairseq reads it."""
    if state.get("args") is not None:
        args = state["args"]
        return args.get("task") if isinstance(args, Mapping) else getattr(args, "task", None)
    task = (state.get("cfg") or {}).get("task")
    return task.get("_name") if isinstance(task, Mapping) else getattr(task, "_name", getattr(task, "task", None))


def layer_numbers(names: Iterable[str]) -> list[int]:
    """Return the numbers of the blocks that weights are of, from 0.

    Raises:
        ValueError: a number is missing between others, or is none.
    """
    found = {name.split(".")[3] for name in names if name.startswith("encoder.sentence_encoder.layers.")}
    if found != set(map(str, range(len(found)))):
        raise ValueError(f"the blocks must be numbered from 0, but are {' '.join(sorted(found))[:60]}")
    return list(range(len(found)))


def architecture(state: dict[str, Any]) -> dict[str, Any]:
    """Return the model's options with its sizes read from the weights, which cannot be wrong about them.

    Raises:
        ValueError: the checkpoint is of no RoBERTa, or does not say how many heads it has.
    """
    weights = state["model"]
    layers = layer_numbers(weights)
    if EMBEDDING not in weights or POSITIONS not in weights or not layers:
        raise ValueError("the checkpoint is of no RoBERTa: it lacks embeddings or layers")
    width = weights[EMBEDDING].shape[1]
    options = model_config(state)
    heads = options.get("encoder_attention_heads") or width // 64
    if not isinstance(heads, int) or heads < 1 or width % heads:
        raise ValueError(
            f"the checkpoint's options must say how many heads share a width of {width}, but say {heads!r}"
        )
    return {
        **options,
        "encoder_layers": len(layers),
        "encoder_embed_dim": width,
        "encoder_ffn_embed_dim": weights["encoder.sentence_encoder.layers.0.fc1.weight"].shape[0],
        "encoder_attention_heads": heads,
        "max_positions": weights[POSITIONS].shape[0] - 2,
    }
