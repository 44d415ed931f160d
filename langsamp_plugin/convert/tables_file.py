"""Stores the two trained tables next to an exported model, and reads tables in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike, atomic_write
from langsamp_plugin.checkpoint.roberta import load_roberta
from langsamp_plugin.checkpoint.tables import TagTables, checkpoint_tables
from langsamp_plugin.convert.authors import authors_tables, is_authors_layout
from langsamp_plugin.convert.hf_folder import PICKLED, read_config, read_safetensors, read_weights
from langsamp_plugin.errors import error_context
from langsamp_plugin.lang_script import CODE_TABLES, Tables

TABLES_FILENAME = "langsamp.safetensors"
TENSORS = tuple(f"{kind.short}_embedding.weight" for kind in CODE_TABLES)
UNFOLDED_BIAS = "lm_head.dense.bias"
"""Present in that file only if a tag was folded into the head: the original bias, so that nothing is lost."""


def save_tables(tables: TagTables, folder: PathLike, unfolded_bias: Optional[Tensor] = None) -> None:
    """Write ``langsamp.safetensors``, ``languages.tsv`` and ``scripts.tsv``.

    Args:
        tables: the tables.
        folder: the folder of the exported model.
        unfolded_bias: the original bias of the head's first layer, if a tag was folded into the exported head.
    """
    from safetensors.torch import save

    folder = Path(folder)
    tensors = {name: weight.contiguous() for name, (_, weight) in zip(TENSORS, tables.both())}
    if unfolded_bias is not None:
        tensors[UNFOLDED_BIAS] = unfolded_bias.contiguous()
    # Not save_file, which creates a file that only its owner can read.
    with atomic_write(folder / TABLES_FILENAME, "wb") as stream:
        stream.write(save(tensors, metadata={"format": "pt"}))
    for codes, _ in tables.both():
        codes.save(folder / codes.filename)


def load_tables(model: PathLike) -> TagTables:
    """Read the tables of a checkpoint file or an exported folder.

    Raises:
        FileNotFoundError: the model does not exist.
        ValueError: the model has no tables, or a file is damaged.
    """
    path = Path(model)
    if not path.exists():
        raise FileNotFoundError(f"model {path} is missing")
    if path.is_file():
        return tables_of(load_roberta(path), path)
    file = path / TABLES_FILENAME
    if not file.is_file():
        published = read_authors_tables(path)
        if published is not None:
            return published
        if read_weights(path) is None and any(path.glob(f"{PICKLED}*")):
            raise ValueError(
                f"{path} has no {TABLES_FILENAME}, and has its weights only as {PICKLED}, a pickle: convert it to "
                f"safetensors, or make a checkpoint of it with `langsamp import {path} --allow-pickle --out CKPT`"
            )
        raise ValueError(f"{path} has no {TABLES_FILENAME}: it was not exported from a LangSAMP checkpoint")
    tensors = read_table_tensors(file)
    width = read_config(path).get("hidden_size")
    codes, weights = [], []
    for kind, name in zip(CODE_TABLES, TENSORS):
        weight = tensors[name]
        if len(weight) and weight.shape[1] != width:
            raise ValueError(f"{file} has a table of width {weight.shape[1]}, but the model has {width}")
        if len(weight) and not (path / kind.filename).is_file():
            raise FileNotFoundError(f"{path / kind.filename} is missing: it names the rows of {TABLES_FILENAME}")
        table = kind.load(path / kind.filename) if len(weight) else kind([])
        if len(table) != len(weight):
            raise ValueError(f"{path / kind.filename} must have {len(weight)} codes, one per row, but has {len(table)}")
        codes.append(table)
        weights.append(weight.float())
    return TagTables(codes[0], codes[1], weights[0], weights[1])


def tables_of(state: dict[str, Any], path: PathLike) -> TagTables:
    """Return the tables of a checkpoint that was read from a path.

    Raises:
        ValueError: it has none.
    """
    tables = checkpoint_tables(state)
    if tables is None:
        raise ValueError(f"{path} has no language and no script table: it was not trained with LangSAMP")
    return tables


def read_authors_tables(
    folder: Path, inventory: Optional[Tables] = None, allow_pickle: bool = False
) -> Optional[TagTables]:
    """Read the tables of a folder in the authors' layout, float32; ``None`` if the folder has another layout.

    Args:
        folder: a Hugging Face folder.
        inventory: codes of the rows; by default the published 610 languages and 30 scripts.
        allow_pickle: also read ``pytorch_model.bin``, without running code from it.

    Raises:
        ValueError: the shape of the tables does not match the inventory.
    """
    weights = read_weights(folder, allow_pickle)
    if weights is None or not is_authors_layout(weights):
        return None
    with error_context(folder):
        found = authors_tables(weights, read_config(folder), inventory)
    return found._replace(lang_weight=found.lang_weight.float(), script_weight=found.script_weight.float())


def read_table_tensors(path: PathLike) -> dict[str, Tensor]:
    """Read ``langsamp.safetensors`` unchanged.

    Raises:
        ValueError: the file is damaged, or lacks a table.
    """
    tensors = read_safetensors(Path(path))
    for name in TENSORS:
        if name not in tensors:
            raise ValueError(f"{path} is damaged: it has no {name}")
        if tensors[name].dim() != 2 or not tensors[name].is_floating_point():
            raise ValueError(f"{path} is damaged: {name} is not a matrix of numbers")
        if not torch.isfinite(tensors[name]).all():
            raise ValueError(f"{path}: {name} has values that are not finite: training has diverged")
    return tensors
