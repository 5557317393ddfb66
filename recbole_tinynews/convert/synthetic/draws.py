"""Counter-based random numbers, independent of the order of draws."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seed: int, purpose: str, *counters: ArrayLike) -> NDArray[np.float64]:
    """Uniforms in (0, 1), one per element of the broadcast ``counters``.

    A pure function (SplitMix64, Steele et al. 2014): impression 7 gets the same numbers alone or
    among a million.

    >>> bool(uniforms(1, "clicks", [5, 7])[1] == uniforms(1, "clicks", 7))
    True
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    state = np.array(int.from_bytes(digest[:8], "little"), dtype=np.uint64)
    with np.errstate(over="ignore"):  # wraps modulo 2**64 by design
        for counter in counters:
            steps = np.asarray(counter).astype(np.uint64) + np.uint64(1)
            state = _mixed(state + steps * _GOLDEN)
    return ((state >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def normals(seed: int, purpose: str, *counters: ArrayLike) -> NDArray[np.float64]:
    """Standard normals from ``uniforms`` (Box and Muller 1958)."""
    radius = np.sqrt(-2 * np.log(uniforms(seed, purpose + "/radius", *counters)))
    return radius * np.cos(2 * np.pi * uniforms(seed, purpose + "/angle", *counters))
