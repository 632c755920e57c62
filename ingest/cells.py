"""Every lattice cell of a region: wall to wall, for places small enough to be covered whole."""

import itertools
from collections.abc import Sequence

import numpy as np
import shapely

from catalog.errors import GridError
from catalog.grid import GSD_M, PatchGrid
from catalog.mgrs import SQUARE_M, tile_of, tile_origin, transformer, utm_epsg
from ingest.footprints import around

_STEP_DEG = 0.5  # finer than the narrowest zone that MGRS has (3 degrees, south-west Norway)
MARGIN_DEG = 1e-5  # about a metre: outlines are stated to a few decimals, and the pixels decide after the read


def cells_inside(outline: shapely.Geometry, side_px: int, tiles: Sequence[str] = ()) -> list[PatchGrid]:
    """Lattice cells that lie wholly inside an outline in longitude and latitude, in the order of their names.

    Each piece of ground belongs to one tile. With `tiles` the cells are those of these tiles instead, also where
    the tiles reach into the neighbouring UTM zone: for archives that hold such tiles and not their neighbours.
    """
    outline = around(outline)
    shapely.prepare(outline)
    if tiles:
        cells = [cell for tile in tiles for cell in _cells_of(tile, side_px, outline)]
    else:
        near = {tile for part in shapely.get_parts(outline) for tile in _tiles_near(part)}
        cells = [cell for tile in near for cell in _cells_of(tile, side_px, outline) if _in_own_zone(cell)]
    return sorted(cells, key=lambda cell: cell.name)


def _tiles_near(part: shapely.Geometry) -> set[str]:
    """Tiles whose squares may touch a polygon: those of a dense net of points over its bounds."""
    west, south, east, north = part.bounds
    lon = np.append(np.arange(west, east, _STEP_DEG), east)
    lat = np.append(np.arange(south, north, _STEP_DEG), north)
    tiles = set()
    for x_deg, y_deg in itertools.product(lon, lat):
        epsg = int(utm_epsg(x_deg, y_deg))
        x_m, y_m = transformer(4326, epsg).transform(x_deg, y_deg)
        for dx, dy in itertools.product((-1, 0, 1), repeat=2):  # half a degree is less than a square
            try:
                tiles.add(tile_of(epsg, x_m + dx * SQUARE_M, y_m + dy * SQUARE_M))
            except GridError:
                continue  # beyond the zone's last square
    return tiles


def _cells_of(tile: str, side_px: int, outline: shapely.Geometry) -> list[PatchGrid]:
    epsg, west_m, north_m = tile_origin(tile)
    side_m = side_px * GSD_M
    steps = np.arange(SQUARE_M // side_m + 1) * side_m
    grids = [
        PatchGrid(epsg, int(west_m + dx), int(north_m - dy), side_px) for dy, dx in itertools.product(steps, steps)
    ]
    centres = np.array([(grid.west_m + side_m / 2, grid.north_m - side_m / 2) for grid in grids])
    lon, lat = transformer(epsg, 4326).transform(centres[:, 0], centres[:, 1])
    near = shapely.contains_xy(outline, lon, lat)
    return [
        grid
        for grid, chosen in zip(grids, near, strict=True)
        if chosen and grid.tile == tile and outline.covers(grid.footprint().buffer(-MARGIN_DEG))
    ]


def _in_own_zone(grid: PatchGrid) -> bool:
    centre = grid.west_m + grid.side_m / 2, grid.north_m - grid.side_m / 2
    return int(utm_epsg(*transformer(grid.epsg, 4326).transform(*centre))) == grid.epsg
