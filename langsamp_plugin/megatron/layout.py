"""Maps a model's weights to the tensors of Megatron's checkpoints, which stack all layers in one tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Optional

import torch
from torch import Tensor

from langsamp_plugin.lang_script import CODE_TABLES, Tables
from langsamp_plugin.megatron.sizes import ModelSizes
from langsamp_plugin.megatron.stored import Stored, is_tensor, read_tensors
from langsamp_plugin.megatron.weights import WORDS
from langsamp_plugin.modules.tag_embedding import decode_codes

LAYER = re.compile(r"^encoder\.layers\.(\d+)\.")
# Linear layers have an extra state for Transformer Engine, which Megatron expects and which is empty without it.
LINEAR = ("self_attention.linear_proj", "self_attention.linear_qkv", "mlp.linear_fc1", "mlp.linear_fc2")
# Megatron's name of a LayerNorm that Transformer Engine fuses with the next linear layer.
JOINED = {
    "self_attention.linear_qkv.layer_norm_": "input_layernorm.",
    "mlp.linear_fc1.layer_norm_": "pre_mlp_layernorm.",
}
NOT_OF_THE_MODEL = re.compile(
    r"^(optimizer|rng_state|rerun_state|opt_param_scheduler)\b|_extra_state(/|$)|core_attention\."
)


def to_stored(weights: Mapping[str, Tensor], sizes: ModelSizes) -> dict[str, Any]:
    """Return the checkpoint's tensors for the weights of an unsplit model."""
    found: dict[str, Any] = {}
    layers: dict[str, list[Optional[Tensor]]] = {}
    for name, tensor in weights.items():
        match = LAYER.match(name)
        if match is None:
            found[name] = tensor
        else:
            kind = f"encoder.layers.{name[match.end() :]}"
            layers.setdefault(kind, [None] * sizes.layers)[int(match[1])] = tensor
    for kind, tensors in layers.items():
        found[kind] = torch.stack([tensor for tensor in tensors if tensor is not None])
    for module in LINEAR:
        for number in range(sizes.layers):
            found[f"encoder.layers.{module}._extra_state/shard_{number}_{sizes.layers}"] = [None]
    found["output_layer._extra_state/shard_0_1"] = [None]
    return found


def from_stored(stored: Stored, sizes: ModelSizes) -> dict[str, Tensor]:
    """Return the weights of the model in a checkpoint written by any number of ranks.

    Raises:
        ValueError: the checkpoint has another number of layers, or is damaged.
    """
    wanted = {}
    for name in stored.tensors:
        # Newer versions also store plain objects of the model.
        if is_tensor(stored.tensors[name]) and not NOT_OF_THE_MODEL.search(name):
            target = name.removeprefix("model.")
            for joined, plain in JOINED.items():
                target = target.replace(joined, plain)
            wanted[name] = target
    found: dict[str, Tensor] = {}
    for name, tensor in read_tensors(stored, wanted).items():
        if not name.startswith("encoder.layers.") or LAYER.match(name):
            found[name] = tensor
            continue
        if len(tensor) != sizes.layers:
            raise ValueError(f"{stored.path} must have {sizes.layers} layers, but {name} has {len(tensor)}")
        for number, part in enumerate(tensor.unbind()):
            found[f"encoder.layers.{number}.{name.removeprefix('encoder.layers.')}"] = part.clone()
    return found


def stored_rows(stored: Stored) -> int:
    """Return the number of rows of a checkpoint's word embedding, including padding.

    Raises:
        ValueError: it has no word embedding.
    """
    described: Any = stored.tensors.get(WORDS)
    if not is_tensor(described) or len(described.size) != 2:
        raise ValueError(f"{stored.path} must be a checkpoint of LangSampBertModel, but has no matrix {WORDS}")
    return int(described.size[0])


def stored_tables(stored: Stored) -> Optional[Tables]:
    """Return the inventories of a checkpoint's tables, ``None`` if it has neither.

    Raises:
        ValueError: the codes are damaged.
    """
    names = {f"{kind.short}_embedding.codes": kind for kind in CODE_TABLES}
    there = {name: name for name in names if name in stored.tensors}
    if not there:
        return None
    found = read_tensors(stored, there)
    return Tables(*(kind(decode_codes(found[name]) if name in found else []) for name, kind in names.items()))
