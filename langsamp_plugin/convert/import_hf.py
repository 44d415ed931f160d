"""A Hugging Face folder to the state of a fairseq checkpoint."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.checkpoint.fresh_checkpoint import fresh_checkpoint
from langsamp_plugin.checkpoint.roberta import first_faults, misfits, roberta_shapes
from langsamp_plugin.checkpoint.weight_names import EMBEDDING, HEAD, POSITIONS, VERSION, table_prefix
from langsamp_plugin.convert.hf_folder import HFFolder
from langsamp_plugin.convert.key_map import fairseq_names
from langsamp_plugin.convert.tables_file import TABLES_FILENAME, TENSORS, UNFOLDED_BIAS, load_tables, read_table_tensors
from langsamp_plugin.modules.tag_embedding import INIT_STD, encode_codes

TOKEN_TYPE = "embeddings.token_type_embeddings.weight"
PAD = 1
# Layers, width, inner width and heads (Conneau et al. 2020; Goyal et al. 2021, table 1).
XLMR_BASE = (12, 768, 3072, 12)
ARCHITECTURES = {(24, 1024, 4096, 16): "langsamp_roberta_large", (36, 2560, 10240, 32): "langsamp_roberta_xl"}


class ImportResult(NamedTuple):
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


def import_hf(folder: HFFolder, data: str, seed: int = 42) -> ImportResult:
    """Turn the weights of a folder into a starting checkpoint.

    Args:
        folder: what :func:`~langsamp_plugin.convert.hf_folder.read_hf_folder` read.
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
    tagged = any("lang_embedding" in name or "script_embedding" in name for name in source)
    if tagged and not (folder.path / TABLES_FILENAME).is_file():
        raise ValueError(
            f"{folder.path} must have {TABLES_FILENAME} beside its weights, but has not: save the model again with "
            "LangSampForMaskedLM.save_pretrained"
        )
    notes = []
    shapes = _shapes(config)
    _check_shapes(folder, weights, shapes)
    missing = sorted(name for name in shapes if name not in weights and not name.startswith(HEAD))
    if missing:
        raise ValueError(f"{folder.path} lacks {len(missing)} weights: {' '.join(missing[:5])}")
    for name in ("lm_head.decoder.weight", "lm_head.decoder.bias"):
        target = EMBEDDING if name.endswith("weight") else f"{HEAD}bias"
        if name in source:
            weights.setdefault(target, source[name])
            if source[name].dtype != weights[target].dtype or not torch.equal(source[name], weights[target]):
                raise ValueError(f"{folder.path}: {name} is not tied to what it must equal, which fairseq cannot hold")
    new_head = f"{HEAD}dense.weight" not in weights
    if new_head:
        types, width = weights[EMBEDDING].shape
        weights.update(_new_head(types, width, weights[EMBEDDING].dtype, seed))
        notes.append("the folder has no masked-LM head: a new one was drawn, as a fresh model has it")
    weights[f"{HEAD}weight"] = weights[EMBEDDING]
    token_types = next((tensor for name, tensor in source.items() if name.endswith(TOKEN_TYPE)), None)
    if token_types is not None and (not len(token_types) or token_types.shape[1:] != weights[POSITIONS].shape[1:]):
        raise ValueError(f"{folder.path}: the token types are {tuple(token_types.shape)} and do not fit config.json")
    if token_types is not None and token_types[0].any():
        # Word, position and type are added before the first LayerNorm, so the type's row can go into every position.
        positions = weights[POSITIONS].float().clone()
        positions[PAD + 1 :] += token_types[0].float()
        weights[POSITIONS] = positions.to(weights[POSITIONS].dtype)
        notes.append("the token-type row is folded into the positions")
    eps = float(config.get("layer_norm_eps", 1e-12))  # the default of Hugging Face's configuration
    missing = sorted(shapes.keys() - weights.keys())
    if missing:
        raise ValueError(
            f"{folder.path}: its masked-LM head is not whole: {first_faults(f'no {name}' for name in missing)}"
        )
    task_state: dict[str, Any] = {"tags": list(config.get("langsamp_tags") or [])}
    embed_tags, folded = "both", None
    if (folder.path / TABLES_FILENAME).is_file():
        tables = load_tables(folder.path)
        stored = read_table_tensors(folder.path / TABLES_FILENAME)
        if UNFOLDED_BIAS in stored:
            weights[f"{HEAD}dense.bias"] = stored[UNFOLDED_BIAS]
            _check_shapes(folder, weights, shapes)
            folded = config.get("langsamp_folded")
            notes.append(f"the embeddings of {folded}, which were folded into the head, are taken out of it again")
        for name, (codes, _) in zip(TENSORS, tables.both()):
            if len(codes):
                weights[f"encoder.{name}"] = stored[name]
                weights[f"{table_prefix(type(codes))}codes"] = encode_codes(codes)
        task_state.update(languages=list(tables.languages), scripts=list(tables.scripts))
        embed_tags = tables.embed_tags
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
    if flags := _training_flags(args):
        notes.append(f"it is built otherwise than XLM-R base: train with {flags}")
    return ImportResult(fresh_checkpoint({"args": args, "task_state": task_state}, weights), notes, new_head, folded)


def _training_flags(args: Namespace) -> str:
    """Return what fairseq-train must be told besides ``--arch langsamp_roberta``."""
    sizes = {
        "--encoder-layers": args.encoder_layers,
        "--encoder-embed-dim": args.encoder_embed_dim,
        "--encoder-ffn-embed-dim": args.encoder_ffn_embed_dim,
        "--encoder-attention-heads": args.encoder_attention_heads,
    }
    shape = tuple(sizes.values())
    if shape in ARCHITECTURES:
        flags = [f"--arch {ARCHITECTURES[shape]}"]
    elif shape == XLMR_BASE and not args.encoder_normalize_before:
        flags = []
    else:
        flags = ["--arch langsamp_roberta_xl"] if args.encoder_normalize_before else []
        flags += [f"{flag} {size}" for flag, size in sizes.items()]
    if args.max_positions != 512:
        flags.append(f"--max-positions {args.max_positions}")
    if args.layer_norm_eps != 1e-5:
        flags.append(f"--layer-norm-eps {args.layer_norm_eps:g}")
    return " ".join(flags)


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
    return roberta_shapes(
        config["vocab_size"],
        config["max_position_embeddings"],
        config["hidden_size"],
        config["intermediate_size"],
        config["num_hidden_layers"],
        _is_xl(config),
    )


def _check_shapes(folder: HFFolder, weights: dict[str, Tensor], shapes: dict[str, tuple[int, ...]]) -> None:
    wrong = misfits(weights, shapes)
    wrong += [f"{name}, which config.json has no layer for" for name in sorted(weights.keys() - shapes.keys())]
    if wrong:
        raise ValueError(f"{folder.path}: weights do not fit config.json: {first_faults(wrong)}")
