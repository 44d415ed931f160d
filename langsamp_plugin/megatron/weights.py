"""Names and shapes of the same weights in fairseq and in Megatron-Core: one table that serves both directions.

Three things differ in addition to the names. Megatron stores query, key and value in one matrix, head by head; the
LayerNorms of a post-LN model are shifted by one (see :mod:`langsamp_plugin.megatron.layer`); and the vocabulary is
padded with unused rows. Positions need no change, because the model counts them like XLM-R.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from langsamp_plugin.checkpoint.weight_names import EMBEDDING, HEAD, POSITIONS, TABLE_KEYS, VERSION
from langsamp_plugin.megatron.sizes import ModelSizes
from langsamp_plugin.modules.sizes import BODY

WORDS = "embedding.word_embeddings.weight"
BIAS = "output_layer.bias"
TOKEN_TYPES = "embedding.tokentype_embeddings.weight"
FAIRSEQ_TOKEN_TYPES = f"{BODY}token_types.weight"
"""A name specific to this package: fairseq has no token types, but the row is kept for export to Hugging Face."""
PADDED = (WORDS, BIAS)
PARTS = ("weight", "bias")

_PLAIN = {"self_attn.out_proj": "self_attention.linear_proj", "fc1": "mlp.linear_fc1", "fc2": "mlp.linear_fc2"}
# The axis of tensor-parallel slices: outputs (0) or inputs (1); everything else is replicated.
_SLICED = {
    "word_embeddings.weight": 0, "output_layer.bias": 0, "linear_qkv.weight": 0, "linear_qkv.bias": 0,
    "linear_fc1.weight": 0, "linear_fc1.bias": 0, "linear_proj.weight": 1, "linear_fc2.weight": 1,
}  # fmt: skip


def plain_names(sizes: ModelSizes) -> Iterator[tuple[str, str]]:
    """Yield ``(fairseq's name, Megatron's name)`` of all weights that are equal tensors on both sides."""
    yield EMBEDDING, WORDS
    yield POSITIONS, "embedding.position_embeddings.weight"
    yield f"{HEAD}bias", BIAS
    if sizes.token_types:
        yield FAIRSEQ_TOKEN_TYPES, TOKEN_TYPES
    modules = {f"{HEAD}dense": "lm_head.dense", f"{HEAD}layer_norm": "lm_head.layer_norm"}
    for number in range(sizes.layers):
        ours, theirs = f"{BODY}layers.{number}.", f"encoder.layers.{number}."
        modules.update({f"{ours}{one}": f"{theirs}{other}" for one, other in _PLAIN.items()})
        if sizes.post_norm:
            modules[f"{BODY}layers.{number - 1}.final_layer_norm" if number else f"{BODY}layernorm_embedding"] = (
                f"{theirs}input_layernorm"
            )
            modules[f"{ours}self_attn_layer_norm"] = f"{theirs}pre_mlp_layernorm"
        else:
            modules[f"{ours}self_attn_layer_norm"] = f"{theirs}input_layernorm"
            modules[f"{ours}final_layer_norm"] = f"{theirs}pre_mlp_layernorm"
    last = f"{BODY}layers.{sizes.layers - 1}.final_layer_norm" if sizes.post_norm else f"{BODY}layer_norm"
    modules[last] = "encoder.final_layernorm"
    for one, other in modules.items():
        for part in PARTS:
            yield f"{one}.{part}", f"{other}.{part}"
    for name in table_names(sizes):
        yield f"encoder.{name}", name


def table_names(sizes: ModelSizes) -> list[str]:
    """Return the names of a model's tables and codes, without fairseq's ``encoder.``."""
    wanted = {"both": ("lang", "script"), "lang": ("lang",), "script": ("script",), "none": ()}[sizes.embed_tags]
    names = (key.removeprefix("encoder.") for key in TABLE_KEYS)
    return [name for name in names if name.split("_")[0] in wanted]


def to_megatron(weights: Mapping[str, Tensor], sizes: ModelSizes, padded_words: int) -> dict[str, Tensor]:
    """Convert fairseq's weights to those of an unsplit :class:`~langsamp_plugin.megatron.model.LangSampBertModel`.

    Args:
        weights: weights under fairseq's names.
        sizes: the model's.
        padded_words: number of rows of the word embedding; new rows are zero.

    Raises:
        ValueError: weights are missing or have no counterpart in the model; the message lists them.
    """
    left = {name for name in weights if name not in (VERSION, f"{HEAD}weight")}
    found: dict[str, Tensor] = {}
    missing = []
    for ours, theirs in plain_names(sizes):
        left.discard(ours)
        if ours in weights:
            found[theirs] = weights[ours]
        else:
            missing.append(ours)
    for number in range(sizes.layers):
        for part in PARTS:
            names = [f"{BODY}layers.{number}.self_attn.{letter}_proj.{part}" for letter in "qkv"]
            left.difference_update(names)
            if all(name in weights for name in names):
                joined = join_heads([weights[name] for name in names], sizes.heads)
                found[f"encoder.layers.{number}.self_attention.linear_qkv.{part}"] = joined
            else:
                missing += [name for name in names if name not in weights]
    if missing or left:
        raise ValueError(
            f"weights must be those of a RoBERTa of {sizes.layers} blocks, but {len(missing)} are missing "
            f"({' '.join(sorted(missing)[:3])}) and {len(left)} have no counterpart ({' '.join(sorted(left)[:3])})"
        )
    for name in PADDED:
        tensor = found[name]
        rows = tensor.new_zeros(padded_words - len(tensor), *tensor.shape[1:])
        found[name] = torch.cat([tensor, rows]) if len(rows) else tensor
    return found


def to_fairseq(weights: Mapping[str, Tensor], sizes: ModelSizes) -> dict[str, Tensor]:
    """Undo :func:`to_megatron`, bit for bit; padding rows are dropped.

    Raises:
        ValueError: weights are missing, have no counterpart, or the word embedding is too small; the message lists
            them.
    """
    found: dict[str, Tensor] = {}
    left, missing = set(weights), []
    for ours, theirs in plain_names(sizes):
        left.discard(theirs)
        if theirs in weights:
            found[ours] = weights[theirs]
        else:
            missing.append(theirs)
    for number in range(sizes.layers):
        for part in PARTS:
            name = f"encoder.layers.{number}.self_attention.linear_qkv.{part}"
            left.discard(name)
            if name not in weights:
                missing.append(name)
                continue
            if len(weights[name]) != 3 * sizes.width:
                raise ValueError(f"{name} must have {3 * sizes.width} rows, but has {len(weights[name])}")
            for letter, tensor in zip("qkv", split_heads(weights[name], sizes.heads)):
                found[f"{BODY}layers.{number}.self_attn.{letter}_proj.{part}"] = tensor
    if missing or left:
        raise ValueError(
            f"weights must be those of a LangSampBertModel of {sizes.layers} layers, but {len(missing)} are missing "
            f"({' '.join(sorted(missing)[:3])}) and {len(left)} have no counterpart ({' '.join(sorted(left)[:3])})"
        )
    _check_sizes(found, sizes)
    for name in (EMBEDDING, f"{HEAD}bias"):
        if len(found[name]) < sizes.words:
            raise ValueError(f"{name} must have a row for each of {sizes.words:,} words, but has {len(found[name]):,}")
        found[name] = found[name][: sizes.words].contiguous()
    found[f"{HEAD}weight"] = found[EMBEDDING]
    found[VERSION] = torch.tensor([3.0])
    return found


def _check_sizes(found: Mapping[str, Tensor], sizes: ModelSizes) -> None:
    """Raise ``ValueError`` if weights under fairseq's names do not match the sizes."""
    shapes = {
        POSITIONS: (sizes.positions + 2, sizes.width), f"{BODY}layers.0.fc1.weight": (sizes.inner, sizes.width),
        f"{BODY}layers.0.self_attn.out_proj.weight": (sizes.width, sizes.width),
        f"{HEAD}dense.weight": (sizes.width, sizes.width),
    }  # fmt: skip
    for name, shape in shapes.items():
        if tuple(found[name].shape) != shape:
            raise ValueError(f"{name} must be {shape}, as langsamp.json says, but is {tuple(found[name].shape)}")


