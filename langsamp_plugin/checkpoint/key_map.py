"""The names of the same weights in fairseq and in Hugging Face: one table, read in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor

EMBEDDING = "encoder.sentence_encoder.embed_tokens.weight"
POSITIONS = "encoder.sentence_encoder.embed_positions.weight"
VERSION = "encoder.sentence_encoder.version"
HEAD = "encoder.lm_head."

FAIRSEQ_TO_HF: dict[str, str | None] = {
    "encoder.sentence_encoder.embed_tokens.weight": "roberta.embeddings.word_embeddings.weight",
    "encoder.sentence_encoder.embed_positions.weight": "roberta.embeddings.position_embeddings.weight",
    "encoder.sentence_encoder.layernorm_embedding.weight": "roberta.embeddings.LayerNorm.weight",
    "encoder.sentence_encoder.layernorm_embedding.bias": "roberta.embeddings.LayerNorm.bias",
    "encoder.sentence_encoder.layers.{n}.self_attn.q_proj.weight": "roberta.encoder.layer.{n}.attention.self.query.weight",
    "encoder.sentence_encoder.layers.{n}.self_attn.q_proj.bias": "roberta.encoder.layer.{n}.attention.self.query.bias",
    "encoder.sentence_encoder.layers.{n}.self_attn.k_proj.weight": "roberta.encoder.layer.{n}.attention.self.key.weight",
    "encoder.sentence_encoder.layers.{n}.self_attn.k_proj.bias": "roberta.encoder.layer.{n}.attention.self.key.bias",
    "encoder.sentence_encoder.layers.{n}.self_attn.v_proj.weight": "roberta.encoder.layer.{n}.attention.self.value.weight",
    "encoder.sentence_encoder.layers.{n}.self_attn.v_proj.bias": "roberta.encoder.layer.{n}.attention.self.value.bias",
    "encoder.sentence_encoder.layers.{n}.self_attn.out_proj.weight": "roberta.encoder.layer.{n}.attention.output.dense.weight",
    "encoder.sentence_encoder.layers.{n}.self_attn.out_proj.bias": "roberta.encoder.layer.{n}.attention.output.dense.bias",
    "encoder.sentence_encoder.layers.{n}.self_attn_layer_norm.weight": "roberta.encoder.layer.{n}.attention.output.LayerNorm.weight",
    "encoder.sentence_encoder.layers.{n}.self_attn_layer_norm.bias": "roberta.encoder.layer.{n}.attention.output.LayerNorm.bias",
    "encoder.sentence_encoder.layers.{n}.fc1.weight": "roberta.encoder.layer.{n}.intermediate.dense.weight",
    "encoder.sentence_encoder.layers.{n}.fc1.bias": "roberta.encoder.layer.{n}.intermediate.dense.bias",
    "encoder.sentence_encoder.layers.{n}.fc2.weight": "roberta.encoder.layer.{n}.output.dense.weight",
    "encoder.sentence_encoder.layers.{n}.fc2.bias": "roberta.encoder.layer.{n}.output.dense.bias",
    "encoder.sentence_encoder.layers.{n}.final_layer_norm.weight": "roberta.encoder.layer.{n}.output.LayerNorm.weight",
    "encoder.sentence_encoder.layers.{n}.final_layer_norm.bias": "roberta.encoder.layer.{n}.output.LayerNorm.bias",
    "encoder.lm_head.dense.weight": "lm_head.dense.weight",
    "encoder.lm_head.dense.bias": "lm_head.dense.bias",
    "encoder.lm_head.layer_norm.weight": "lm_head.layer_norm.weight",
    "encoder.lm_head.layer_norm.bias": "lm_head.layer_norm.bias",
    "encoder.lm_head.bias": "lm_head.bias",
    # Dropped on purpose: the head's projection is the word embedding (export checks that it is), and Hugging Face
    # ties it again on loading; the version of fairseq's module says nothing about weights.
    "encoder.lm_head.weight": None,
    "encoder.sentence_encoder.version": None,
}

_BODY = "encoder.sentence_encoder."
FAIRSEQ_TO_HF_XL: dict[str, str | None] = {
    **{name: target for name, target in FAIRSEQ_TO_HF.items() if "layernorm_embedding" not in name},
    **{
        f"{_BODY}{name}.{part}": f"roberta.encoder.{target}.{part}"
        for name, target in (
            ("layers.{n}.self_attn_layer_norm", "layer.{n}.attention.self_attn_layer_norm"),
            ("layers.{n}.final_layer_norm", "layer.{n}.LayerNorm"),
            ("layer_norm", "LayerNorm"),
        )
        for part in ("weight", "bias")
    },
}
"""XLM-R XL: LayerNorm before each block and after the last, none after the embeddings."""

TABLE_KEYS = (
    "encoder.lang_embedding.weight",
    "encoder.lang_embedding.codes",
    "encoder.script_embedding.weight",
    "encoder.script_embedding.codes",
)
"""Of LangSAMP alone: they go into a file of their own, since no stock model has a place for them."""

HF_DROPPED = {
    r"roberta\.pooler\.dense\.(weight|bias)": "XLM-R's pooler was never trained",
    r"roberta\.embeddings\.(position_ids|token_type_ids)": "constants, no weights",
    r"roberta\.embeddings\.token_type_embeddings\.weight": "fairseq has none; its one row is added to the positions",
    r"lm_head\.decoder\.(weight|bias)": "second names of the word embedding and of the head's bias",
}
"""What an import leaves out on purpose, and why."""

_LAYER = re.compile(r"(?<=layers\.)\d+(?=\.)")
_HF_LAYER = re.compile(r"(?<=layer\.)\d+(?=\.)")


def is_xl(fairseq_names: Iterable[str]) -> bool:
    """Return whether a fairseq state dict has XLM-R XL's LayerNorm after the last block."""
    return f"{_BODY}layer_norm.weight" in fairseq_names


def hf_names(fairseq_names: Iterable[str]) -> dict[str, str | None]:
    """Map the names of a fairseq state dict.

    Returns:
        fairseq name -> Hugging Face name, ``None`` for what is dropped on purpose; :data:`TABLE_KEYS` left out.

    Raises:
        ValueError: names that the table does not have; the message lists all of them.
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
        raise ValueError(f"these weights have no place in a Hugging Face XLM-R: {' '.join(sorted(unknown))}")
    return mapped


def fairseq_names(hf_names: Iterable[str], xl: bool = False) -> dict[str, str | None]:
    """Map the names of a Hugging Face state dict, with or without the prefix ``roberta.``.

    Args:
        hf_names: the names.
        xl: they are of ``xlm-roberta-xl``.

    Returns:
        Hugging Face name -> fairseq name, ``None`` for what :data:`HF_DROPPED` lists.

    Raises:
        ValueError: names that neither table has; the message lists all of them.
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
        raise ValueError(f"these weights have no place in a fairseq RoBERTa: {' '.join(sorted(unknown))}")
    return mapped


def modern_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return fairseq weights under today's names, as fairseq's own models do it when they load.

    In 2019, when XLM-R was published, the encoder was called decoder, ``layernorm_embedding`` was ``emb_layer_norm``, and
    the three projections of attention could be one matrix.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        name = re.sub(r"^decoder\.", "encoder.", name).replace(".emb_layer_norm.", ".layernorm_embedding.")
        fused = re.search(r"\.in_proj_(weight|bias)$", name)
        if fused is None:
            renamed[name] = tensor
            continue
        for part, chunk in zip("qkv", tensor.chunk(3)):
            renamed[f"{name[: fused.start()]}.{part}_proj.{fused.group(1)}"] = chunk
    return renamed
