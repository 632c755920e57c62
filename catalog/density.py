"""A small map of where the patches of a corpus lie: the picture of its collection."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WIDTH_BINS, _MOST_HEIGHT_BINS, _LEAST_HEIGHT_BINS = 128, 128, 16
_BIN_PX = 4
_FEW, _MANY = np.array([254, 217, 118.0]), np.array([128, 0, 38.0])  # ends of the ramp YlOrRd (ColorBrewer 2)
_OPAQUE = 255


def density_map(lon_deg: Sequence[float], lat_deg: Sequence[float], bbox: Sequence[float]) -> NDArray[np.uint8]:
    """Patches a bin, in equal steps of longitude and latitude that fill the box, north up: `(height, width, 4)`.

    Colours follow the logarithm of the count; bins without a patch are transparent, so that a map below shows.

    Args:
        bbox: west, south, east, north; the collection's, since viewers stretch its picture over that box.
    """
    west, south, east, north = bbox
    shape = (north - south) / max(east - west, 1e-9)
    height = int(np.clip(round(_WIDTH_BINS * shape), _LEAST_HEIGHT_BINS, _MOST_HEIGHT_BINS))
    rows = _bins(north - np.asarray(lat_deg), north - south, height)
    columns = _bins(np.asarray(lon_deg) - west, east - west, _WIDTH_BINS)
    counts = np.zeros((height, _WIDTH_BINS))
    np.add.at(counts, (rows, columns), 1)
    share = (np.log1p(counts) / np.log1p(counts.max()))[..., None]
    image = np.zeros((height, _WIDTH_BINS, 4), np.uint8)
    image[..., :3] = np.rint(_FEW + share * (_MANY - _FEW))
    image[..., 3] = np.where(counts > 0, _OPAQUE, 0)
    image[counts == 0] = 0
    return image.repeat(_BIN_PX, axis=0).repeat(_BIN_PX, axis=1)


def _bins(offset_deg: NDArray[np.float64], span_deg: float, count: int) -> NDArray[np.intp]:
    return np.clip(offset_deg / max(span_deg, 1e-9) * count, 0, count - 1).astype(np.intp)