def join_heads(parts: list[Tensor], heads: int) -> Tensor:
    """Join query, key and value, each ``(width, ...)``: ``(heads, 3, width/heads, ...)``."""
    by_head = [part.view(heads, -1, *part.shape[1:]) for part in parts]
    return torch.stack(by_head, dim=1).reshape(-1, *parts[0].shape[1:])


def split_heads(joined: Tensor, heads: int) -> list[Tensor]:
    """Undo :func:`join_heads`."""
    parts = joined.view(heads, 3, -1, *joined.shape[1:])
    return [part.reshape(-1, *joined.shape[1:]).contiguous() for part in parts.unbind(1)]


def rank_slice(name: str, tensor: Tensor, rank: int, ranks: int) -> Tensor:
    """Return the slice of a weight for one tensor-parallel rank.

    Raises:
        ValueError: its size is not divisible by the ranks.
    """
    for ending, axis in _SLICED.items():
        if name.endswith(ending):
            if tensor.shape[axis] % ranks:
                raise ValueError(f"{name} must be divisible by the {ranks} ranks, but has {tensor.shape[axis]:,} rows")
            return tensor.chunk(ranks, axis)[rank].contiguous()
    return tensor


def folded_positions(positions: Tensor, row: Tensor) -> Tensor:
    """Return positions with the token-type row added to all rows except the two unused ones."""
    folded = positions.float().clone()
    folded[2:] += row[0].float()
    return folded.to(positions.dtype)
