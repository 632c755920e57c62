"""Weights of classes for a weighted log loss, from how many pixels each class has; stored with the statistics."""

import math
import statistics
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=Hashable)
UNKNOWN = 0  # what CORINE counts pixels without a class as


def known(counts: Mapping[int, int]) -> dict[int, int]:
    """Pixels by class without the unknown ones, which no loss should see."""
    return {code: pixels for code, pixels in counts.items() if code != UNKNOWN}


def median_frequency(counts: Mapping[_Class, int]) -> dict[_Class, float]:
    """Median of the counts over each count: 1 for the median class, more for rarer ones (Eigen and Fergus 2015)."""
    present = _present(counts)
    median = statistics.median(present.values()) if present else 0
    return {name: median / pixels for name, pixels in present.items()}


def inverse_sqrt(counts: Mapping[_Class, int]) -> dict[_Class, float]:
    """One over the root of each count, scaled to a mean of 1 over pixels, so that the loss keeps its size.

    Softer than the median frequency: a class a hundred times rarer weighs ten times more.
    """
    present = _present(counts)
    scale = sum(present.values()) / sum(map(math.sqrt, present.values())) if present else 0
    return {name: scale / math.sqrt(pixels) for name, pixels in present.items()}


def _present(counts: Mapping[_Class, int]) -> dict[_Class, int]:
    return {name: pixels for name, pixels in counts.items() if pixels}


WEIGHTS: Mapping[str, Callable[[Mapping[Any, int]], dict[Any, float]]] = {
    "median_frequency": median_frequency,
    "inverse_sqrt": inverse_sqrt,
}
