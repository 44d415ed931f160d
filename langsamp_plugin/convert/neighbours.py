"""Finds the old pieces that are most similar to a new piece, by piece vectors trained on the user's text.

Follows OFA (Liu et al. 2024) and FOCUS (Dobler and de Melo 2023): a new row is a sparse weighted mean of old rows,
weighted by the similarity of vectors in a shared space. OFA and FOCUS download these vectors. Here they are trained on
the corpus, tokenized once with the new model, so that shared pieces occur in the context of new ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np
import torch

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.corpus.text import corpus_files, read_lines
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

Weights = list[tuple[int, float]]
"""Rows and their weights, which sum to 1."""

NEIGHBOURS = 10
TEMPERATURE = 0.1
"""Temperature of the softmax over cosines; both constants as in OFA."""
WIDTH, WINDOW, EPOCHS, MIN_COUNT = 100, 5, 5, 3
LINES = 200_000
"""Maximum number of lines to train vectors on, over all languages."""


def neighbour_weights(row: Mapping[str, int], new: Tokenizer, corpus: PathLike, seed: int = 42) -> dict[str, Weights]:
    """Return, for each new piece, the old rows whose pieces are used similarly.

    Args:
        row: the row of each old piece.
        new: the tokenizer that has the new pieces.
        corpus: folder of ``<tag>.txt``.
        seed: seed of the vectors; with one thread they are reproducible.

    Returns:
        Rows and weights by new piece, without pieces that occur fewer than three times in the text.

    Raises:
        ModuleNotFoundError: gensim is not installed.
        ValueError: the text is too short, or contains no piece of both vocabularies.
    """
    pieces, vectors = _train(new, corpus, seed)
    old = [number for number, piece in enumerate(pieces) if piece in row]
    own = set(new.pieces)  # an unknown character is returned as itself and needs no row
    fresh = [number for number, piece in enumerate(pieces) if piece in own and piece not in row]
    if not old:
        raise ValueError(
            f"{corpus} must contain pieces of both vocabularies, but has none: use --new-pieces parts, which needs "
            "no text"
        )
    unit = torch.nn.functional.normalize(torch.from_numpy(vectors), dim=1)
    known = unit[old]
    found: dict[str, Weights] = {}
    for start in range(0, len(fresh), 1024):
        part = fresh[start : start + 1024]
        cosines, places = (unit[part] @ known.T).topk(min(NEIGHBOURS, len(old)), dim=1)
        shares = torch.softmax(cosines / TEMPERATURE, dim=1)
        for number, shares_of, places_of in zip(part, shares.tolist(), places.tolist()):
            found[pieces[number]] = [(row[pieces[old[place]]], share) for place, share in zip(places_of, shares_of)]
    return found


def _train(new: Tokenizer, corpus: PathLike, seed: int) -> tuple[list[str], np.ndarray]:
    """Return pieces and their vectors, float32 ``(pieces, WIDTH)``."""
    try:
        from gensim.models import Word2Vec
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "--new-pieces neighbours needs gensim: pip install 'langsamp-plugin[data]'"
        ) from error
    sentences = [new.processor.encode(line, out_type=str) for line in _lines(corpus)]
    counts = Counter(piece for sentence in sentences for piece in sentence)
    if max(counts.values(), default=0) < MIN_COUNT:
        raise ValueError(
            f"{corpus} must have a piece that occurs {MIN_COUNT} times or more, but has none: give more text, or use "
            "--new-pieces parts, which needs none"
        )
    model = Word2Vec(
        sentences=sentences, vector_size=WIDTH, window=WINDOW, min_count=MIN_COUNT, sg=1, epochs=EPOCHS, workers=1,
        seed=seed,
    )  # fmt: skip
    return list(model.wv.index_to_key), np.asarray(model.wv.vectors, dtype=np.float32)


def _lines(corpus: PathLike) -> Iterator[str]:
    files = corpus_files(corpus)
    most = max(1, LINES // len(files))
    for path in progress(files.values(), desc="reading", unit="language"):
        yield from islice(read_lines(path), most)
