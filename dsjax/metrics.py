"""Figures of merit of predicted classes, all functions of a confusion matrix, and their confidence intervals."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Confusion = NDArray[np.number]
"""Samples by true class and predicted class, in the last two axes; leading axes are free."""
Metric = Callable[[Confusion], NDArray[np.float64]]


def confusions(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], clusters: NDArray[np.integer]
) -> NDArray[np.int64]:
    """A confusion matrix for each cluster: `cluster true predicted`, clusters and classes in sorted order."""
    classes, index = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    groups, group = np.unique(clusters, return_inverse=True)
    counts = np.zeros((len(groups), len(classes), len(classes)), np.int64)
    np.add.at(counts, (group, index[: len(truth)], index[len(truth) :]), 1)
    return counts


def accuracy(confusion: Confusion) -> NDArray[np.float64]:
    """Share of samples that are right."""
    return _diagonal(confusion).sum(-1) / confusion.sum((-2, -1))


def balanced_accuracy(confusion: Confusion) -> NDArray[np.float64]:
    """Mean over the classes that occur of the share that is right."""
    return _mean_of_classes(_diagonal(confusion), confusion.sum(-1), confusion)


def macro_f1(confusion: Confusion) -> NDArray[np.float64]:
    """Mean over the classes that occur of the harmonic mean of precision and recall."""
    return _mean_of_classes(2 * _diagonal(confusion), confusion.sum(-1) + confusion.sum(-2), confusion)


METRICS: dict[str, Metric] = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "macro_f1": macro_f1}


def _diagonal(confusion: Confusion) -> NDArray[np.number]:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _mean_of_classes(part: NDArray[np.number], whole: NDArray[np.number], confusion: Confusion) -> NDArray[np.float64]:
    occurs = confusion.sum(-1) > 0
    shares = np.where(occurs, part / np.where(occurs, whole, 1), 0.0)
    return shares.sum(-1) / occurs.sum(-1)


@dataclass(frozen=True)
class Estimate:
    """A score and its 95 % confidence interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: NDArray[np.float64], drawn: NDArray[np.float64]) -> "Estimate":
        """Percentiles of bootstrap draws."""
        low, high = np.percentile(drawn, (2.5, 97.5))
        return cls(float(value), float(low), float(high))


def resamples(clusters: int, draws: int, seed: int) -> NDArray[np.int64]:
    """How often each cluster is drawn: `draw cluster`. Samples of one patch are alike, so whole patches are drawn."""
    return np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), size=draws)


def estimate(metric: Metric, counts: NDArray[np.int64], weights: NDArray[np.int64]) -> Estimate:
    """A metric of all clusters together, with the interval that these resamples give.

    Args:
        counts: one confusion matrix a cluster.
        weights: as `resamples` gives.
    """
    return Estimate.of(metric(counts.sum(0)), metric(_resampled(counts, weights)))


def estimate_gain(
    metric: Metric, counts: NDArray[np.int64], baseline: NDArray[np.int64], weights: NDArray[np.int64]
) -> Estimate:
    """A metric minus that of a baseline on the same samples; both see the same draws, so the interval is paired."""
    drawn = metric(_resampled(counts, weights)) - metric(_resampled(baseline, weights))
    return Estimate.of(metric(counts.sum(0)) - metric(baseline.sum(0)), drawn)


def _resampled(counts: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.tensordot(weights, counts, axes=1)
