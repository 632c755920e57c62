"""Blocks of longitude and latitude that train or test as a whole: which one holds a patch, which it touches.

All functions work on many patches at once and give for each what it would get alone.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_DEG_LAT_M = 110_574.0  # least length of a degree of latitude (WGS 84, at the equator)
_DEG_LON_M = 111_319.0  # least length of a degree of longitude over the cosine of the latitude
_WIDER = 1.001  # UTM, in which distances are checked, shrinks lengths by up to 0.04 %
_BEND_M = 1.0  # how far a side strays from the straight line between its corners

Blocks = NDArray[np.uint64]
"""Numbers of blocks."""


def holding(bounds_deg: NDArray[np.float64], block_deg: float) -> Blocks:
    """Number of the block that holds the middle of each patch.

    Args:
        bounds_deg: (patches, 4), west, south, east, north, as `catalog.grid.bounds_deg` gives them.
    """
    west, south, east, north = bounds_deg.T
    return _number(_row((south + north) / 2, block_deg), _column((west + east) / 2, block_deg), block_deg)


def touched(bounds_deg: NDArray[np.float64], block_deg: float, wider_m: ArrayLike) -> Blocks:
    """Every block that each patch, widened on all sides, touches; rather one too many.

    Args:
        bounds_deg: as `holding` takes them.
        wider_m: of each patch, or of all.

    Returns:
        (patches, most): blocks of a patch that touches fewer than the most are repeated.
    """
    west, south, east, north = bounds_deg.T
    reach_m = np.asarray(wider_m) * _WIDER + _BEND_M
    rise = reach_m / _DEG_LAT_M
    south, north = south - rise, north + rise
    reach = reach_m / (_DEG_LON_M * np.cos(np.radians(np.maximum(np.abs(south), np.abs(north)))))
    rows = _steps(_row(south, block_deg), _row(north, block_deg))
    columns = _steps(_column(west - reach, block_deg), _column(east + reach, block_deg))
    return _number(rows[:, :, None], columns[:, None, :], block_deg).reshape(len(bounds_deg), -1)


def _steps(first: NDArray[np.float64], last: NDArray[np.float64]) -> NDArray[np.float64]:
    """(ranges, most): the whole numbers of each range, its last repeated."""
    most = int((last - first).max(initial=0)) + 1
    return np.minimum(first[:, None] + np.arange(most), last[:, None])


def _row(lat_deg: NDArray[np.float64], block_deg: float) -> NDArray[np.float64]:
    return np.floor((lat_deg + 90) / block_deg)


def _column(lon_deg: NDArray[np.float64], block_deg: float) -> NDArray[np.float64]:
    """Below 0 or beyond the last across the antimeridian."""
    return np.floor((lon_deg + 180) / block_deg)


def _number(row: NDArray[np.float64], column: NDArray[np.float64], block_deg: float) -> Blocks:
    """Rows from south to north, columns from west to east and around."""
    columns = round(360 / block_deg)
    return (row * columns + column % columns).astype(np.uint64)
