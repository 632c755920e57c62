"""Pixel centres of a patch in the projection of a map that labels are drawn from."""

import numpy as np
from numpy.typing import NDArray

from catalog.grid import PatchGrid
from catalog.mgrs import transformer

LON_LAT = 4326
_NODES = -np.cos((2 * np.arange(7) + 1) * np.pi / 14)  # of Chebyshev, on -1..1


def centres_there(grid: PatchGrid, epsg: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of the 10 m pixels in another projection, axes `y x`.

    Projected at a few nodes and interpolated between them: within a micrometre of projecting each of the 65,536, in a
    fiftieth of the time. Longitudes are continuous, and so beyond 180 across the antimeridian.
    """
    half_m = grid.side_m / 2
    x_nodes, y_nodes = np.meshgrid(grid.west_m + half_m * (1 + _NODES), grid.north_m - half_m * (1 + _NODES))
    x_there, y_there = transformer(grid.epsg, epsg).transform(x_nodes, y_nodes)
    if epsg == LON_LAT:
        x_there = x_there - 360 * np.round((x_there - x_there[0, 0]) / 360)
    weights = _lagrange((np.arange(grid.side_px) + 0.5) * 2 / grid.side_px - 1)
    return weights @ x_there @ weights.T, weights @ y_there @ weights.T


def _lagrange(at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of each node's value at each point: (points, nodes)."""
    weights = np.ones((len(at), len(_NODES)))
    for i, node in enumerate(_NODES):
        for other in np.delete(_NODES, i):
            weights[:, i] *= (at - other) / (node - other)
    return weights
