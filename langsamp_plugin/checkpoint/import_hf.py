"""A Hugging Face folder to the state of a fairseq checkpoint."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.checkpoint.hf_folder import HFFolder
from langsamp_plugin.checkpoint.key_map import EMBEDDING, HEAD, POSITIONS, VERSION, fairseq_names
from langsamp_plugin.checkpoint.starting_point import starting_point
from langsamp_plugin.checkpoint.tables import FILENAME, UNFOLDED_BIAS, load_tables, read_tensors
from langsamp_plugin.modules.tag_embedding import INIT_STD, encode_codes

TOKEN_TYPE = "embeddings.token_type_embeddings.weight"
PAD = 1


class Imported(NamedTuple):
    """What an import made.

    Args:
        state: a fairseq checkpoint at the start of its first epoch.
        notes: what a user must know, a sentence each.
        new_head: the folder had no masked-LM head.
        folded: the tag that was folded into it, and is taken out again; ``None`` if none was.
    """

    state: dict[str, Any]
    notes: list[str]
    new_head: bool
    folded: Optional[str]


def import_hf(folder: HFFolder, data: str, seed: int = 42) -> Imported:
    """Turn the weights of a folder into a starting checkpoint.

    Args:
        folder: what :func:`~langsamp_plugin.checkpoint.hf_folder.read_hf_folder` read.
        data: the folder in which ``dict.txt`` and the SentencePiece model will lie.
        seed: of a masked-LM head, where the folder has none.

    Raises:
        ValueError: weights are missing, have no place, or have another shape than the configuration says; the message
            lists all of them.
    """
    config, source = folder.config, folder.weights
    try:
        names = fairseq_names(source, _is_xl(config))
    except ValueError as error:
        raise ValueError(f"{folder.path}: {error}") from error
    weights = {target: source[name] for name, target in names.items() if target is not None}
    notes = []
    missing = sorted(name for name in _shapes(config) if name not in weights and not name.startswith(HEAD))
    if missing:
        raise ValueError(f"{folder.path} lacks {len(missing)} weights: {' '.join(missing[:5])}")
    for name in ("lm_head.decoder.weight", "lm_head.decoder.bias"):
        target = EMBEDDING if name.endswith("weight") else f"{HEAD}bias"
        if name in source:
            weights.setdefault(target, source[name])
            if not torch.equal(source[name], weights[target]):
                raise ValueError(f"{folder.path}: {name} is not tied to what it must equal, which fairseq cannot hold")
    new_head = f"{HEAD}dense.weight" not in weights
    if new_head:
        types, width = weights[EMBEDDING].shape
        weights.update(_new_head(types, width, weights[EMBEDDING].dtype, seed))
        notes.append("the folder has no masked-LM head: a new one was drawn, as a fresh model has it")
    weights[f"{HEAD}weight"] = weights[EMBEDDING]
    token_types = next((tensor for name, tensor in source.items() if name.endswith(TOKEN_TYPE)), None)
    if token_types is not None and token_types[0].any():
        # Word, position and type are added before the first LayerNorm, so the type's row can go into every position.
        positions = weights[POSITIONS].float().clone()
        positions[PAD + 1 :] += token_types[0].float()
        weights[POSITIONS] = positions.to(weights[POSITIONS].dtype)
        notes.append("the token-type row is folded into the positions")
    eps = float(config.get("layer_norm_eps", 1e-12))  # the default of Hugging Face's configuration
    if eps != 1e-5:
        notes.append(f"its LayerNorms have epsilon {eps:g}, fairseq's have 1e-05: train with --layer-norm-eps {eps:g}")
    _check_shapes(folder, weights)
    task_state: dict[str, Any] = {"tags": list(config.get("langsamp_tags") or [])}
    embed_tags, folded = "both", None
    if (folder.path / FILENAME).is_file():
        tables = load_tables(folder.path)
        stored = read_tensors(folder.path / FILENAME)
        if UNFOLDED_BIAS in stored:
            weights[f"{HEAD}dense.bias"] = stored[UNFOLDED_BIAS]
            folded = config.get("langsamp_folded")
            notes.append(f"the embeddings of {folded}, which were folded into the head, are taken out of it again")
        for noun, codes in (("lang", tables.languages), ("script", tables.scripts)):
            if len(codes):
                weights[f"encoder.{noun}_embedding.weight"] = stored[f"{noun}_embedding.weight"]
                weights[f"encoder.{noun}_embedding.codes"] = encode_codes(codes)
        task_state.update(languages=list(tables.languages), scripts=list(tables.scripts))
        embed_tags = (
            "both" if len(tables.languages) and len(tables.scripts) else "lang" if len(tables.languages) else "script"
        )
    weights[VERSION] = torch.tensor([3.0])
    args = Namespace(
        arch="langsamp_roberta", task="langsamp_masked_lm", criterion="langsamp_masked_lm", data=data,
        encoder_layers=config["num_hidden_layers"], encoder_embed_dim=config["hidden_size"],
        encoder_ffn_embed_dim=config["intermediate_size"], encoder_attention_heads=config["num_attention_heads"],
        max_positions=config["max_position_embeddings"] - 2, tokens_per_sample=config["max_position_embeddings"] - 2,
        activation_fn="gelu", dropout=config.get("hidden_dropout_prob", 0.1),
        attention_dropout=config.get("attention_probs_dropout_prob", 0.1), layer_norm_eps=eps, embed_tags=embed_tags,
        encoder_normalize_before=_is_xl(config), layernorm_embedding=not _is_xl(config),
    )  # fmt: skip
    return Imported(starting_point({"args": args, "task_state": task_state}, weights), notes, new_head, folded)


def _is_xl(config: dict[str, Any]) -> bool:
    return bool(config.get("model_type") == "xlm-roberta-xl")


def _new_head(types: int, width: int, dtype: torch.dtype, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{HEAD}dense.weight": (torch.randn(width, width, generator=generator) * INIT_STD).to(dtype),
        f"{HEAD}dense.bias": torch.zeros(width, dtype=dtype),
        f"{HEAD}layer_norm.weight": torch.ones(width, dtype=dtype),
        f"{HEAD}layer_norm.bias": torch.zeros(width, dtype=dtype),
        f"{HEAD}bias": torch.zeros(types, dtype=dtype),
    }


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return fairseq's names and the shapes that a configuration asks for."""
    try:
        types, width, inner = config["vocab_size"], config["hidden_size"], config["intermediate_size"]
        layers, positions, _ = (
            config["num_hidden_layers"],
            config["max_position_embeddings"],
            config["num_attention_heads"],
        )
    except KeyError as error:
        raise ValueError(f"config.json lacks {error.args[0]}") from error
    body = "encoder.sentence_encoder."
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (types, width), POSITIONS: (positions, width)}
    norms = [f"{HEAD}layer_norm", f"{body}layer_norm" if _is_xl(config) else f"{body}layernorm_embedding"]
    linear = {f"{HEAD}dense": (width, width)}
    for number in range(layers):
        layer = f"{body}layers.{number}."
        norms += [f"{layer}self_attn_layer_norm", f"{layer}final_layer_norm"]
        linear.update({f"{layer}self_attn.{part}_proj": (width, width) for part in ("q", "k", "v", "out")})
        linear.update({f"{layer}fc1": (inner, width), f"{layer}fc2": (width, inner)})
    for name in norms:
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})
    for name, shape in linear.items():
        shapes.update({f"{name}.weight": shape, f"{name}.bias": shape[:1]})
    return {**shapes, f"{HEAD}bias": (types,), f"{HEAD}weight": (types, width)}


def _check_shapes(folder: HFFolder, weights: dict[str, Tensor]) -> None:
    shapes = _shapes(folder.config)
    wrong = [
        f"{name} {tuple(tensor.shape)} instead of {shapes[name]}"
        for name, tensor in weights.items()
        if name in shapes and tuple(tensor.shape) != shapes[name]
    ] + [f"{name}, which config.json has no layer for" for name in sorted(weights.keys() - shapes.keys())]
    wrong += [f"no {name}" for name in sorted(shapes.keys() - weights.keys())]
    if wrong:
        raise ValueError(f"{folder.path}: weights do not fit config.json: {'; '.join(wrong[:5])}")
