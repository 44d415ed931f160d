"""Projects vectors to two dimensions: principal components and UMAP."""

from __future__ import annotations

import numpy as np


def principal_components(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(points (n, 2), share of variance (2,))`` of the first two principal components.

    The sign of a component is arbitrary; it is chosen so that its largest entry is positive.
    """
    centred = vectors - vectors.mean(0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    points = left[:, :2] * singular[:2]
    points *= np.where(points[np.abs(points).argmax(0), np.arange(2)] < 0, -1.0, 1.0)
    return points, singular[:2] ** 2 / max(float((singular**2).sum()), 1e-30)


def umap_points(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return UMAP's points ``(n, 2)`` of vectors ``(n, C)`` by cosine; the same seed gives the same points.

    15 neighbours and a distance of 0.1 are the library's defaults (McInnes et al. 2018). It is initialised with the
    principal components, because its default initialisation needs more points than a small inventory has.

    Raises:
        ModuleNotFoundError: umap-learn is not installed.
    """
    from umap import UMAP

    neighbours = min(15, len(vectors) - 1)
    return UMAP(n_neighbors=neighbours, metric="cosine", init="pca", random_state=seed, n_jobs=1).fit_transform(vectors)
