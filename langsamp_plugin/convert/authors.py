"""The layout of the published model: both tables are weights of an XLM-R, and rows are identified by position alone.

The class in ``modeling_xlmr_decoupled.py`` of cisnlp/LangSAMP keeps the tables in its embedding module, has no token
types, and reads sizes and switches from ``config.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.tables import TagTables
from langsamp_plugin.lang_script import CODE_TABLES, CodeTable, Tables

AUTHORS_TABLES = tuple(f"roberta.embeddings.{kind.short}_type_embeddings.weight" for kind in CODE_TABLES)
"""Names of the two tables in the authors' class."""


def is_authors_layout(names: Iterable[str]) -> bool:
    """Return whether the weights include a table under one of the authors' names."""
    return not set(AUTHORS_TABLES).isdisjoint(names)


def published_inventory(folder: PathLike) -> Tables:
    """Read the codes of the rows from a folder; a missing file means the published list, as for a model with the
    other table alone.

    Raises:
        FileNotFoundError: the folder has neither file.
        ValueError: a file is malformed.
    """
    files = [Path(folder) / kind.filename for kind in CODE_TABLES]
    if not any(file.is_file() for file in files):
        raise FileNotFoundError(f"{folder} must have {files[0].name}, {files[1].name} or both, but has neither")
    found = [
        kind.load(file) if file.is_file() else published
        for kind, file, published in zip(CODE_TABLES, files, Tables.glot500())
    ]
    return Tables(found[0], found[1])


def authors_tables(
    weights: Mapping[str, Tensor], config: Mapping[str, Any], inventory: Optional[Tables] = None
) -> TagTables:
    """Return the tables of a model in the authors' layout.

    Args:
        weights: all tensors of the folder.
        config: its ``config.json``.
        inventory: the codes of the rows; by default the published 610 languages and 30 scripts, in order.

    Raises:
        ValueError: the tables are at the input, or their shape does not match the inventory and the model.
    """
    if config.get("decouple_at_input_embeddings"):
        raise ValueError(
            "config.json has decouple_at_input_embeddings: a model with its tables at the input cannot be converted"
        )
    width = config.get("hidden_size")
    codes: list[CodeTable] = []
    rows: list[Tensor] = []
    for name, table in zip(AUTHORS_TABLES, inventory or Tables.glot500()):
        if name not in weights:
            codes.append(type(table)([]))
            rows.append(torch.empty(0, int(width or 0)))
            continue
        weight = weights[name]
        if weight.dim() != 2 or weight.shape[1] != width or not weight.is_floating_point():
            raise ValueError(f"{name} must be a matrix of width {width}, but is {tuple(weight.shape)}")
        if not torch.isfinite(weight).all():
            raise ValueError(f"{name} has values that are not finite: training has diverged")
        if len(weight) != len(table):
            raise ValueError(
                f"{name} has {len(weight)} rows, but the inventory has {len(table)} {table.noun}s: name a folder whose "
                f"{table.filename} lists the codes in the order of the rows, --tables FOLDER"
            )
        codes.append(table)
        rows.append(weight)
    return TagTables(codes[0], codes[1], rows[0], rows[1])


def to_authors_layout(
    tensors: dict[str, Tensor], config: dict[str, Any], tables: Optional[TagTables]
) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Return weights and configuration as the authors' class reads them, and notes for the user.

    Each row goes to the position of its code in the published inventory. A published code that the model lacks gets a
    row of zeros, which leaves the head's output unchanged.

    Args:
        tensors, config: of a Hugging Face XLM-R.
        tables: the two tables.

    Raises:
        ValueError: the model has no tables, is an XL model, or has codes that the published inventory lacks.
    """
    if tables is None:
        raise ValueError("--layout authors needs a checkpoint with tables, but this one has none")
    if config["model_type"] != "xlm-roberta":
        raise ValueError(f"--layout authors is for xlm-roberta, but this model is {config['model_type']}")
    tensors = {name: tensor for name, tensor in tensors.items() if "token_type_embeddings" not in name}
    config = {
        **config,
        "architectures": ["XLMRobertaDecoupledForMaskedLM"],
        "decouple_at_input_embeddings": False,
        "use_lang_embedding": bool(len(tables.languages)),
        "use_script_embedding": bool(len(tables.scripts)),
    }
    notes = []
    for name, published, (codes, weight) in zip(AUTHORS_TABLES, Tables.glot500(), tables.both()):
        config[f"{codes.short}_size"] = len(published)
        if not len(codes):
            continue
        foreign = [code for code in codes if code not in set(published)]
        if foreign:
            raise ValueError(
                f"--layout authors has places for the published {codes.noun}s only, but the model has "
                f"{' '.join(foreign[:5])}{' ...' if len(foreign) > 5 else ''}: export without --layout"
            )
        rows = torch.zeros(len(published), weight.shape[1], dtype=weight.dtype)
        for code, row in zip(codes, weight):
            rows[published.id(code)] = row
        tensors[name] = rows
        if len(codes) < len(published):
            notes.append(
                f"{len(published) - len(codes)} published {codes.noun}s that the model lacks have rows of zeros"
            )
    return tensors, config, notes
