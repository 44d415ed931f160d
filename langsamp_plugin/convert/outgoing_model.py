"""Prepares a checkpoint for export: weights under Hugging Face's names, rows in the tokenizer's order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.options import architecture
from langsamp_plugin.checkpoint.roberta import check_finite, load_roberta
from langsamp_plugin.checkpoint.tables import TagTables, checkpoint_tables
from langsamp_plugin.checkpoint.vocabulary import checkpoint_tokenizer
from langsamp_plugin.checkpoint.weight_names import EMBEDDING, HEAD, VERSION
from langsamp_plugin.convert.hf_config import hf_config
from langsamp_plugin.convert.key_map import hf_names
from langsamp_plugin.errors import error_context
from langsamp_plugin.lang_script import LangScript
from langsamp_plugin.vocabulary.ordered_tokenizer import OrderedTokenizer
from langsamp_plugin.vocabulary.tokenizer import UNK, Tokenizer

WORDS = "roberta.embeddings.word_embeddings.weight"
DENSE_BIAS = "lm_head.dense.bias"


class OutgoingModel(NamedTuple):
    """The contents of an export.

    Args:
        state: the checkpoint as read.
        tensors: all weights except the tables, under Hugging Face's names.
        config: ``config.json``.
        tables: the two tables.
        trained_with: the tokenizer that maps text to the checkpoint's rows.
        tokenizer: the same tokenizer in the order of its SentencePiece model, which Hugging Face's rows follow.
        notes: notes for the user, one sentence each.
    """

    state: dict[str, Any]
    tensors: dict[str, Tensor]
    config: dict[str, Any]
    tables: Optional[TagTables]
    trained_with: Tokenizer
    tokenizer: Tokenizer
    notes: list[str]


def read_model(
    checkpoint: PathLike, *, spm: Optional[PathLike], dictionary: Optional[PathLike], dtype: Optional[torch.dtype]
) -> OutgoingModel:
    """Read a checkpoint and put its rows into the order of its SentencePiece model, which Hugging Face's follow."""
    if Path(checkpoint).is_dir():
        raise ValueError(
            f"{checkpoint} is a folder, but export takes a checkpoint file of fairseq"
            + (": it is in Hugging Face's format already" if (Path(checkpoint) / "config.json").is_file() else "")
        )
    state = load_roberta(checkpoint)
    with error_context(checkpoint):
        check_finite(state["model"], "training has diverged, use an earlier checkpoint")
        if dtype is not None:
            state["model"] = {
                name: tensor.to(dtype) if tensor.is_floating_point() and name != VERSION else tensor
                for name, tensor in state["model"].items()
            }
            check_finite(state["model"], f"too large for {str(dtype)[6:]}, use --half bfloat16 or none")
        weights: dict[str, Tensor] = state["model"]
        names = hf_names(weights)
        config = hf_config(architecture(state), weights)
        head = weights.get(f"{HEAD}weight")
        if head is not None and not torch.equal(head, weights[EMBEDDING]):
            raise ValueError("it was trained with --untie-weights-roberta, which Hugging Face's XLM-R cannot represent")
    trained_with = checkpoint_tokenizer(state, checkpoint, spm=spm, dictionary=dictionary)
    tensors = {target: weights[name].contiguous() for name, target in names.items() if target is not None}
    notes: list[str] = []
    tokenizer = trained_with
    if isinstance(trained_with, OrderedTokenizer):
        tokenizer = Tokenizer(trained_with.path)
        rows, notes = model_order(trained_with)
        tensors[WORDS], tensors["lm_head.bias"] = tensors[WORDS][rows], tensors["lm_head.bias"][rows]
        config["vocab_size"] = len(rows)
    width = weights[EMBEDDING].shape[1]
    # Hugging Face adds a token-type embedding, with a single row in XLM-R; fairseq has none.
    tensors["roberta.embeddings.token_type_embeddings.weight"] = torch.zeros(1, width, dtype=weights[EMBEDDING].dtype)
    # Store the head's bias under its second name too: transformers 4 treats a projection without a stored bias as newly
    # initialised and sets the bias, which both names share, to zero.
    tensors["lm_head.decoder.bias"] = tensors["lm_head.bias"].clone()
    config["langsamp_tags"] = list((state.get("task_state") or {}).get("tags") or [])
    return OutgoingModel(state, tensors, config, checkpoint_tables(state), trained_with, tokenizer, notes)


def model_order(trained_with: OrderedTokenizer) -> tuple[Tensor, list[str]]:
    """Return the row of each token in the order of the SentencePiece model, int64, and notes for the user."""
    row = {piece: number for number, piece in enumerate(trained_with.pieces, 4)}
    rows = [0, 1, 2, 3, *(row.get(piece, UNK) for piece in trained_with.model_pieces), trained_with.vocab_size - 1]
    lacking = len(set(trained_with.model_pieces) - row.keys())
    padding = len(row.keys() - set(trained_with.model_pieces))
    notes = ["rows were reordered to follow the SentencePiece model: the order of the dictionary differs"]
    if lacking:
        notes.append(f"{lacking:,} pieces that the dictionary lacks get the row of <unk>, as in training")
    if padding:
        notes.append(f"{padding:,} rows that only pad the dictionary are dropped")
    return torch.tensor(rows), notes


def half_dtype(name: str) -> torch.dtype:
    """Return the dtype that ``--half`` names.

    Raises:
        ValueError: the name is not a half-precision dtype.
    """
    dtypes = {"float16": torch.float16, "fp16": torch.float16, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16}
    if name not in dtypes:
        raise ValueError(f"--half must be float16 or bfloat16, but is {name!r}")
    return dtypes[name]


def folded_bias(model: OutgoingModel, tag: LangScript, checkpoint: PathLike) -> Tensor:
    """Return the bias of the head's first layer with a tag's embeddings folded into it."""
    if model.tables is None:
        raise ValueError(f"--fold {tag} needs a checkpoint with tables, but {checkpoint} has none")
    weight, bias = model.tensors["lm_head.dense.weight"], model.tensors[DENSE_BIAS]
    return (bias.float() + weight.float() @ model.tables.embedding(tag).float()).to(bias.dtype)
