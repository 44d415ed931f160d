"""Reads a RoBERTa checkpoint of fairseq, checks all of its parts, and reports every mismatch in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.checkpoint.options import layer_numbers
from langsamp_plugin.checkpoint.weight_names import BODY, EMBEDDING, HEAD, POSITIONS, is_xl, table_prefix
from langsamp_plugin.errors import error_context
from langsamp_plugin.lang_script import CODE_TABLES, CodeTable, LangScript
from langsamp_plugin.modules.tag_embedding import decode_codes

FIRST = f"{BODY}layers.0.fc1.weight"


def load_roberta(path: PathLike) -> dict[str, Any]:
    """Read a LangSAMP, ``roberta`` or ``xlmr`` checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, contains code, belongs to another model, or has parts that do not match.
    """
    state = load_checkpoint(path)
    with error_context(path):
        _check_weights(state["model"])
        for kind in CODE_TABLES:
            _check_table(state["model"], kind)
        check_tags((state.get("task_state") or {}).get("tags"))
    return state


def check_tags(tags: Any) -> None:
    """Raise ``ValueError`` unless these are tags, or ``None``."""
    if tags is not None and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        raise ValueError(f"the training tags must be a list of words such as eng_Latn, but are {str(tags)[:60]}")
    for tag in tags or ():
        LangScript.parse(tag)


def roberta_shapes(
    *, types: int, positions: int, width: int, inner: int, layers: int, xl: bool
) -> dict[str, tuple[int, ...]]:
    """Return fairseq's names of all weights, with their shapes.

    Args:
        types, positions: number of rows of the two embeddings.
        width, inner: width of the states, and inside a block.
        layers: number of blocks.
        xl: LayerNorm after the last block instead of after the embedding, as in XLM-R XL.
    """
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (types, width), POSITIONS: (positions, width)}
    norms = [f"{HEAD}layer_norm", f"{BODY}layer_norm" if xl else f"{BODY}layernorm_embedding"]
    linear = {f"{HEAD}dense": (width, width)}
    for number in range(layers):
        layer = f"{BODY}layers.{number}."
        norms += [f"{layer}self_attn_layer_norm", f"{layer}final_layer_norm"]
        linear.update({f"{layer}self_attn.{part}_proj": (width, width) for part in ("q", "k", "v", "out")})
        linear.update({f"{layer}fc1": (inner, width), f"{layer}fc2": (width, inner)})
    for name in norms:
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})
    for name, shape in linear.items():
        shapes.update({f"{name}.weight": shape, f"{name}.bias": shape[:1]})
    return {**shapes, f"{HEAD}bias": (types,), f"{HEAD}weight": (types, width)}


def misfits(weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return messages about weights with a wrong shape or type."""
    wrong = []
    for name, tensor in weights.items():
        if name in shapes and tuple(tensor.shape) != shapes[name]:
            wrong.append(f"{name} {tuple(tensor.shape)} instead of {shapes[name]}")
        elif name in shapes and not tensor.is_floating_point():
            wrong.append(f"{name} must have floating-point numbers, but has integers")
    return wrong


def check_finite(weights: Mapping[str, Tensor], remedy: str) -> None:
    """Raise ``ValueError`` with a remedy if a weight has NaN or infinite values."""
    for name, tensor in weights.items():
        # Unlike torch.isfinite of the tensor this makes no copies of it; both ends of a tensor with a NaN are NaN.
        if tensor.is_floating_point() and tensor.numel() and not torch.isfinite(torch.stack(tensor.aminmax())).all():
            raise ValueError(f"{name} has values that are not finite: {remedy}")


def first_faults(wrong: Iterable[str], count: int = 5) -> str:
    """Return the first few of a list of problems as one line."""
    wrong = list(wrong)
    return "; ".join(wrong[:count]) + (f"; and {len(wrong) - count} more" if len(wrong) > count else "")


def _check_weights(weights: Mapping[str, Tensor]) -> None:
    layers = layer_numbers(weights)
    if EMBEDDING not in weights or POSITIONS not in weights or not layers:
        raise ValueError("the checkpoint is not a RoBERTa: it lacks embeddings or layers")
    flat = [name for name in (EMBEDDING, POSITIONS, FIRST) if name not in weights or weights[name].dim() != 2]
    if flat:
        raise ValueError(f"{flat[0]} is missing, or is not a matrix")
    types, width = weights[EMBEDDING].shape
    shapes = roberta_shapes(
        types=types,
        positions=len(weights[POSITIONS]),
        width=width,
        inner=len(weights[FIRST]),
        layers=len(layers),
        xl=is_xl(weights),
    )
    missing = sorted(shapes.keys() - weights.keys() - {f"{HEAD}weight"})
    wrong = [f"no {name}" for name in missing] + misfits(weights, shapes)
    if wrong:
        raise ValueError(f"weights are missing or do not match: {first_faults(wrong)}")


def _check_table(weights: Mapping[str, Tensor], kind: type[CodeTable]) -> None:
    name = table_prefix(kind)
    weight, codes = weights.get(f"{name}weight"), weights.get(f"{name}codes")
    if weight is None and codes is None:
        return
    if weight is None or codes is None:
        raise ValueError(f"{name}weight and {name}codes belong together, but one is missing")
    if codes.dtype != torch.int32 or codes.dim() != 2 or not ((codes >= 0) & (codes < 128)).all():
        raise ValueError(f"{name}codes must be ASCII letters")
    wrong = misfits({f"{name}weight": weight}, {f"{name}weight": (len(codes), weights[EMBEDDING].shape[1])})
    if wrong:
        raise ValueError(f"a table does not match its codes or the model: {wrong[0]}")
    kind(decode_codes(codes), f"{name}codes")
    if not torch.isfinite(weight).all():
        raise ValueError(f"{name}weight has values that are not finite: training has diverged")
