"""A starting checkpoint for another vocabulary: rows of old pieces kept, rows of new ones made from them."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.checkpoint.fresh_checkpoint import fresh_checkpoint
from langsamp_plugin.checkpoint.weight_names import EMBEDDING, HEAD
from langsamp_plugin.modules.tag_embedding import INIT_STD
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

HEAD_WEIGHT, HEAD_BIAS = f"{HEAD}weight", f"{HEAD}bias"
NUM_SPECIAL = 4  # <s>, <pad>, </s>, <unk>; <mask> is the last row

INITS = ("parts", "mean", "random")


class Extension(NamedTuple):
    """What :func:`extend_vocabulary` did.

    Args:
        kept: pieces that both vocabularies have.
        new: pieces that got a row.
        dropped: pieces of the checkpoint that the new vocabulary lacks.
    """

    kept: int
    new: int
    dropped: int


def extend_vocabulary(
    state: dict[str, Any], old: Tokenizer, new: Tokenizer, init: str = "parts", seed: int = 42
) -> tuple[dict[str, Any], Extension]:
    """Make a checkpoint whose embedding and head fit another SentencePiece model.

    Rows are matched by piece, so the order of the new model does not matter; ``<mask>``, the last row of either
    vocabulary, moves with its meaning. Optimizer and place in the data are left out: training starts anew from it.

    Args:
        state: a LangSAMP, ``roberta`` or ``xlmr`` checkpoint of fairseq.
        old: the SentencePiece model of the checkpoint.
        new: the one to train with.
        init: a new piece starts as the mean of the old pieces that it splits into (``parts``), the ``mean`` of all, or
            ``random``, N(0, 0.02). Its output bias is that of its parts, or the mean.
        seed: of the random rows.

    Returns:
        The new checkpoint, and how many pieces were kept, new and dropped.

    Raises:
        ValueError: the checkpoint does not have the vocabulary of ``old``, or ``init`` is another word.
    """
    if init not in INITS:
        raise ValueError(f"new pieces start as {', '.join(INITS)}, but {init!r} was asked for")
    weights: dict[str, Tensor] = dict(state["model"])
    rows = len(weights[EMBEDDING])
    if rows != old.vocab_size:
        raise ValueError(f"the model has {rows:,} word embeddings, but {old.path} makes {old.vocab_size:,} tokens")
    sources = _sources(old, new, split=init == "parts")
    generator = torch.Generator().manual_seed(seed)
    embedding = weights[EMBEDDING]
    tied = HEAD_WEIGHT not in weights or torch.equal(weights[HEAD_WEIGHT], embedding)
    weights[EMBEDDING] = _rows(embedding, sources, init, generator)
    if HEAD_WEIGHT in weights:
        weights[HEAD_WEIGHT] = weights[EMBEDDING] if tied else _rows(weights[HEAD_WEIGHT], sources, init, generator)
    if HEAD_BIAS in weights:
        weights[HEAD_BIAS] = _rows(weights[HEAD_BIAS].unsqueeze(1), sources, "mean", generator).squeeze(1)
    common = len(set(old.pieces) & set(new.pieces))
    return fresh_checkpoint(state, weights), Extension(common, len(new.pieces) - common, len(old.pieces) - common)


def _sources(old: Tokenizer, new: Tokenizer, split: bool) -> list[Optional[list[int]]]:
    """Return the old rows that each new row is the mean of: itself, with ``split`` its parts, or ``None``."""
    row = {piece: number for number, piece in enumerate(old.pieces, NUM_SPECIAL)}
    sources: list[Optional[list[int]]] = [[number] for number in range(NUM_SPECIAL)]
    for piece in new.pieces:
        if piece in row:
            sources.append([row[piece]])
            continue
        if not split:
            sources.append(None)
            continue
        parts = old.processor.encode(piece.replace("\u2581", " "), out_type=str)
        if parts[:1] == ["\u2581"] and not piece.startswith("\u2581"):
            parts = parts[1:]  # SentencePiece put a space before a piece that stands inside a word
        sources.append([row[part] for part in parts if part in row] or None)
    sources.append([old.vocab_size - 1])
    return sources


def _rows(old: Tensor, sources: list[Optional[list[int]]], init: str, generator: torch.Generator) -> Tensor:
    out = torch.empty(len(sources), old.shape[1], dtype=old.dtype)
    # Special tokens are no words: a mean over them would be off.
    mean = old[NUM_SPECIAL:-1].float().mean(0)
    for number, source in enumerate(sources):
        if source is not None:
            out[number] = old[source[0]] if len(source) == 1 else old[source].float().mean(0).to(old.dtype)
        elif init == "random":
            out[number] = (torch.randn(old.shape[1], generator=generator) * INIT_STD).to(old.dtype)
        else:
            out[number] = mean.to(old.dtype)
    return out
