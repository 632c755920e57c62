"""CORINE Land Cover of the simulated ground: 100 m cells, no area under 25 ha.

Made as the real one is defined: a photo interpreter's generalisation, here the most frequent zone among 25 points of
each cell, then areas below the minimum mapping unit merged into their largest neighbour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.labels import CORINE
from catalog.mgrs import transformer
from ingest.sandbox.noise import Frame

CELL_M = 100
MAPPING_UNIT_CELLS = 25  # 25 ha (EEA, CORINE Land Cover nomenclature guidelines)
EPSG = 3035  # ETRS89-LAEA Europe, the projection of the real raster
_POINTS = 5  # a side; their spacing of 20 m is that of two pixels
_EUROPE_DEG = (-25.0, 34.0, 45.0, 72.0)  # west, south, east, north of what the real map covers


@dataclass(frozen=True, slots=True)
class Corine:
    """CORINE classes of one region, on the 100 m cells of EPSG:3035."""

    west_m: int
    north_m: int
    classes: NDArray[np.uint8]
    """Grid codes 1..44, 0 outside the region."""


def in_europe(lon_deg: float, lat_deg: float) -> bool:
    """Whether the real map would reach here, roughly."""
    west, south, east, north = _EUROPE_DEG
    return west <= lon_deg <= east and south <= lat_deg <= north


def corine(frame: Frame, zone: NDArray[np.uint8]) -> Corine:
    """Generalise the zones of a frame; only cells that lie wholly inside get a class."""
    west, south, east, north = _bounds(frame)
    columns, rows = (east - west) // CELL_M, (north - south) // CELL_M
    x_m = west + (np.arange(columns * _POINTS) + 0.5) * CELL_M / _POINTS
    y_m = north - (np.arange(rows * _POINTS) + 0.5) * CELL_M / _POINTS
    points = _sample(frame, zone, *np.meshgrid(x_m, y_m))
    votes = points.reshape(rows, _POINTS, columns, _POINTS).swapaxes(1, 2).reshape(rows, columns, -1)
    return Corine(west, north, generalise(_majority(votes)))


def _bounds(frame: Frame) -> tuple[int, int, int, int]:
    """Bounds of a frame in EPSG:3035, outwards to whole cells."""
    west, south, east, north = transformer(frame.epsg, EPSG).transform_bounds(*frame.bounds_m)
    return tuple(int(f(edge / CELL_M)) * CELL_M for f, edge in zip(_OUTWARDS, (west, south, east, north), strict=True))  # type: ignore[return-value]


_OUTWARDS = (np.floor, np.floor, np.ceil, np.ceil)


def _sample(
    frame: Frame, zone: NDArray[np.uint8], x_m: NDArray[np.float64], y_m: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Zone of the pixel under each point of EPSG:3035, 0 outside the frame."""
    east, north = transformer(EPSG, frame.epsg).transform(x_m, y_m)
    column = np.floor((east - frame.west_m) / frame.gsd_m).astype(np.int64)
    row = np.floor((frame.north_m - north) / frame.gsd_m).astype(np.int64)
    inside = (column >= 0) & (column < frame.cols) & (row >= 0) & (row < frame.rows)
    return np.where(inside, zone[np.where(inside, row, 0), np.where(inside, column, 0)], 0).astype(np.uint8)


def _majority(votes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Most frequent value of the last axis, the smaller on a tie; 0 where any vote is 0."""
    kinds = np.unique(votes)
    counts = np.stack([(votes == kind).sum(axis=-1, dtype=np.uint8) for kind in kinds])
    winner = kinds[counts.argmax(axis=0)]
    return np.where((votes == 0).any(axis=-1), 0, winner).astype(np.uint8)


def generalise(classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Merge areas below the minimum mapping unit into their largest neighbour, the smallest first."""
    from rasterio.features import sieve

    inside = classes > 0
    for cells in (3, 6, 12, MAPPING_UNIT_CELLS, MAPPING_UNIT_CELLS):
        classes = sieve(classes, size=cells, mask=inside, connectivity=4)
    return np.where(inside, classes, 0).astype(np.uint8)


def write_corine(path: Path, regions: Sequence[Corine]) -> None:
    """Write one raster that spans all regions, with the official colours; 0 where nothing is known."""
    import rasterio
    from rasterio.transform import Affine

    path.parent.mkdir(parents=True, exist_ok=True)
    west, north = min(region.west_m for region in regions), max(region.north_m for region in regions)
    east = max(region.west_m + region.classes.shape[1] * CELL_M for region in regions)
    south = min(region.north_m - region.classes.shape[0] * CELL_M for region in regions)
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 0, "crs": f"EPSG:{EPSG}", "tiled": True,
        "width": (east - west) // CELL_M, "height": (north - south) // CELL_M, "compress": "DEFLATE", "sparse_ok": True,
        "transform": Affine(CELL_M, 0, west, 0, -CELL_M, north),
    }  # fmt: skip
    with rasterio.open(path, "w+", **profile) as raster:
        raster.write_colormap(1, {cover.grid_code: (*cover.colour, 255) for cover in CORINE})
        for region in regions:
            _write_region(raster, region, (west, north))


def _write_region(raster: Any, region: Corine, corner: tuple[int, int]) -> None:
    """Two regions' cells may share the bounding box of one, so only known cells replace what is there."""
    from rasterio.windows import Window

    rows, columns = region.classes.shape
    window = Window((region.west_m - corner[0]) // CELL_M, (corner[1] - region.north_m) // CELL_M, columns, rows)
    before = raster.read(1, window=window)
    raster.write(np.where(region.classes > 0, region.classes, before), 1, window=window)
