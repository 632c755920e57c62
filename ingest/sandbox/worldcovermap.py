"""ESA WorldCover of the simulated ground: what covers each pixel of 1/12,000 degree, in the real tiles of 3 degrees."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalog.mgrs import transformer
from ingest.sandbox.cogs import Window, write_sparse_cog
from ingest.sandbox.earth import Ground
from ingest.sandbox.landcover import Cover
from ingest.sandbox.noise import Frame
from ingest.worldcover import TILE_DEG, Tile, tile_name

LON_LAT = 4326
TILE_PX = 36_000
ACCOUNT = "ai4edataeuwest"
YEAR = 2021
_BUILT = 50
_ROOFS = 96  # of 255: a pixel under so much roof counts as built-up
_CLASSES = {
    Cover.WATER: 80, Cover.WINTER_CROP: 40, Cover.RAPESEED: 40, Cover.SUMMER_CROP: 40, Cover.FALLOW: 40,
    Cover.GRASS: 30, Cover.NATURAL_GRASS: 30, Cover.HEATH: 20, Cover.SCLEROPHYLL: 20, Cover.BROADLEAF: 10,
    Cover.CONIFER: 10, Cover.YOUNG_WOOD: 10, Cover.VINEYARD: 40, Cover.ORCHARD: 10, Cover.OLIVE: 10,
    Cover.REED: 90, Cover.BOG: 90, Cover.ROCK: 60, Cover.SPARSE: 60, Cover.GRAVEL: 60, Cover.GARDEN: 30,
    Cover.PAVED: _BUILT, Cover.SOLAR: _BUILT,
}  # fmt: skip


def classes_of(ground: Ground) -> NDArray[np.uint8]:
    """WorldCover classes of a ground's pixels."""
    table = np.zeros(max(_CLASSES) + 1, np.uint8)
    table[list(_CLASSES)] = list(_CLASSES.values())
    roofs = ground.house.astype(np.int64) + ground.hall
    return np.where(roofs > _ROOFS, np.uint8(_BUILT), table[ground.cover])


def write_worldcover(archive: Path, regions: Iterable[tuple[Frame, NDArray[np.uint8]]]) -> None:
    """Write the tiles that regions touch; nothing is known outside of the regions."""
    windows: dict[Tile, list[Window]] = defaultdict(list)
    for frame, classes in regions:
        for tile, window in _windows(frame, classes):
            windows[tile].append(window)
    for (lon, lat), parts in sorted(windows.items()):
        folder = archive / "blobs" / ACCOUNT / "esa-worldcover" / "v200" / f"{YEAR}" / "map"
        write_sparse_cog(
            folder / f"{tile_name((lon, lat), YEAR)}_Map.tif",
            epsg=LON_LAT, west_m=lon, north_m=lat + TILE_DEG, width_px=TILE_PX, height_px=TILE_PX,
            gsd_m=TILE_DEG / TILE_PX, windows=parts, nodata=0,
        )  # fmt: skip


def _windows(frame: Frame, classes: NDArray[np.uint8]) -> Iterator[tuple[Tile, Window]]:
    """The part of each tile that a frame covers, with the class under each of its pixels' centres."""
    west, south, east, north = transformer(frame.epsg, LON_LAT).transform_bounds(*frame.bounds_m)
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]  # across the antimeridian
    for (low, high), lat in itertools.product(spans, _starts(south, north)):
        for lon in _starts(low, high):
            left, right = _pixels(max(low, lon) - lon, min(high, lon + TILE_DEG) - lon)
            top, bottom = _pixels(lat + TILE_DEG - min(north, lat + TILE_DEG), lat + TILE_DEG - max(south, lat))
            x_deg = lon + (np.arange(left, right) + 0.5) * TILE_DEG / TILE_PX
            y_deg = lat + TILE_DEG - (np.arange(top, bottom) + 0.5) * TILE_DEG / TILE_PX
            yield (lon, lat), Window(top, left, _sample(frame, classes, *np.meshgrid(x_deg, y_deg)))


def _starts(low: float, high: float) -> range:
    """South or west edges of the tiles between two degrees."""
    return range(math.floor(low / TILE_DEG) * TILE_DEG, math.ceil(high), TILE_DEG)


def _pixels(start_deg: float, stop_deg: float) -> tuple[int, int]:
    return math.floor(start_deg * TILE_PX / TILE_DEG), min(math.ceil(stop_deg * TILE_PX / TILE_DEG), TILE_PX)


def _sample(
    frame: Frame, classes: NDArray[np.uint8], lon: NDArray[np.float64], lat: NDArray[np.float64]
) -> NDArray[np.uint8]:
    x_m, y_m = transformer(LON_LAT, frame.epsg).transform(lon, lat)
    cols = np.floor((x_m - frame.west_m) / frame.gsd_m).astype(np.int64)
    rows = np.floor((frame.north_m - y_m) / frame.gsd_m).astype(np.int64)
    inside = (cols >= 0) & (cols < frame.cols) & (rows >= 0) & (rows < frame.rows)
    found = np.zeros(lon.shape, np.uint8)
    found[inside] = classes[rows[inside], cols[inside]]
    return found
