"""The two tables of a starting checkpoint: rows are matched by code, new ones are drawn or copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import torch

from langsamp_plugin.checkpoint.options import training_data_folder
from langsamp_plugin.checkpoint.weight_names import EMBEDDING, table_prefix
from langsamp_plugin.lang_script import LanguageTable, Tables
from langsamp_plugin.modules.tag_embedding import INIT_STD, decode_codes, encode_codes, move_rows


def chosen_inventory(tables: str, state: dict[str, Any]) -> Optional[Tables]:
    """Return the inventory that ``--tables`` names, ``None`` for the existing one.

    Raises:
        FileNotFoundError: a folder has no tables.
    """
    if tables == "auto":
        return None
    if tables == "glot500":
        return Tables.glot500()
    if tables != "data":
        return Tables.load(tables)
    folder = training_data_folder(state)
    if folder is None or not (folder / LanguageTable.filename).is_file():
        raise FileNotFoundError(
            f"--tables data: the source's data folder ({folder}) has no {LanguageTable.filename}; name a folder that "
            "has it"
        )
    return Tables.load(folder)


def parse_donors(pairs: Sequence[str]) -> dict[str, str]:
    """Return new code -> old code from ``NEW=OLD``.

    Raises:
        ValueError: a pair is something else.
    """
    found = {}
    for pair in pairs:
        new, _, old = pair.partition("=")
        if len(new) != len(old) or len(new) not in (3, 4):
            raise ValueError(f"--donors must be NEW=OLD,... with two codes of one kind, but is {pair!r}")
        found[new] = old
    return found


def with_tables(
    weights: dict[str, Any], tables: Tables, *, new_rows: str, donors: dict[str, str], seed: int
) -> dict[str, Any]:
    """Return the weights with tables of this inventory; existing rows are carried over by code."""
    weights = dict(weights)
    embedding = weights[EMBEDDING]
    for codes in tables:
        name = table_prefix(type(codes))
        generator = torch.Generator().manual_seed(seed + len(codes.short))
        rows = torch.randn(len(codes), embedding.shape[1], generator=generator) * INIT_STD
        old = weights.get(f"{name}weight")
        if old is not None:
            own_donors = {
                new: donor for new, donor in donors.items() if (len(new) == 3) == (type(codes) is LanguageTable)
            }
            old_codes = decode_codes(weights[f"{name}codes"])
            rows, moved = move_rows(old, old_codes, rows, list(codes), new_rows, own_donors)
            if moved.dropped:
                raise ValueError(f"--tables lacks codes that the checkpoint has rows for: {' '.join(moved.dropped)}")
        weights[f"{name}weight"], weights[f"{name}codes"] = rows.to(embedding.dtype), encode_codes(codes)
    return weights
