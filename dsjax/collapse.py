"""Whether embeddings tell samples apart at all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.floating]

# Above this mean cosine, or below this rank, embeddings hold next to nothing. TorchGeo's collapsed SimCLR had 1.0.
_MAX_MEAN_COSINE = 0.99
_MIN_RANK = 2.0
_ROWS_AT_ONCE = 256  # of 30,000 crops 60 MB, and twice that while their exponentials are taken


@dataclass(frozen=True)
class Collapse:
    """How far embeddings are from all being the same."""

    spread: float
    """sqrt(dim) times the mean standard deviation of a dimension of unit embeddings; 1 is even, 0 collapsed."""
    mean_cosine: float
    """Between two different samples; 1 is collapsed."""
    effective_rank: float
    """RankMe (Garrido et al. 2023): from 1 to the dimension."""
    uniformity: float
    """Log of the mean Gaussian potential of pairs (Wang and Isola 2020, t = 2); 0 is collapsed, lower is better."""

    @property
    def collapsed(self) -> bool:
        """Whether nothing could be learned from the embeddings."""
        return self.mean_cosine > _MAX_MEAN_COSINE or self.effective_rank < _MIN_RANK


def measure_collapse(z: Embeddings) -> Collapse:
    """Collapse diagnostics of embeddings, `sample dim`, in float64."""
    z = np.asarray(z, np.float64)
    u = _unit(z)
    n = len(u)
    cosine = (np.square(u.sum(axis=0)).sum() - n) / (n * (n - 1))
    return Collapse(
        spread=float(u.std(axis=0).mean() * np.sqrt(u.shape[1])),
        mean_cosine=float(cosine),
        effective_rank=effective_rank(z),
        uniformity=_uniformity(u),
    )


def _uniformity(u: NDArray[np.float64]) -> float:
    """Over all pairs, a block of rows at a time: its memory is some rows of the matrix of distances."""
    n = len(u)
    both_ways = sum(_potentials(u[i : i + _ROWS_AT_ONCE] @ u.T) for i in range(0, n, _ROWS_AT_ONCE))
    alone = _potentials(np.square(u).sum(axis=1))
    return float(np.log((both_ways - alone) / (n * (n - 1))))


def _potentials(cosines: NDArray[np.float64]) -> float:
    """Sum of exp(-2 d^2), d^2 = 2 - 2 cosine."""
    return float(np.exp(4 * cosines - 4).sum())


def effective_rank(z: Embeddings) -> float:
    """RankMe: exponential of the entropy of the normalised singular values (Garrido et al. 2023, equation 1)."""
    values = np.linalg.svd(z, compute_uv=False)
    shares = values / values.sum() + 1e-7  # their epsilon
    return float(np.exp(-np.sum(shares * np.log(shares))))


def alignment(first: Embeddings, second: Embeddings) -> float:
    """Mean squared distance of unit embeddings of two views of the same samples (Wang and Isola 2020); 0 is best."""
    return float(np.mean(np.square(_unit(first) - _unit(second)).sum(axis=1)))


def _unit(z: Embeddings) -> NDArray[np.float64]:
    z = np.asarray(z, np.float64)
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
