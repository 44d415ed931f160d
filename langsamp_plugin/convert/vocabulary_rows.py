"""Makes a starting checkpoint for another vocabulary: keeps rows of shared pieces and derives rows of new ones.

The row of a new piece is initialised by one of :data:`INITS`:

* ``neighbours``: the weighted mean of old rows whose pieces are used similarly, by vectors trained on a corpus (OFA:
  Liu et al. 2024; FOCUS: Dobler and de Melo 2023);
* ``parts``: the mean of the old pieces that the new piece splits into;
* ``mean``: the mean of all old rows;
* ``random``: drawn with the mean and covariance of the old rows (Hewitt 2021), as in transformers;
* ``normal``: drawn from N(0, 0.02).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.checkpoint.fresh_checkpoint import fresh_checkpoint
from langsamp_plugin.checkpoint.weight_names import EMBEDDING, HEAD
from langsamp_plugin.convert.neighbours import Weights, neighbour_weights
from langsamp_plugin.corpus.text import corpus_files
from langsamp_plugin.modules.tag_embedding import INIT_STD
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

HEAD_WEIGHT, HEAD_BIAS = f"{HEAD}weight", f"{HEAD}bias"
NUM_SPECIAL = 4  # <s>, <pad>, </s>, <unk>; <mask> is the last row

INITS = ("neighbours", "parts", "mean", "random", "normal")
DEFAULT_INIT = "auto"
"""``neighbours`` where there is text to learn from, else :data:`WITHOUT_TEXT`: see scripts/new_pieces.py."""
WITHOUT_TEXT = "parts"


class Extension(NamedTuple):
    """Result of :func:`extend_vocabulary`.

    Args:
        kept: pieces in both vocabularies.
        new: pieces with a new row.
        dropped: pieces of the checkpoint that the new vocabulary lacks.
        parameters: number of parameters before and after.
    """

    kept: int
    new: int
    dropped: int
    parameters: tuple[int, int]


def check_init(init: str, corpus: Optional[PathLike]) -> None:
    """Raise ``ValueError`` if the initialisation is unknown or lacks its text."""
    if init not in (DEFAULT_INIT, *INITS):
        raise ValueError(f"--new-pieces must be {DEFAULT_INIT} or one of {', '.join(INITS)}, but is {init!r}")
    if init == "neighbours" and corpus is None:
        raise ValueError(
            "--new-pieces neighbours learns the similarity of pieces from text: name it with --corpus FOLDER"
        )
    if corpus is not None:
        corpus_files(corpus)


def extend_vocabulary(
    state: dict[str, Any],
    old: Tokenizer,
    new: Tokenizer,
    *,
    init: str = DEFAULT_INIT,
    corpus: Optional[PathLike] = None,
    seed: int = 42,
) -> tuple[dict[str, Any], Extension]:
    """Make a checkpoint whose embedding and head match another SentencePiece model.

    Rows are matched by piece, so the order of the new model does not matter; ``<mask>`` stays the last row. The
    optimizer state and the position in the data are dropped, because training starts over.

    Args:
        state: a LangSAMP, ``roberta`` or ``xlmr`` checkpoint of fairseq.
        old: the tokenizer that maps text to the checkpoint's rows.
        new: the tokenizer to train with.
        init: initialisation of new pieces; the output bias of a piece is derived like its row, or is the mean.
        corpus: text for ``neighbours``.
        seed: seed of random rows, and of the vectors of ``neighbours``.

    Returns:
        The new checkpoint, and the numbers of kept, new and dropped pieces.

    Raises:
        ValueError: the checkpoint's vocabulary is not that of ``old``, or ``init`` is unknown.
    """
    check_init(init, corpus)
    if init == DEFAULT_INIT:
        init = "neighbours" if corpus is not None else WITHOUT_TEXT
    weights: dict[str, Tensor] = dict(state["model"])
    rows = len(weights[EMBEDDING])
    if rows != old.vocab_size:
        raise ValueError(f"the model has {rows:,} word embeddings, but {old.path} makes {old.vocab_size:,} tokens")
    before = _parameters(weights)
    sources = _sources(old, new, init, corpus, seed)
    generator = torch.Generator().manual_seed(seed)
    embedding = weights[EMBEDDING]
    tied = HEAD_WEIGHT not in weights or torch.equal(weights[HEAD_WEIGHT], embedding)
    weights[EMBEDDING] = _rows(embedding, sources, init, generator)
    if HEAD_WEIGHT in weights:
        weights[HEAD_WEIGHT] = weights[EMBEDDING] if tied else _rows(weights[HEAD_WEIGHT], sources, init, generator)
    if HEAD_BIAS in weights:
        weights[HEAD_BIAS] = _rows(weights[HEAD_BIAS].unsqueeze(1), sources, "mean", generator).squeeze(1)
    common = len(set(old.pieces) & set(new.pieces))
    change = Extension(
        kept=common,
        new=len(new.pieces) - common,
        dropped=len(old.pieces) - common,
        parameters=(before, _parameters(weights)),
    )
    return fresh_checkpoint(state, weights), change


def _parameters(weights: dict[str, Tensor]) -> int:
    """Return the number of parameters; the tied projection counts once."""
    return sum(tensor.numel() for name, tensor in weights.items() if name != HEAD_WEIGHT and tensor.is_floating_point())


def _sources(
    old: Tokenizer, new: Tokenizer, init: str, corpus: Optional[PathLike], seed: int
) -> list[Optional[Weights]]:
    """Return the old rows and weights that make up each new row: itself, others, or ``None``."""
    row = {piece: number for number, piece in enumerate(old.pieces, NUM_SPECIAL)}
    alike: dict[str, Weights] = {}
    if init == "neighbours":
        assert corpus is not None, "check_init requires it"
        alike = neighbour_weights(row, new, corpus, seed)
    sources: list[Optional[Weights]] = [[(number, 1.0)] for number in range(NUM_SPECIAL)]
    for piece in new.pieces:
        if piece in row:
            sources.append([(row[piece], 1.0)])
        elif init in ("parts", "neighbours"):
            sources.append(alike.get(piece) or _parts(piece, old, row))
        else:
            sources.append(None)
    sources.append([(old.vocab_size - 1, 1.0)])
    return sources


def _parts(piece: str, old: Tokenizer, row: dict[str, int]) -> Optional[Weights]:
    parts = old.processor.encode(piece.replace("\u2581", " "), out_type=str)
    if parts[:1] == ["\u2581"] and not piece.startswith("\u2581"):
        parts = parts[1:]  # SentencePiece put a space before a word-internal piece
    known = [row[part] for part in parts if part in row]
    return [(number, 1 / len(known)) for number in known] or None


def _rows(old: Tensor, sources: list[Optional[Weights]], init: str, generator: torch.Generator) -> Tensor:
    out = torch.empty(len(sources), old.shape[1], dtype=old.dtype)
    # Special tokens are not words and would distort the mean.
    words = old[NUM_SPECIAL:-1].float()
    mean = words.mean(0)
    copied = [(number, source[0][0]) for number, source in enumerate(sources) if source and len(source) == 1]
    if copied:
        targets, rows = torch.tensor(copied).unbind(1)
        out[targets] = old[rows]
    fresh = [number for number, source in enumerate(sources) if source is None]
    for number, source in enumerate(sources):
        if source is not None and len(source) > 1:
            places, shares = zip(*source)
            out[number] = (torch.tensor(shares) @ old[list(places)].float()).to(old.dtype)
    if init == "random":
        out[fresh] = (mean + _draw(words, mean, len(fresh), generator)).to(old.dtype)
    elif init == "normal":
        out[fresh] = (torch.randn(len(fresh), old.shape[1], generator=generator) * INIT_STD).to(old.dtype)
    else:
        out[fresh] = mean.to(old.dtype)
    return out


def _draw(words: Tensor, mean: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` draws from a normal distribution with the covariance of the rows, around zero."""
    centred = (words - mean).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(words))
    root = vectors * values.clamp_min(0).sqrt()
    noise = torch.randn(count, len(mean), generator=generator, dtype=torch.float64)
    return (noise @ root.T).float()
