"""Names of the same weights in fairseq and in Hugging Face: one table that serves both directions."""

from __future__ import annotations

import re
from collections.abc import Iterable

from langsamp_plugin.checkpoint.weight_names import EMBEDDING, HEAD, POSITIONS, TABLE_KEYS, VERSION, is_xl
from langsamp_plugin.modules.sizes import BODY

BLOCK, HF_BLOCK = f"{BODY}layers.{{n}}.", "roberta.encoder.layer.{n}."

# Modules with a weight and a bias; {n} is the number of a block.
_BLOCK_LINEAR = {
    f"{BLOCK}self_attn.q_proj": f"{HF_BLOCK}attention.self.query",
    f"{BLOCK}self_attn.k_proj": f"{HF_BLOCK}attention.self.key",
    f"{BLOCK}self_attn.v_proj": f"{HF_BLOCK}attention.self.value",
    f"{BLOCK}self_attn.out_proj": f"{HF_BLOCK}attention.output.dense",
    f"{BLOCK}fc1": f"{HF_BLOCK}intermediate.dense",
    f"{BLOCK}fc2": f"{HF_BLOCK}output.dense",
}
_HEAD_MODULES = {f"{HEAD}dense": "lm_head.dense", f"{HEAD}layer_norm": "lm_head.layer_norm"}
_NORMS = {
    f"{BODY}layernorm_embedding": "roberta.embeddings.LayerNorm",
    f"{BLOCK}self_attn_layer_norm": f"{HF_BLOCK}attention.output.LayerNorm",
    f"{BLOCK}final_layer_norm": f"{HF_BLOCK}output.LayerNorm",
}
_NORMS_XL = {
    f"{BLOCK}self_attn_layer_norm": f"{HF_BLOCK}attention.self_attn_layer_norm",
    f"{BLOCK}final_layer_norm": f"{HF_BLOCK}LayerNorm",
    f"{BODY}layer_norm": "roberta.encoder.LayerNorm",
}


def _key_map(norms: dict[str, str]) -> dict[str, str | None]:
    modules = {**_BLOCK_LINEAR, **_HEAD_MODULES, **norms}
    return {
        EMBEDDING: "roberta.embeddings.word_embeddings.weight",
        POSITIONS: "roberta.embeddings.position_embeddings.weight",
        **{f"{name}.{part}": f"{target}.{part}" for name, target in modules.items() for part in ("weight", "bias")},
        f"{HEAD}bias": "lm_head.bias",
        # Dropped on purpose: the head's projection is the word embedding (export checks that it is), and Hugging Face
        # ties it again on loading; the version of fairseq's module says nothing about weights.
        f"{HEAD}weight": None,
        VERSION: None,
    }


FAIRSEQ_TO_HF = _key_map(_NORMS)
FAIRSEQ_TO_HF_XL = _key_map(_NORMS_XL)
"""XLM-R XL: LayerNorm before each block and after the last, none after the embeddings."""

HF_DROPPED = {
    r"roberta\.pooler\.dense\.(weight|bias)": "XLM-R's pooler was never trained",
    r"roberta\.embeddings\.(position_ids|token_type_ids)": "constants, not weights",
    r"roberta\.embeddings\.token_type_embeddings\.weight": "fairseq has none; its single row is added to the positions",
    r"roberta\.(lang|script)_embedding\.(weight|codes)": "the tables, read from langsamp.safetensors instead",
    r"lm_head\.decoder\.(weight|bias)": "duplicate names of the word embedding and of the head's bias",
}
"""Weights that an import deliberately drops, and why."""

_LAYER = re.compile(r"(?<=layers\.)\d+(?=\.)")
_HF_LAYER = re.compile(r"(?<=layer\.)\d+(?=\.)")


def hf_names(fairseq_names: Iterable[str]) -> dict[str, str | None]:
    """Map the names of a fairseq state dict.

    Returns:
        fairseq name -> Hugging Face name, ``None`` for weights dropped on purpose; without :data:`TABLE_KEYS`.

    Raises:
        ValueError: names that are not in the table; the message lists all of them.
    """
    names = list(fairseq_names)
    table = FAIRSEQ_TO_HF_XL if is_xl(names) else FAIRSEQ_TO_HF
    mapped: dict[str, str | None] = {}
    unknown = []
    for name in names:
        if name in TABLE_KEYS:
            continue
        layer = _LAYER.search(name)
        pattern = _LAYER.sub("{n}", name)
        if pattern not in table:
            unknown.append(name)
            continue
        target = table[pattern]
        mapped[name] = target.format(n=layer.group()) if target is not None and layer is not None else target
    if unknown:
        raise ValueError(f"these weights have no counterpart in a Hugging Face XLM-R: {' '.join(sorted(unknown))}")
    return mapped


def fairseq_names(hf_names: Iterable[str], xl: bool = False) -> dict[str, str | None]:
    """Map the names of a Hugging Face state dict, with or without the prefix ``roberta.``.

    Args:
        hf_names: the names.
        xl: whether the names are of ``xlm-roberta-xl``.

    Returns:
        Hugging Face name -> fairseq name, ``None`` for what :data:`HF_DROPPED` lists.

    Raises:
        ValueError: names that are in neither table; the message lists all of them.
    """
    table = {target: name for name, target in (FAIRSEQ_TO_HF_XL if xl else FAIRSEQ_TO_HF).items() if target is not None}
    mapped: dict[str, str | None] = {}
    unknown = []
    for name in hf_names:
        full = name if name.startswith(("roberta.", "lm_head.")) else f"roberta.{name}"
        layer = _HF_LAYER.search(full)
        pattern = _HF_LAYER.sub("{n}", full)
        if pattern in table:
            target = table[pattern]
            mapped[name] = target.format(n=layer.group()) if layer is not None else target
        elif any(re.fullmatch(dropped, full) for dropped in HF_DROPPED):
            mapped[name] = None
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f"these weights have no counterpart in a fairseq RoBERTa: {' '.join(sorted(unknown))}")
    return mapped
