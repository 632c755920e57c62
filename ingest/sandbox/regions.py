"""Which windows of which tiles to simulate, and when: the regions of an archive, and presets of them."""

import datetime as dt
import math
from dataclasses import dataclass

import shapely

from catalog.errors import GridError
from catalog.grid import SIDE_PX
from catalog.mgrs import TILE_SIDE_PX, tile_origin
from ingest.sandbox.noise import Frame
from ingest.sandbox.passes import S2_REVISIT_DAYS, to_lon_lat

_ALIGN_PX = 6  # a 60 m pixel: simulated scenes hold whole ones
S1_MARGIN_PX = 48  # by how much a radar scene is wider than the window


@dataclass(frozen=True, slots=True)
class SimulatedRegion:
    """A rectangle of lattice cells of one Sentinel-2 tile, observed for a time."""

    name: str
    tile: str
    first_row: int
    """Row of the north-west cell, counted in patches of 256 pixels from the tile's corner."""
    first_column: int
    rows: int
    """Number of cells from north to south."""
    columns: int
    start: dt.date
    end: dt.date
    """Last day, included."""
    s2_every_days: int = S2_REVISIT_DAYS
    """Keep a Sentinel-2 scene this often: a multiple of 5 days."""
    cloudiness: float = 0.3
    """Mean share of cloud over all scenes; single scenes range from clear to overcast."""

    def __post_init__(self) -> None:
        last_row, last_column = self.first_row + self.rows, self.first_column + self.columns
        limit = TILE_SIDE_PX // SIDE_PX
        if (
            min(self.first_row, self.first_column, self.rows - 1, self.columns - 1) < 0
            or max(last_row, last_column) > limit
        ):
            raise GridError(
                f"region {self.name}: cells {self.first_row}..{last_row} x {self.first_column}..{last_column} leave "
                f"tile {self.tile}, which has {limit} x {limit} cells of {SIDE_PX} px"
            )
        if self.s2_every_days < 1 or self.s2_every_days % S2_REVISIT_DAYS:
            raise GridError(f"region {self.name}: s2_every_days is {self.s2_every_days}; it must be a multiple of 5")

    @property
    def window(self) -> Frame:
        """The cells, exactly."""
        epsg, west_m, north_m = tile_origin(self.tile)
        top, left = self.first_row * SIDE_PX, self.first_column * SIDE_PX
        return Frame(epsg, west_m + left * 10, north_m - top * 10, self.rows * SIDE_PX, self.columns * SIDE_PX)

    @property
    def optical_frame(self) -> Frame:
        """The cells, grown to whole 60 m pixels of the tile."""
        window, (_, west_m, north_m) = self.window, tile_origin(self.tile)
        top, left = (_down(px) for px in ((north_m - window.north_m) // 10, (window.west_m - west_m) // 10))
        bottom, right = (_up(px) for px in ((north_m - window.bounds_m[1]) // 10, (window.bounds_m[2] - west_m) // 10))
        return Frame(window.epsg, west_m + left * 10, north_m - top * 10, bottom - top, right - left)

    @property
    def radar_frame(self) -> Frame:
        """The optical frame with a margin."""
        return self.optical_frame.padded(S1_MARGIN_PX)

    @property
    def outline(self) -> shapely.Polygon:
        """The cells in longitude and latitude, with a vertex at every cell corner or oftener."""
        return to_lon_lat(shapely.box(*self.window.bounds_m), self.window.epsg)

    @property
    def centre_deg(self) -> tuple[float, float]:
        """Longitude and latitude."""
        point = self.outline.centroid
        return float(point.x), float(point.y)


def _down(px: int) -> int:
    return px // _ALIGN_PX * _ALIGN_PX


def _up(px: int) -> int:
    return math.ceil(px / _ALIGN_PX) * _ALIGN_PX


PRESETS: dict[str, tuple[SimulatedRegion, ...]] = {
    "tiny": (SimulatedRegion("tiny", "33UUU", 12, 14, 2, 2, dt.date(2018, 6, 1), dt.date(2018, 6, 9), cloudiness=0.1),),
    "demo": (
        SimulatedRegion(
            "labelled", "32UMA", 10, 12, 10, 10, dt.date(2018, 4, 15), dt.date(2018, 9, 20), 35, cloudiness=0.15
        ),
        SimulatedRegion(
            "unlabelled", "14UNV", 14, 10, 12, 10, dt.date(2022, 4, 10), dt.date(2022, 10, 20), 35, cloudiness=0.15
        ),
    ),
}
"""Named archives: "tiny" for tests; "demo" has a region in Europe (with labels) and one in North America."""
