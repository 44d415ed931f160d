"""Converts a Hugging Face folder to the state of a fairseq checkpoint."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.checkpoint.fresh_checkpoint import fresh_checkpoint
from langsamp_plugin.checkpoint.roberta import first_faults, misfits, roberta_shapes
from langsamp_plugin.checkpoint.tables import TagTables
from langsamp_plugin.checkpoint.vocabulary import DIGEST
from langsamp_plugin.checkpoint.weight_names import EMBEDDING, HEAD, POSITIONS, VERSION, table_prefix
from langsamp_plugin.convert.authors import AUTHORS_TABLES, authors_tables, is_authors_layout
from langsamp_plugin.convert.hf_folder import HFFolder
from langsamp_plugin.convert.key_map import fairseq_names
from langsamp_plugin.convert.tables_file import TABLES_FILENAME, TENSORS, UNFOLDED_BIAS, load_tables, read_table_tensors
from langsamp_plugin.convert.training_flags import training_flags
from langsamp_plugin.errors import error_context
from langsamp_plugin.lang_script import CODE_TABLES, Tables
from langsamp_plugin.modules.tag_embedding import INIT_STD, encode_codes
from langsamp_plugin.vocabulary.dictionary import dictionary_digest

TOKEN_TYPE = "embeddings.token_type_embeddings.weight"
PAD = 1


class ImportResult(NamedTuple):
    """Result of an import.

    Args:
        state: a fairseq checkpoint at the start of its first epoch.
        notes: notes for the user, one sentence each.
        new_head: the folder had no masked-LM head.
        folded: the tag that had been folded into the head and was removed again; ``None`` if there was none.
    """

    state: dict[str, Any]
    notes: list[str]
    new_head: bool
    folded: Optional[str]


class _Tables(NamedTuple):
    """The tables of a folder: weights under fairseq's names, codes, and the head's bias before a tag was folded into
    it."""

    weights: dict[str, Tensor]
    found: Optional[TagTables]
    unfolded_bias: Optional[Tensor]


def import_hf(
    folder: HFFolder,
    data: str,
    pieces: Optional[Iterable[str]] = None,
    *,
    inventory: Optional[Tables] = None,
    seed: int = 42,
) -> ImportResult:
    """Turn the weights of a folder into a starting checkpoint.

    Args:
        folder: what :func:`~langsamp_plugin.convert.hf_folder.read_hf_folder` read.
        data: the folder in which ``dict.txt`` and the SentencePiece model will be.
        pieces: the pieces of that model, in its order, for the hash in the checkpoint.
        inventory: codes of the rows of tables in the authors' layout; by default the published inventory.
        seed: seed of a new masked-LM head, used if the folder has none.

    Raises:
        ValueError: weights are missing, have no counterpart, or differ in shape from the configuration; the message
            lists all of them.
    """
    config = folder.config
    with error_context(folder.path):
        tables = _read_tables(folder, inventory)
        weights, notes, new_head = _backbone(folder, seed)
        folded = None
        if tables.unfolded_bias is not None:
            weights[f"{HEAD}dense.bias"] = tables.unfolded_bias
            _check_shapes(weights, _shapes(config))
            folded = config.get("langsamp_folded")
            notes.append(f"the embeddings of {folded}, which had been folded into the head, were removed from it")
    weights.update(tables.weights)
    weights[VERSION] = torch.tensor([3.0])
    task_state: dict[str, Any] = {"tags": list(config.get("langsamp_tags") or [])}
    if pieces is not None:
        task_state[DIGEST] = dictionary_digest(pieces)
    if tables.found is not None:
        task_state.update(languages=list(tables.found.languages), scripts=list(tables.found.scripts))
    args = _options(config, data, tables.found.embed_tags if tables.found is not None else "both")
    if flags := training_flags(args):
        notes.append(f"its sizes differ from XLM-R base: train with {flags}")
    return ImportResult(fresh_checkpoint({"args": args, "task_state": task_state}, weights), notes, new_head, folded)


def check_folder(folder: HFFolder) -> None:
    """Raise ``ValueError`` unless a folder's weights and tables are complete and fit together."""
    with error_context(folder.path):
        _backbone(folder, 0)
        if is_authors_layout(folder.weights):
            _check_authors(folder)
        elif (folder.path / TABLES_FILENAME).is_file():
            load_tables(folder.path)


def _check_authors(folder: HFFolder) -> None:
    """Check the tables of the authors' layout; the import itself checks the number of rows."""
    for name in AUTHORS_TABLES:
        if name in folder.weights and folder.weights[name].shape[1:] != (folder.config["hidden_size"],):
            raise ValueError(
                f"{name} must have the width of the model, but has shape {tuple(folder.weights[name].shape)}"
            )


