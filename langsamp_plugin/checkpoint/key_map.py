"""The names of the same weights in fairseq and in Hugging Face: one table, read in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterable

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

TABLE_KEYS = (
    "encoder.lang_embedding.weight",
    "encoder.lang_embedding.codes",
    "encoder.script_embedding.weight",
    "encoder.script_embedding.codes",
)
"""Of LangSAMP alone: they go into a file of their own, since no stock model has a place for them."""

_LAYER = re.compile(r"(?<=layers\.)\d+(?=\.)")


def hf_names(fairseq_names: Iterable[str]) -> dict[str, str | None]:
    """Map the names of a fairseq state dict.

    Returns:
        fairseq name -> Hugging Face name, ``None`` for what is dropped on purpose; :data:`TABLE_KEYS` left out.

    Raises:
        ValueError: names that the table does not have; the message lists all of them.
    """
    mapped: dict[str, str | None] = {}
    unknown = []
    for name in fairseq_names:
        if name in TABLE_KEYS:
            continue
        layer = _LAYER.search(name)
        pattern = _LAYER.sub("{n}", name)
        if pattern not in FAIRSEQ_TO_HF:
            unknown.append(name)
            continue
        target = FAIRSEQ_TO_HF[pattern]
        mapped[name] = target.format(n=layer.group()) if target is not None and layer is not None else target
    if unknown:
        raise ValueError(f"these weights have no place in a Hugging Face XLM-R: {' '.join(sorted(unknown))}")
    return mapped
