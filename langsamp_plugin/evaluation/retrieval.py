"""Sentence retrieval: whether the nearest vector to a sentence is its translation's.

The protocol is Glot500's and LangSAMP's: English queries, the other language's sentences as the index, cosine of
mean-pooled states of block 8 of 12, and top-k accuracy. Both directions are computed here.
"""

from __future__ import annotations

import numpy as np

TOP = (1, 5, 10)
BLOCK = 2048  # queries compared with the complete index at a time


def retrieval_scores(queries: np.ndarray, index: np.ndarray) -> dict[str, float]:
    """Return top-k accuracies, from the queries to the index and back.

    Args:
        queries, index: float ``(n, C)``; row i of one is the translation of row i of the other.

    Returns:
        ``top1``, ``top5``, ``top10``, ``reverse1``, ``reverse5``, ``reverse10``, in percent, and ``chance10``, the
        top-10 accuracy of guessing.
    """
    forth, back = both_ranks(queries, index)
    scores = {f"top{k}": 100.0 * float((forth <= k).mean()) for k in TOP}
    scores.update({f"reverse{k}": 100.0 * float((back <= k).mean()) for k in TOP})
    return {**scores, "chance10": 100.0 * min(1.0, 10 / len(queries))}


def both_ranks(queries: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rank of each row's translation among all rows, in both directions; 1 is the nearest.

    An exact search by blocked matrix products. In a tie the correct row ranks last, and so does a row that cannot be
    compared, so a model that maps everything to one point gains nothing.

    Args:
        queries, index: float ``(n, C)``.

    Returns:
        int64 ``(n,)`` from the queries to the index, and back.

    Raises:
        ValueError: a vector is not finite.
    """
    for name, vectors in (("queries", queries), ("index", index)):
        finite = np.isfinite(vectors).all(1)
        if not finite.all():
            raise ValueError(
                f"the {name} must be finite vectors, but row {int(np.argmin(finite))} contains NaN or infinity"
            )
    queries, index = _unit(queries), _unit(index)
    own = np.empty(len(queries), dtype=queries.dtype)
    forth = np.empty(len(queries), dtype=np.int64)
    back = np.ones(len(queries), dtype=np.int64)
    for start in range(0, len(queries), BLOCK):
        similarity = queries[start : start + BLOCK] @ index.T
        rows = np.arange(len(similarity))
        # Read the correct row's cosine from the product: sums in another order differ in the last digit.
        own[start + rows] = similarity[rows, start + rows]
        forth[start + rows] = (~(similarity < own[start + rows, None])).sum(1)  # the correct row counts itself
    for start in range(0, len(queries), BLOCK):
        if len(queries) > BLOCK:  # otherwise the previous block stays in memory
            similarity = queries[start : start + BLOCK] @ index.T
        rows = np.arange(len(similarity))
        similarity[rows, start + rows] = -np.inf
        back += (~(similarity < own[None, :])).sum(0)
    return forth, back


def ranks(queries: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the rank of each query's translation among all rows by cosine; see :func:`both_ranks`."""
    return both_ranks(queries, index)[0]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
