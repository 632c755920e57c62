"""Where a patch lies: a square of pixels on Sentinel-2's own 10 m lattice."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from catalog.errors import GridError
from catalog.mgrs import Numbers, square_keys, tile_of, tile_of_key, tile_origin, transformer

SIDE_PX = 256  # the seed's Table 1 counts 65,536 pixels a patch
GSD_M = 10
_NAME = re.compile(r"^(\w{5})-(\d{3,})-(\d{3,})$")


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """A north-up square of pixels in one UTM zone, on Sentinel-2's own 10 m lattice."""

    epsg: int
    """32601..32660 north, 32701..32760 south."""
    west_m: int
    """West edge of the north-west pixel."""
    north_m: int
    """North edge of the north-west pixel."""
    side_px: int = SIDE_PX
    gsd_m: int = GSD_M

    def __post_init__(self) -> None:
        if self.side_px < 2 or self.side_px % 2:
            raise GridError(f"side_px is {self.side_px}; it must be even, so that 20 m bands fit")
        if self.west_m % GSD_M or self.north_m % GSD_M:
            raise GridError(f"corner ({self.west_m}, {self.north_m}) is off the {GSD_M} m lattice")

    @property
    def side_m(self) -> int:
        """Length of a side in metres."""
        return self.side_px * self.gsd_m

    @property
    def bounds_m(self) -> tuple[int, int, int, int]:
        """West, south, east, north in the patch's own zone."""
        return self.west_m, self.north_m - self.side_m, self.west_m + self.side_m, self.north_m

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients a, b, c, d, e, f as STAC's `proj:transform` orders them."""
        return float(self.gsd_m), 0.0, float(self.west_m), 0.0, float(-self.gsd_m), float(self.north_m)

    @property
    def tile(self) -> str:
        """The Sentinel-2 tile whose 100 km square holds the centre."""
        return tile_of(self.epsg, self.west_m + self.side_m / 2, self.north_m - self.side_m / 2)

    @property
    def name(self) -> str:
        """The cell's one name, `tile-row-column` in lower case; rows and columns count patch sides."""
        tile = self.tile
        _, west_m, north_m = tile_origin(tile)
        row, row_rest = divmod(north_m - self.north_m, self.side_m)
        column, column_rest = divmod(self.west_m - west_m, self.side_m)
        if row_rest or column_rest:
            raise GridError(
                f"corner ({self.west_m}, {self.north_m}) is not a cell of {tile}: cells of {self.side_px} px "
                f"start at multiples of {self.side_m} m from ({west_m}, {north_m})"
            )
        return f"{tile.lower()}-{row:03d}-{column:03d}"

    def centres_m(self, gsd_m: int) -> tuple[np.ndarray, np.ndarray]:
        """Pixel centres at a resolution: x from west to east, y from north to south, metres."""
        steps = (np.arange(self.side_m // gsd_m) + 0.5) * gsd_m
        return self.west_m + steps, self.north_m - steps

    def corners_deg(self) -> NDArray[np.float64]:
        """(4, 2): longitude and latitude of the south-west corner and on, counter-clockwise; as `footprint` says."""
        return np.array(_corners_deg(self.epsg, self.bounds_m)).T

    def footprint(self) -> shapely.Polygon:
        """Outline in longitude and latitude (degrees), counter-clockwise.

        Four corners do: a side of 2,560 m bends by less than 1 m up to 80 degrees. A patch across the antimeridian
        keeps continuous longitudes (beyond 180), so that geometry on it is right.
        """
        return _footprint(self)


def bounds_deg(grids: Sequence[PatchGrid]) -> NDArray[np.float64]:
    """West, south, east and north of many footprints, (grids, 4), to the bit those of each one's `footprint`."""
    epsg = np.array([grid.epsg for grid in grids], np.int64)
    edges_m = np.array([grid.bounds_m for grid in grids], np.float64).reshape(-1, 4)
    found = np.empty((len(grids), 4))
    for zone in np.unique(epsg).tolist():
        lon, lat = _corners_deg(zone, edges_m[epsg == zone].T)
        found[epsg == zone] = np.stack([lon.min(axis=0), lat.min(axis=0), lon.max(axis=0), lat.max(axis=0)], axis=1)
    return found


def _corners_deg(epsg: int, edges_m: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitudes and latitudes of the corners from the south-west one counter-clockwise, the corner first."""
    edges = np.asarray(edges_m, np.float64)  # west, south, east, north
    lon, lat = transformer(epsg, 4326).transform(edges[[0, 2, 2, 0]], edges[[1, 1, 3, 3]])
    central = (epsg % 100) * 6 - 183
    return central + (lon - central + 180) % 360 - 180, lat


@functools.lru_cache(maxsize=1024)  # several functions ask for the same grid in turn
def _footprint(grid: PatchGrid) -> shapely.Polygon:
    return shapely.Polygon(grid.corners_deg())


def grid_of_cell(name: str, side_px: int = SIDE_PX) -> PatchGrid:
    """The grid of a cell from its name.

    Raises:
        GridError: not a cell name, or no such tile.
    """
    match = _NAME.match(name)
    if match is None:
        raise GridError(f"{name!r} is not a cell name; expected tile-row-column such as 33uuu-004-017")
    epsg, west_m, north_m = tile_origin(match[1].upper())
    side_m = side_px * GSD_M
    return PatchGrid(epsg, west_m + int(match[3]) * side_m, north_m - int(match[2]) * side_m, side_px)


def cell_at(epsg: int, x_m: float, y_m: float, side_px: int = SIDE_PX) -> PatchGrid | None:
    """The lattice cell that holds a UTM point, or None in the strip between two tiles' cells.

    A cell belongs to the tile whose square holds the cell's centre; 100 km is not a whole number of cells, so
    a strip of less than one cell at each square's east and south edge belongs to none. Cells of one zone
    therefore never overlap.
    """
    tile = tile_of(epsg, x_m, y_m)
    _, west_m, north_m = tile_origin(tile)
    side_m = side_px * GSD_M
    column, row = (x_m - west_m) // side_m, (north_m - y_m) // side_m
    grid = PatchGrid(epsg, int(west_m + column * side_m), int(north_m - row * side_m), side_px)
    return grid if grid.tile == tile else None


def cells_at(
    epsg: Numbers, x_m: Numbers, y_m: Numbers, side_px: int = SIDE_PX
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """`cell_at` for many points at once.

    Returns:
        West and north edges in metres, and False where `cell_at` gives None.
    """
    keys = square_keys(epsg, x_m, y_m)
    squares, where = np.unique(keys, return_inverse=True)
    origins = np.array([tile_origin(tile_of_key(key))[1:] for key in squares.tolist()], dtype=np.int64).reshape(-1, 2)
    origin_west_m, origin_north_m = origins[where].T
    side_m = side_px * GSD_M
    west_m = origin_west_m + np.floor_divide(x_m - origin_west_m, side_m).astype(np.int64) * side_m
    north_m = origin_north_m - np.floor_divide(origin_north_m - y_m, side_m).astype(np.int64) * side_m
    centres = square_keys(epsg, west_m + side_m / 2, north_m - side_m / 2)
    return west_m, north_m, centres == keys
