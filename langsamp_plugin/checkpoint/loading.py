"""Reading checkpoints without running code that they carry."""

from __future__ import annotations

import argparse
import collections
import pickle
import sys
import zipfile
from typing import Any

import torch

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.key_map import EMBEDDING, POSITIONS, modern_names


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


def load_checkpoint(path: PathLike) -> dict[str, Any]:
    """Read a fairseq checkpoint onto the CPU, tensors mapped from the file and not copied.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, is no fairseq checkpoint, or carries code.
    """
    allow_fairseq_checkpoints()
    try:
        # Memory-mapped where the format allows it (torch >= 1.6 wrote it): a checkpoint is two thirds optimizer state
        # that nobody here reads.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged, or carries objects that could run code, and was not loaded: {_gist(error)}"
        ) from error
    except (RuntimeError, EOFError, KeyError, IsADirectoryError) as error:
        raise ValueError(f"{path} is not a whole checkpoint file: {_gist(error)}") from error
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise ValueError(f"{path} is no fairseq checkpoint: it has no 'model' in it")
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
    return dict(config or {})


def architecture(state: dict[str, Any]) -> dict[str, Any]:
    """Return the model's options with its sizes read from the weights, which cannot be wrong about them.

    Raises:
        ValueError: the checkpoint is of no RoBERTa.
    """
    weights = state["model"]
    layers = [int(name.split(".")[3]) for name in weights if name.startswith("encoder.sentence_encoder.layers.")]
    if EMBEDDING not in weights or POSITIONS not in weights or not layers:
        raise ValueError("the checkpoint is of no RoBERTa: it lacks embeddings or layers")
    width = weights[EMBEDDING].shape[1]
    options = model_config(state)
    return {
        **options,
        "encoder_layers": 1 + max(layers),
        "encoder_embed_dim": width,
        "encoder_ffn_embed_dim": weights["encoder.sentence_encoder.layers.0.fc1.weight"].shape[0],
        "encoder_attention_heads": int(options.get("encoder_attention_heads") or width // 64),
        "max_positions": weights[POSITIONS].shape[0] - 2,
    }
