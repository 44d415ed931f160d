"""Reads Hugging Face folders of XLM-R's architecture: XLM-R, Glot500-m, the published LangSAMP, our own exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple, Optional

from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.loading import read_saved
from langsamp_plugin.checkpoint.roberta import check_finite, check_tags
from langsamp_plugin.errors import check_readable, error_context

KINDS = ("xlm-roberta", "xlm-roberta-xl")
SIZES = {
    "vocab_size": 10**8, "hidden_size": 10**6, "intermediate_size": 10**7, "num_hidden_layers": 1000,
    "num_attention_heads": 10**4, "max_position_embeddings": 10**7,
}  # fmt: skip
"""Numeric fields of a configuration, and an upper limit for each."""
SHARES = ("layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob")
FIXED: dict[str, Any] = {
    "is_decoder": False,
    "position_embedding_type": "absolute",
    "hidden_act": "gelu",
    "pad_token_id": 1,  # positions count from it
}
"""Fields of a configuration that change what a model computes and have one value in fairseq."""
SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"


class HFFolder(NamedTuple):
    """Contents of a model folder.

    Args:
        path: the folder.
        config: ``config.json``.
        weights: all tensors by their names in the file; they are memory-mapped, not copied.
    """

    path: Path
    config: dict[str, Any]
    weights: dict[str, Tensor]


def read_hf_folder(path: PathLike, allow_pickle: bool = False) -> HFFolder:
    """Read configuration and weights.

    Args:
        path: the folder.
        allow_pickle: also read ``pytorch_model.bin``. Torch then builds only tensors and plain containers
            (``weights_only=True``). A pickle is still a program, so reading one is opt-in.

    Raises:
        FileNotFoundError: the folder, ``config.json`` or the weights are missing.
        ValueError: the model has another architecture, or a file is damaged or carries code.
    """
    path = Path(path)
    if path.is_file():
        what = (
            "is a file: name its folder"
            if path.name == "config.json" or path.suffix in (".safetensors", ".bin", ".json")
            else "is a file: a checkpoint of fairseq needs no import, and `langsamp export` makes a folder of it"
        )
        raise ValueError(f"{path} must be a Hugging Face folder, but {what}")
    config = read_config(path)
    kind = config.get("model_type")
    if kind not in KINDS:
        raise ValueError(f"{path} has model_type {kind!r}, but only {' and '.join(KINDS)} can be imported")
    for name, wanted in FIXED.items():
        if config.get(name, wanted) != wanted:
            raise ValueError(f"{path / 'config.json'}: {name} must be {wanted}, but is {config[name]}")
    lacking = sorted(SIZES.keys() - config.keys())
    if lacking:
        raise ValueError(f"{path / 'config.json'} lacks {' '.join(lacking)}")
    weights = read_weights(path, allow_pickle)
    if weights is None:
        if _files(path, PICKLED):
            raise ValueError(
                f"{path} has its weights only as {PICKLED}, a pickle: add --allow-pickle if you trust its source, or "
                "convert it to safetensors"
            )
        raise FileNotFoundError(f"{path} has no {SAFE} and no {PICKLED}: download or copy the folder again")
    with error_context(path):
        check_finite(weights, "training has diverged")
    return HFFolder(path, config, weights)


def read_weights(folder: Path, allow_pickle: bool = False) -> Optional[dict[str, Tensor]]:
    """Read all tensors of a folder; ``None`` if it has neither safetensors nor a pickle that may be opened.

    Raises:
        ValueError: a file is damaged, or carries code.
    """
    for name, read in ((SAFE, read_safetensors), (PICKLED, _read_pickle)):
        files = _files(folder, name)
        if files and (name == SAFE or allow_pickle):
            weights: dict[str, Tensor] = {}
            for file in files:
                weights.update(read(file))
            return weights
    return None


def read_config(folder: PathLike) -> dict[str, Any]:
    """Read ``config.json`` and check those fields that are present and that this package uses.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the content is not a JSON object, or a value has the wrong type or is out of range.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {folder} is not a Hugging Face folder")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError(f"must be a JSON object, but is a {type(config).__name__}")
        for name, most in SIZES.items():
            value = config.get(name, 1)
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(f"{name} must be a whole number from 1 to {most:,}, but is {value!r}")
        if config.get("hidden_size", 0) % config.get("num_attention_heads", 1):
            raise ValueError(
                f"hidden_size is {config['hidden_size']}, which {config['num_attention_heads']} heads cannot share"
            )
        for name in SHARES:
            value = config.get(name, 0.0)
            if type(value) not in (int, float) or not 0 <= value <= 1:
                raise ValueError(f"{name} must be a number from 0 to 1, but is {value!r}")
        check_tags(config.get("langsamp_tags"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a model configuration: {error}") from error
    return config


def _files(folder: Path, name: str) -> list[Path]:
    """Return the single weight file, or the files that an index lists."""
    if (folder / name).is_file():
        return [folder / name]
    index = folder / f"{name}.index.json"
    if not index.is_file():
        return []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{index} is damaged: {error}") from error
    for part in names:
        if not isinstance(part, str) or Path(part).name != part or not (folder / part).is_file():
            raise FileNotFoundError(f"{index} names {part}, which is not in the folder")
    return [folder / part for part in names]


def check_weights(folder: PathLike) -> None:
    """Open a folder's safetensors files to check that they are complete.

    Raises:
        ValueError: a file is damaged or cut off.
    """
    for path in _files(Path(folder), SAFE):
        read_safetensors(path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the memory-mapped tensors of a file.

    Raises:
        ValueError: the file is damaged or cut off.
        PermissionError: the file is not readable; the library would report it as missing.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_readable(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or cut off, get it again: {error}") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    weights = read_saved(path)
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise ValueError(f"{path} must be a dictionary of tensors")
    return weights
