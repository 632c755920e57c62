"""Random numbers that depend on what they are drawn for and on nothing else: no order, no process, no machine."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MIXERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64 (Steele et al. 2014)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniform(numbers: NDArray[np.integer[Any]], salt: int, stream: int = 0) -> NDArray[np.float64]:
    """A number in [0, 1) for each whole number, the same on every machine.

    Args:
        salt: another one gives other draws; below 2**62.
    """
    with np.errstate(over="ignore"):
        state = np.asarray(numbers, np.uint64) * _GOLDEN + np.uint64(2 * salt + stream + 1)
        for _ in range(2):
            state = (state ^ (state >> np.uint64(30))) * _MIXERS[0]
            state = (state ^ (state >> np.uint64(27))) * _MIXERS[1]
            state = (state ^ (state >> np.uint64(31))) + _GOLDEN
    return np.asarray((state >> np.uint64(11)) * 2.0**-53, np.float64)
