"""Reading a Hugging Face folder: XLM-R, Glot500-m, one of our own, whatever has their architecture."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike

KINDS = ("xlm-roberta", "xlm-roberta-xl")
SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"


class HFFolder(NamedTuple):
    """What lies in a folder.

    Args:
        path: the folder.
        config: ``config.json``.
        weights: all tensors by their names in the file, mapped from it and not copied.
    """

    path: Path
    config: dict[str, Any]
    weights: dict[str, Tensor]


def read_hf_folder(path: PathLike, allow_pickle: bool = False) -> HFFolder:
    """Read configuration and weights.

    Args:
        path: the folder.
        allow_pickle: also read ``pytorch_model.bin``. Torch then builds tensors and plain containers only
            (``weights_only=True``), but a pickle is still a program, so it must be asked for.

    Raises:
        FileNotFoundError: the folder, ``config.json`` or the weights are missing.
        ValueError: the model is of another architecture, or a file is damaged or carries code.
    """
    path = Path(path)
    if not (path / "config.json").is_file():
        raise FileNotFoundError(f"{path / 'config.json'} is missing: {path} is no Hugging Face folder")
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        kind = config["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path / 'config.json'} is no model configuration: {error}") from error
    if kind not in KINDS:
        raise ValueError(f"{path} has model_type {kind!r}, but only {' and '.join(KINDS)} can be imported")
    for name, wanted in (("is_decoder", False), ("position_embedding_type", "absolute"), ("hidden_act", "gelu")):
        if config.get(name, wanted) != wanted:
            raise ValueError(f"{path / 'config.json'}: {name} must be {wanted}, but is {config[name]}")
    for name, read in ((SAFE, _read_safetensors), (PICKLED, _read_pickle)):
        files = _files(path, name)
        if not files:
            continue
        if name == PICKLED and not allow_pickle:
            raise ValueError(
                f"{path} has its weights only as {PICKLED}, a pickle: add --allow-pickle if you trust where it comes from, "
                "or convert it to safetensors"
            )
        weights: dict[str, Tensor] = {}
        for file in files:
            weights.update(read(file))
        return HFFolder(path, config, weights)
    raise FileNotFoundError(f"{path} has no {SAFE} and no {PICKLED}")


def _files(folder: Path, name: str) -> list[Path]:
    """Return the one file, or those that an index lists."""
    if (folder / name).is_file():
        return [folder / name]
    index = folder / f"{name}.index.json"
    if not index.is_file():
        return []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{index} is damaged: {error}") from error
    for part in names:
        if Path(part).name != part or not (folder / part).is_file():
            raise FileNotFoundError(f"{index} names {part}, which is not in the folder")
    return [folder / part for part in names]


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or cut off, get it again: {error}") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{path} is damaged, or carries objects that could run code: {first}") from error
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise ValueError(f"{path} must be a dictionary of tensors")
    return weights