def _read_tables(folder: HFFolder, inventory: Optional[Tables]) -> _Tables:
    unfolded = None
    if is_authors_layout(folder.weights):
        found = authors_tables(folder.weights, folder.config, inventory)
        rows = dict(zip(TENSORS, (found.lang_weight, found.script_weight)))
    elif inventory is not None:
        raise ValueError("--tables is for a model in the published layout, but this one is not: leave it out")
    elif (folder.path / TABLES_FILENAME).is_file():
        found = load_tables(folder.path)
        rows = read_table_tensors(folder.path / TABLES_FILENAME)
        unfolded = rows.get(UNFOLDED_BIAS)
    elif any(f"{kind.short}_embedding." in name for kind in CODE_TABLES for name in folder.weights):
        raise ValueError(
            f"it must have {TABLES_FILENAME} next to its weights, but does not: save the model again with "
            "LangSampForMaskedLM.save_pretrained"
        )
    else:
        return _Tables({}, None, None)
    weights: dict[str, Tensor] = {}
    for name, (codes, _) in zip(TENSORS, found.both()):
        if len(codes):
            weights[f"encoder.{name}"] = rows[name]
            weights[f"{table_prefix(type(codes))}codes"] = encode_codes(codes)
    return _Tables(weights, found, unfolded)


def _backbone(folder: HFFolder, seed: int) -> tuple[dict[str, Tensor], list[str], bool]:
    """Return embeddings, blocks and head under fairseq's names, notes about them, and whether the head is new."""
    config, source = folder.config, folder.weights
    notes = []
    names = fairseq_names((name for name in source if name not in AUTHORS_TABLES), _is_xl(config))
    weights = {target: source[name] for name, target in names.items() if target is not None}
    shapes = _shapes(config)
    _check_shapes(weights, shapes)
    missing = sorted(name for name in shapes if name not in weights and not name.startswith(HEAD))
    if missing:
        raise ValueError(f"it lacks {len(missing)} weights: {' '.join(missing[:5])}")
    _check_tied(source, weights)
    new_head = f"{HEAD}dense.weight" not in weights
    if new_head:
        types, width = weights[EMBEDDING].shape
        weights.update(_new_head(types, width, weights[EMBEDDING].dtype, seed))
        notes.append("the folder has no masked-LM head: a new one was initialised at random")
    weights[f"{HEAD}weight"] = weights[EMBEDDING]
    if _fold_token_type(source, weights):
        notes.append("the token-type row is folded into the positions")
    missing = sorted(shapes.keys() - weights.keys())
    if missing:
        raise ValueError(f"its masked-LM head is incomplete: {first_faults(f'no {name}' for name in missing)}")
    return weights, notes, new_head


def _check_tied(source: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    """Remove the duplicate names of the head's projection and bias after checking that they are equal."""
    for name in ("lm_head.decoder.weight", "lm_head.decoder.bias"):
        target = EMBEDDING if name.endswith("weight") else f"{HEAD}bias"
        if name in source:
            weights.setdefault(target, source[name])
            if source[name].dtype != weights[target].dtype or not torch.equal(source[name], weights[target]):
                raise ValueError(
                    f"{name} must be tied to its duplicate, but differs from it, which fairseq cannot represent"
                )


def _fold_token_type(source: dict[str, Tensor], weights: dict[str, Tensor]) -> bool:
    """Add the token-type row, which fairseq lacks, to the positions; return whether it was nonzero."""
    token_types = next((tensor for name, tensor in source.items() if name.endswith(TOKEN_TYPE)), None)
    if token_types is None:
        return False
    if not len(token_types) or token_types.shape[1:] != weights[POSITIONS].shape[1:]:
        raise ValueError(f"the token types are {tuple(token_types.shape)} and do not fit config.json")
    if not token_types[0].any():
        return False
    # Word, position and type are added before the first LayerNorm, so the type's row can go into every position.
    positions = weights[POSITIONS].float().clone()
    positions[PAD + 1 :] += token_types[0].float()
    weights[POSITIONS] = positions.to(weights[POSITIONS].dtype)
    return True


def _options(config: dict[str, Any], data: str, embed_tags: str) -> Namespace:
    return Namespace(
        arch="langsamp_roberta",
        task="langsamp_masked_lm",
        criterion="langsamp_masked_lm",
        data=data,
        encoder_layers=config["num_hidden_layers"],
        encoder_embed_dim=config["hidden_size"],
        encoder_ffn_embed_dim=config["intermediate_size"],
        encoder_attention_heads=config["num_attention_heads"],
        max_positions=config["max_position_embeddings"] - 2,
        tokens_per_sample=config["max_position_embeddings"] - 2,
        activation_fn="gelu",
        dropout=config.get("hidden_dropout_prob", 0.1),
        attention_dropout=config.get("attention_probs_dropout_prob", 0.1),
        layer_norm_eps=float(config.get("layer_norm_eps", 1e-12)),  # the default of Hugging Face's configuration
        embed_tags=embed_tags,
        encoder_normalize_before=_is_xl(config),
        layernorm_embedding=not _is_xl(config),
    )


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
    """Return fairseq's names and the shapes that a configuration implies."""
    return roberta_shapes(
        types=config["vocab_size"],
        positions=config["max_position_embeddings"],
        width=config["hidden_size"],
        inner=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        xl=_is_xl(config),
    )


def _check_shapes(weights: dict[str, Tensor], shapes: dict[str, tuple[int, ...]]) -> None:
    wrong = misfits(weights, shapes)
    wrong += [f"{name}, which belongs to no layer of config.json" for name in sorted(weights.keys() - shapes.keys())]
    if wrong:
        raise ValueError(f"weights do not match config.json: {first_faults(wrong)}")
