"""fairseq's names for the weights of a RoBERTa and of the two tables."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor

from langsamp_plugin.lang_script import CODE_TABLES, CodeTable
from langsamp_plugin.modules.second_names import second_names
from langsamp_plugin.modules.sizes import BODY

EMBEDDING = f"{BODY}embed_tokens.weight"
POSITIONS = f"{BODY}embed_positions.weight"
VERSION = f"{BODY}version"
HEAD = "encoder.lm_head."


def table_prefix(kind: type[CodeTable]) -> str:
    """Return ``encoder.lang_embedding.`` or ``encoder.script_embedding.``; ``weight`` and ``codes`` follow this
    prefix."""
    return f"encoder.{kind.short}_embedding."


TABLE_KEYS = tuple(f"{table_prefix(kind)}{part}" for kind in CODE_TABLES for part in ("weight", "codes"))
"""Weights specific to LangSAMP: an export stores them in a separate file, since no stock model has them."""


def is_xl(fairseq_names: Iterable[str]) -> bool:
    """Return whether a fairseq state dict has XLM-R XL's LayerNorm after the last block."""
    return f"{BODY}layer_norm.weight" in fairseq_names


def modern_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return fairseq weights under current names, as fairseq's own models do on loading.

    In 2019, when XLM-R was published, the encoder was called decoder, ``layernorm_embedding`` was ``emb_layer_norm``,
    and the three projections of attention could be one matrix. The :func:`second_names` of fairseq 0.12.2 are dropped.
    """
    copies = set(second_names(weights))
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name in copies:
            continue
        name = re.sub(r"^decoder\.", "encoder.", name).replace(".emb_layer_norm.", ".layernorm_embedding.")
        fused = re.search(r"\.in_proj_(weight|bias)$", name)
        if fused is None:
            renamed[name] = tensor
            continue
        for part, chunk in zip("qkv", tensor.chunk(3)):
            renamed[f"{name[: fused.start()]}.{part}_proj.{fused.group(1)}"] = chunk
    return renamed
