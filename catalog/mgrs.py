"""Sentinel-2 tiles: which UTM zone and 100 km square holds a point, and where a tile's pixels start.

Tile names follow the Military Grid Reference System (NGA.SIG.0012, 2014). Two things are Sentinel-2's own:
a square cut by a latitude-band boundary has one tile, named after the band of the square's centre; and
a tile's pixel grid starts at the square's north-west corner rounded outwards to 60 m. Both are tested against
the 56,686 tiles of ESA's tiling grid and against recorded product metadata.
"""

import functools
import re
from typing import Any

import numpy as np
import pyproj
from numpy.typing import ArrayLike, NDArray

from catalog.errors import GridError

Numbers = NDArray[np.integer[Any]] | NDArray[np.floating[Any]]

SQUARE_M = 100_000
TILE_SIDE_PX = 10_980  # pixels of 10 m a side: a tile overlaps its neighbours by 9.8 km
_ALIGN_M = 60  # coarsest Sentinel-2 band: every tile origin is a multiple of it
_BANDS = "CDEFGHJKLMNPQRSTUVWX"  # 8 degrees each from 80 S; X reaches 84 N
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")  # by (zone - 1) % 3
_ROWS = ("ABCDEFGHJKLMNPQRSTUV", "FGHJKLMNPQRSTUVABCDE")  # odd zones, even zones
_TILE = re.compile(r"^(0[1-9]|[1-5]\d|60)([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])$")


@functools.lru_cache(maxsize=256)
def transformer(from_epsg: int, to_epsg: int) -> pyproj.Transformer:
    """A cached pyproj transformer with x (easting, longitude) first."""
    return pyproj.Transformer.from_crs(from_epsg, to_epsg, always_xy=True)


def utm_epsg(lon_deg: ArrayLike, lat_deg: ArrayLike) -> NDArray[np.int32]:
    """EPSG codes of the UTM zones that MGRS uses at these points.

    Includes the exceptions for south-west Norway (zone 32 widened) and Svalbard (zones 31, 33, 35, 37).

    Raises:
        GridError: a latitude outside 80 S to 84 N, where UTM ends.
    """
    lon, lat = np.broadcast_arrays(np.asarray(lon_deg, float), np.asarray(lat_deg, float))
    if bool(np.any((lat < -80) | (lat > 84))):
        worst = float(lat[(lat < -80) | (lat > 84)][0])
        raise GridError(f"latitude {worst:.3f} is outside UTM (80 S to 84 N); drop such points")
    zone = (np.floor((lon + 180) / 6).astype(int) % 60) + 1
    zone = np.where((lat >= 56) & (lat < 64) & (lon >= 3) & (lon < 12), 32, zone)
    svalbard = (lat >= 72) & (lon >= 0) & (lon < 42)
    zone = np.where(svalbard, 31 + 2 * np.digitize(lon, [9, 21, 33]), zone)
    return np.where(lat >= 0, 32600 + zone, 32700 + zone).astype(np.int32)


def tile_of(epsg: int, x_m: float, y_m: float) -> str:
    """Name of the Sentinel-2 tile whose 100 km square holds a UTM point, such as "33UUU"."""
    last_row = 99  # a point on the equator, seen from the south, has y = 10,000 km
    return _square_name(epsg, int(x_m // SQUARE_M), min(int(y_m // SQUARE_M), last_row))


def square_keys(epsg: Numbers, x_m: Numbers, y_m: Numbers) -> NDArray[np.int64]:
    """One number for the 100 km square that holds each of many UTM points; equal squares have equal numbers."""
    last_row = 99  # as in `tile_of`
    column, row = (np.floor_divide(edge, SQUARE_M).astype(np.int64) for edge in (x_m, y_m))
    return (epsg.astype(np.int64) * 100 + column) * 100 + np.minimum(row, last_row)


def tile_of_key(key: int) -> str:
    """The tile of a square by its number from `square_keys`."""
    return _square_name(key // 10_000, key // 100 % 100, key % 100)


def tiles_of(epsg: Numbers, x_m: Numbers, y_m: Numbers) -> NDArray[np.str_]:
    """`tile_of` for many points at once."""
    keys, where = np.unique(square_keys(epsg, x_m, y_m), return_inverse=True)
    return np.array([tile_of_key(key) for key in keys.tolist()], dtype="U5")[where]


@functools.lru_cache(maxsize=100_000)
def _square_name(epsg: int, column: int, row: int) -> str:
    zone, hemisphere = epsg % 100, epsg // 100
    if hemisphere not in (326, 327) or not 1 <= zone <= 60 or not 1 <= column <= 8:
        raise GridError(f"no MGRS square at EPSG:{epsg}, {column}00 km east, {row}00 km north")
    centre = ((column + 0.5) * SQUARE_M, (row + 0.5) * SQUARE_M)
    lat = transformer(epsg, 4326).transform(*centre)[1]
    band = _BANDS[int(np.clip((lat + 80) // 8, 0, len(_BANDS) - 1))]
    return f"{zone:02d}{band}{_COLUMNS[(zone - 1) % 3][column - 1]}{_ROWS[(zone - 1) % 2][row % 20]}"


@functools.lru_cache(maxsize=100_000)
def tile_origin(tile: str) -> tuple[int, int, int]:
    """EPSG code and north-west corner (west_m, north_m) of a tile's pixel grid.

    Raises:
        GridError: not the name of a Sentinel-2 tile.
    """
    epsg, column, row = _square_of(tile)
    west = column * SQUARE_M // _ALIGN_M * _ALIGN_M
    north = -(-(row + 1) * SQUARE_M // _ALIGN_M) * _ALIGN_M
    return epsg, west, north


def _square_of(tile: str) -> tuple[int, int, int]:
    match = _TILE.match(tile)
    if match is None:
        raise GridError(f"{tile!r} is not a Sentinel-2 tile name; expected five characters such as 33UUU")
    zone, band, column_letter, row_letter = int(match[1]), match[2], match[3], match[4]
    epsg = (32600 if band >= "N" else 32700) + zone
    column = _COLUMNS[(zone - 1) % 3].find(column_letter) + 1
    row_in_cycle = _ROWS[(zone - 1) % 2].index(row_letter)
    for row in range(row_in_cycle, 100, 20):  # row letters repeat every 2,000 km
        if column and _square_name(epsg, column, row) == tile:
            return epsg, column, row
    raise GridError(f"there is no tile {tile}: zone {zone} has no square {column_letter}{row_letter} in band {band}")
