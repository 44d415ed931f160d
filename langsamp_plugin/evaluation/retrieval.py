"""Sentence retrieval: whether a sentence's vector lies nearest to its translation's.

The protocol is Glot500's and LangSAMP's: English queries, the other language's sentences as index, cosine of
mean-pooled states of block 8 of 12, top-k accuracy; here in both directions.
"""

from __future__ import annotations

import numpy as np

TOP = (1, 5, 10)
BLOCK = 2048  # queries compared with the whole index at a time


def retrieval_scores(queries: np.ndarray, index: np.ndarray) -> dict[str, float]:
    """Return top-k accuracies, from the queries to the index and back.

    Args:
        queries, index: float ``(n, C)``; row i of one is the translation of row i of the other.

    Returns:
        ``top1``, ``top5``, ``top10``, ``reverse1``, ``reverse5``, ``reverse10``, in percent, and ``chance10``, what
        guessing gets among so many candidates.
    """
    forth, back = ranks(queries, index), ranks(index, queries)
    scores = {f"top{k}": 100.0 * float((forth <= k).mean()) for k in TOP}
    scores.update({f"reverse{k}": 100.0 * float((back <= k).mean()) for k in TOP})
    return {**scores, "chance10": 100.0 * min(1.0, 10 / len(queries))}


def ranks(queries: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the place of each query's own row among all rows by cosine, 1 for the nearest.

    An exact search by blocked matrix products. Of equally near rows the own one counts as last, so that a model that
    maps everything to one point scores by its merit.

    Args:
        queries, index: float ``(n, C)``.

    Returns:
        int64 ``(n,)``.
    """
    queries, index = _unit(queries), _unit(index)
    found = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), BLOCK):
        similarity = queries[start : start + BLOCK] @ index.T
        own = similarity.diagonal(start)[:, None]
        found[start : start + BLOCK] = (similarity >= own).sum(1)  # the own row counts itself
    return found


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
