"""Reads a checkpoint's own description: architecture and training data."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Optional

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.weight_names import BODY, EMBEDDING, POSITIONS
from langsamp_plugin.vocabulary.tokenizer import SPM_FILENAME


def model_config(state: dict[str, Any]) -> dict[str, Any]:
    """Return the model's options from a checkpoint, stored as a config or a namespace."""
    config = (state.get("cfg") or {}).get("model") or state.get("args")
    if isinstance(config, argparse.Namespace):
        return vars(config)
    return dict(config) if isinstance(config, Mapping) else {}


def training_task(state: dict[str, Any]) -> Any:
    """Return the name of the task that a checkpoint was trained with, ``None`` if not recorded."""
    if state.get("args") is not None:
        args = state["args"]
        return args.get("task") if isinstance(args, Mapping) else getattr(args, "task", None)
    task = (state.get("cfg") or {}).get("task")
    return task.get("_name") if isinstance(task, Mapping) else getattr(task, "_name", getattr(task, "task", None))


def layer_numbers(names: Iterable[str]) -> list[int]:
    """Return the block numbers in weight names, from 0.

    Raises:
        ValueError: a number is missing or malformed.
    """
    found = {name.split(".")[3] for name in names if name.startswith(f"{BODY}layers.")}
    if found != set(map(str, range(len(found)))):
        raise ValueError(f"the blocks must be numbered from 0, but are {' '.join(sorted(found))[:60]}")
    return list(range(len(found)))


def architecture(state: dict[str, Any]) -> dict[str, Any]:
    """Return the model's options, with sizes taken from the weights, which are authoritative.

    Raises:
        ValueError: the checkpoint is not a RoBERTa, or does not record the number of heads.
    """
    weights = state["model"]
    layers = layer_numbers(weights)
    if EMBEDDING not in weights or POSITIONS not in weights or not layers:
        raise ValueError("the checkpoint is not a RoBERTa: it lacks embeddings or layers")
    width = weights[EMBEDDING].shape[1]
    options = model_config(state)
    heads = options.get("encoder_attention_heads") or width // 64
    if not isinstance(heads, int) or heads < 1 or width % heads:
        raise ValueError(
            f"the checkpoint's options must have a number of heads that divides the width {width}, but have {heads!r}"
        )
    return {
        **options,
        "encoder_layers": len(layers),
        "encoder_embed_dim": width,
        "encoder_ffn_embed_dim": weights[f"{BODY}layers.0.fc1.weight"].shape[0],
        "encoder_attention_heads": heads,
        "max_positions": weights[POSITIONS].shape[0] - 2,
    }


def training_data_folder(state: dict[str, Any]) -> Optional[Path]:
    """Return the first data folder that a checkpoint was trained on, ``None`` if not recorded."""
    return next(iter(training_data_folders(state)), None)


def training_data_folders(state: dict[str, Any]) -> list[Path]:
    """Return all data folders that a checkpoint was trained on; they share a dictionary."""
    task = (state.get("cfg") or {}).get("task")
    data = task.get("data") if isinstance(task, dict) else getattr(task, "data", None)
    data = data or getattr(state.get("args"), "data", None)
    return [Path(part) for part in str(data).split(":")] if data else []


def model_beside_data(state: dict[str, Any], checkpoint: PathLike, flag: str) -> Path:
    """Return the SentencePiece model in a data folder that a checkpoint was trained on, or next to the checkpoint, as
    XLM-R is published.

    Raises:
        FileNotFoundError: the file is missing; the message names the flag for another.
    """
    for folder in (*training_data_folders(state), Path(checkpoint).parent):
        if (folder / SPM_FILENAME).is_file():
            return folder / SPM_FILENAME
    raise FileNotFoundError(
        f"the SentencePiece model of {checkpoint} is neither in its data folder ({training_data_folder(state)}) nor "
        f"next to it; name it with {flag} MODEL"
    )
