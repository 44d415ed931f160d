"""Verifies a conversion: fairseq's and Megatron's models encode the same sentences, and every layer is compared."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from langsamp_plugin.checkpoint.fairseq_model import build_model
from langsamp_plugin.checkpoint.tables import checkpoint_tables
from langsamp_plugin.checkpoint.weight_names import POSITIONS
from langsamp_plugin.convert.verification import encode_sentences, layers, logits
from langsamp_plugin.convert.verification_table import LIMIT, Comparison, Verification
from langsamp_plugin.lang_script import UNKNOWN_ID, LangScript, Tables
from langsamp_plugin.megatron.cpu import on_cpu
from langsamp_plugin.megatron.parallel import alone
from langsamp_plugin.megatron.sizes import transformer_config
from langsamp_plugin.megatron.stored import check_stored
from langsamp_plugin.megatron.weights import FAIRSEQ_TOKEN_TYPES, folded_positions
from langsamp_plugin.vocabulary.tokenizer import PAD, Tokenizer


def verify_stored(
    state: dict[str, Any], tokenizer: Tokenizer, folder: Path, about: Any, padded: Optional[int]
) -> Verification:
    """Compare a fairseq checkpoint with one of Megatron-Core, loaded by Megatron's own reader.

    Args:
        state: fairseq's checkpoint; positions and token type may be separate.
        tokenizer: its SentencePiece model.
        folder: Megatron's checkpoint.
        about: its description.
        padded: number of rows of its word embedding, if known.

    Returns:
        A row for the embedding, each layer, and the logits of a tag.
    """
    weights = dict(state["model"])
    row = weights.pop(FAIRSEQ_TOKEN_TYPES, None)
    if row is not None:
        weights[POSITIONS] = folded_positions(weights[POSITIONS], row)
    state = {**state, "model": weights}
    tokens = encode_sentences(tokenizer)
    real, masked = tokens.ne(PAD), tokens.eq(tokenizer.vocab_size - 1)
    tag = next(iter(about.tags), None)
    with torch.no_grad():
        model = build_model(state, tokenizer)
        ours, our_logits = layers(model, tokens), logits(model, tokens, masked, tag)
        del model
        theirs, their_logits = _megatron(state, folder, about, padded, tokens, masked, tag)
    rows = [
        Comparison("embedding" if number == 0 else f"block {number}", _difference(one[real], other[real]), LIMIT)
        for number, (one, other) in enumerate(zip(ours, theirs))
    ]
    if len(ours) != len(theirs):
        rows.append(Comparison("number of blocks", abs(len(ours) - len(theirs)), 0))
    what = f"logits for {tag}" if tag else "logits"
    return Verification([*rows, Comparison(what, _difference(our_logits, their_logits), LIMIT)], [])


def _megatron(
    state: dict[str, Any], folder: Path, about: Any, padded: Optional[int], tokens: Tensor, masked: Tensor,
    tag: Optional[str],
) -> tuple[list[Tensor], Tensor]:  # fmt: skip
    """Return Megatron's states (B, T, C) after the embedding and each block, and its logits (N, vocabulary)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # warnings about absent Apex and Transformer Engine
        from megatron.core import dist_checkpointing

        from langsamp_plugin.megatron.model import LangSampBertModel

    sizes = about.sizes
    found = checkpoint_tables(state)
    tables = Tables(found.languages, found.scripts) if found is not None else None
    states: list[Tensor] = []
    with alone(), on_cpu():
        model = LangSampBertModel(
            transformer_config(sizes, use_cpu_initialization=True), num_words=sizes.words, padded_words=padded,
            max_positions=sizes.positions, tables=tables, embed_tags=sizes.embed_tags, post_norm=sizes.post_norm,
            token_types=sizes.token_types,
        )  # fmt: skip
        # Megatron's own reader unpickles, so the folder is checked first.
        wanted = {"model": model.sharded_state_dict()}
        model.load_state_dict(dist_checkpointing.load(wanted, str(check_stored(folder)))["model"])
        model.float().eval()
        if sizes.post_norm:  # a block's output is the next layer's LayerNorm
            for layer in model.encoder.layers:
                layer.input_layernorm.register_forward_hook(lambda module, inputs, out: states.append(out))
        else:
            for layer in model.encoder.layers:
                layer.register_forward_pre_hook(
                    lambda module, inputs, named: states.append(named["hidden_states"]), with_kwargs=True
                )
        h_TBC = model.encode(tokens, tokens.ne(PAD))
        ids = [UNKNOWN_ID, UNKNOWN_ID]
        if tag is not None and tables is not None:
            parsed = LangScript.parse(tag)
            for place, (codes, code) in enumerate(zip(tables, parsed)):
                ids[place] = codes.id(code) if len(codes) else UNKNOWN_ID
        h_BTC = h_TBC.transpose(0, 1)
        tags_BC = model.tag_embedding(*(torch.full((len(tokens),), number) for number in ids))
        rows_BTC = h_BTC if tags_BC is None else h_BTC + tags_BC[:, None]
        found_logits = model.logits(rows_BTC[masked])[:, : sizes.words]
    return [*(state.transpose(0, 1) for state in states), h_BTC], found_logits


def _difference(one: Tensor, other: Tensor) -> float:
    """Return the largest difference, relative to the largest value if that is above 1, because rounding grows with
    it."""
    return (one - other).abs().max().item() / max(1.0, other.abs().max().item())
