"""What a frozen embedding knows: nearest neighbours and a linear probe."""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

NEIGHBOURS = 5  # torchgeo-bench's kNN-5
_INVERSE_PENALTIES = (1e-2, 1e-1, 1.0, 10.0)
_MAX_ITERATIONS = 300
_TOLERANCE = 1e-3

Embeddings = NDArray[np.floating]
Labels = NDArray[np.integer]


class Labelled(NamedTuple):
    """Embeddings and their classes."""

    z: Embeddings
    """sample dim"""
    labels: Labels
    """sample"""


def knn(train: Labelled, test: Embeddings, neighbours: int = NEIGHBOURS) -> Labels:
    """The class most frequent among the nearest training samples by cosine."""
    model = KNeighborsClassifier(min(neighbours, len(train.z)), metric="cosine")
    return model.fit(train.z, train.labels).predict(test)


def linear_probe(train: Labelled, val: Labelled, test: Embeddings) -> Labels:
    """Logistic regression on standardised embeddings; the penalty that is best on `val`, refitted on both.

    Of equally good penalties the weakest is taken.
    """
    fits = [(_right(_fit(train, c), val), c) for c in _INVERSE_PENALTIES]
    best = max(fits)[1]
    both = Labelled(np.concatenate([train.z, val.z]), np.concatenate([train.labels, val.labels]))
    return _fit(both, best).predict(test)


def _fit(samples: Labelled, inverse_penalty: float) -> Pipeline:
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=_MAX_ITERATIONS, tol=_TOLERANCE)
    )
    with warnings.catch_warnings():
        # A probe that has not fully converged is still a fair probe: all encoders get the same iterations.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(samples.z, samples.labels)


def _right(model: Pipeline, samples: Labelled) -> float:
    return float(np.mean(model.predict(samples.z) == samples.labels))
