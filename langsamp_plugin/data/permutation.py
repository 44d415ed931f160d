"""A pseudo-random permutation of range(n), computed element by element without storage."""

from __future__ import annotations

import numpy as np

from langsamp_plugin.data.hashing import key

ROUNDS = 6


def permute(index: np.ndarray, size: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Apply a keyed permutation of ``range(size)`` to ``index``, elementwise over arrays.

    A generalised Feistel network with cycle walking (Black and Rogaway: Ciphers with arbitrary finite domains,
    CT-RSA 2002): split x = left + a * right with a * b >= size as tight as possible, alternately add a keyed hash of
    one half to the other, and repeat while the result is outside the range.

    Args:
        index: int64, ``0 <= index < size``.
        size: int64, the size of each element's permutation; at least 1.
        keys: uint64, selects the permutation; equal keys and sizes give the same permutation.

    Returns:
        int64 of the broadcast shape; for a fixed size and key a bijection of ``range(size)``.
    """
    index, size, keys = (np.array(part) for part in np.broadcast_arrays(index, size, keys))
    a = np.maximum(1, np.ceil(np.sqrt(size.astype(np.float64))).astype(np.int64))
    b = -(-size // a)
    result = _feistel(index, a, b, keys)
    outside = np.flatnonzero(result >= size)
    while outside.size:
        result[outside] = _feistel(result[outside], a[outside], b[outside], keys[outside])
        outside = outside[result[outside] >= size[outside]]
    return result


def _feistel(x: np.ndarray, a: np.ndarray, b: np.ndarray, keys: np.ndarray) -> np.ndarray:
    left, right = x % a, x // a
    for number in range(ROUNDS):
        if number % 2 == 0:
            left = (left + _bounded(key(keys, number, right), a)) % a
        else:
            right = (right + _bounded(key(keys, number, left), b)) % b
    return left + a * right


def _bounded(values: np.ndarray, bound: np.ndarray) -> np.ndarray:
    # The top 32 bits scaled to [0, bound): the bias is negligible for bound < 2**31, which holds for sqrt(size).
    return ((values >> np.uint64(32)) * bound.astype(np.uint64) >> np.uint64(32)).astype(np.int64)
