"""Counter-based random numbers: every draw is a pure function of the integers that name it.

Sampling, masking and tag dropout must give the same result in any worker, in any order and after any restart,
so none of them keeps a generator's state. SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
generators, OOPSLA 2014) hashes the naming integers; it vectorises in numpy and passes BigCrush as a generator.
"""

from __future__ import annotations

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


def mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's output function, elementwise on uint64."""
    values = (values ^ (values >> np.uint64(30))) * _MIX1
    values = (values ^ (values >> np.uint64(27))) * _MIX2
    return values ^ (values >> np.uint64(31))


def key(*parts: int | np.ndarray) -> np.ndarray:
    """Hash integers, or arrays of integers that broadcast, into uint64 keys of the broadcast shape."""
    with np.errstate(over="ignore"):  # hash arithmetic wraps around
        state = np.asarray(0, dtype=np.uint64)
        for part in parts:
            state = mix((state ^ np.asarray(part).astype(np.uint64)) * np.uint64(0xD1342543DE82EF95) + _GAMMA)
        return state


def uniforms(keys: np.ndarray, count: int) -> np.ndarray:
    """Draw ``count`` uint64 numbers for each key.

    Args:
        keys: uint64 of shape ``(n,)``.
        count: numbers per key.

    Returns:
        uint64 of shape ``(n, count)``; column j is the j-th draw of a key, independent of ``count``.
    """
    with np.errstate(over="ignore"):
        return mix(keys[:, None] + _GAMMA * np.arange(1, count + 1, dtype=np.uint64))


def to_unit(values: np.ndarray) -> np.ndarray:
    """Map uint64 to float64 in [0, 1), with all 53 bits of the mantissa."""
    return (values >> np.uint64(11)).astype(np.float64) * 2.0**-53
