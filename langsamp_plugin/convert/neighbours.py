"""Which old pieces a new one is like, by vectors of pieces that are trained on the user's own text.

The way of OFA (Liu et al. 2024) and FOCUS (Dobler and de Melo 2023): a new row is a sparse weighted mean of old rows,
the weights from the similarity of vectors in a space that has both. Theirs comes with downloads; this one is trained on
the corpus, split once by the new model, so that pieces that both vocabularies have stand next to new ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np
import torch

from langsamp_plugin.atomic import PathLike
from langsamp_plugin.corpus.text import corpus_files, read_lines
from langsamp_plugin.progress import progress
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

Weights = list[tuple[int, float]]
"""Rows and their shares, which add up to 1."""

NEIGHBOURS = 10
TEMPERATURE = 0.1
"""Of the softmax over cosines; both as in OFA."""
WIDTH, WINDOW, EPOCHS, MIN_COUNT = 100, 5, 5, 3
LINES = 200_000
"""Most lines that vectors are trained on, spread over all languages."""


def neighbour_weights(row: Mapping[str, int], new: Tokenizer, corpus: PathLike, seed: int = 42) -> dict[str, Weights]:
    """Return for new pieces the old rows whose pieces are used alike.

    Args:
        row: the row of each old piece.
        new: the tokenizer that has the new pieces.
        corpus: folder of ``<tag>.txt``.
        seed: of the vectors; with one thread they are the same each time.

    Returns:
        Rows and shares by new piece; pieces that the text has less than three times are left out.

    Raises:
        ModuleNotFoundError: gensim is not installed.
        ValueError: the text has no piece that both vocabularies have.
    """
    pieces, vectors = _train(new, corpus, seed)
    old = [number for number, piece in enumerate(pieces) if piece in row]
    own = set(new.pieces)  # a character that the model does not know comes as itself and has no row to be made
    fresh = [number for number, piece in enumerate(pieces) if piece in own and piece not in row]
    if not old:
        raise ValueError(f"{corpus} has no text with pieces that both vocabularies have: --new-pieces parts needs none")
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
