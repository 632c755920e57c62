"""Where and when patches are wanted: one place, and a million of them as columns."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import overload

import numpy as np
import shapely
from numpy.typing import NDArray

from catalog.grid import GSD_M, SIDE_PX, PatchGrid
from catalog.mgrs import Numbers, tiles_of, transformer

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
MARGIN_M = 1  # outlines are stated to a few decimals of a degree, and the pixels decide after the read


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when one patch is wanted."""

    draw: int
    """Position in the order of draws."""
    grid: PatchGrid
    start: dt.datetime
    """Beginning of the stratum, UTC, inclusive."""
    end: dt.datetime
    """End of the stratum, UTC, exclusive."""


@dataclass(frozen=True, eq=False)
class Places(Sequence[Place]):
    """Many places as columns of equal length: a hundredth of the memory and time of as many objects."""

    side_px: int
    """Of every place: a plan has patches of one size."""
    draw: NDArray[np.int64]
    epsg: NDArray[np.int64]
    west_m: NDArray[np.int64]
    north_m: NDArray[np.int64]
    start_us: NDArray[np.int64]
    """Microseconds since 1970, as `to_us` counts them."""
    end_us: NDArray[np.int64]

    @classmethod
    def of(cls, places: Sequence[Place]) -> "Places":
        """The columns of any sequence of places of one size."""
        if isinstance(places, cls):
            return places
        rows = [(p.draw, p.grid.epsg, p.grid.west_m, p.grid.north_m, to_us(p.start), to_us(p.end)) for p in places]
        columns = np.array(rows, dtype=np.int64).reshape(-1, 6).T
        return cls(places[0].grid.side_px if places else SIDE_PX, *columns)

    def take(self, rows: NDArray[np.int64]) -> "Places":
        """Some of the places, in the order of `rows`."""
        return Places(self.side_px, *(column[rows] for column in self._columns()))

    @classmethod
    def join(cls, parts: Sequence["Places"]) -> "Places":
        """Places of one size one after the other."""
        columns = zip(*(part._columns() for part in parts), strict=True)
        return cls(parts[0].side_px, *(np.concatenate(column) for column in columns))

    def tiles(self) -> NDArray[np.str_]:
        """The Sentinel-2 tile of each place."""
        half_m = self.side_m / 2
        return tiles_of(self.epsg, self.west_m + half_m, self.north_m - half_m)

    @property
    def side_m(self) -> int:
        """Length of a side in metres."""
        return self.side_px * GSD_M

    def centres_lonlat(self) -> NDArray[np.float64]:
        """Centres, degrees, longitudes from -180 to 180; shape (n, 2)."""
        half_m = self.side_m / 2
        return _lonlat(self.epsg, self.west_m[:, None] + half_m, self.north_m[:, None] - half_m)[:, 0]

    def inner_outlines(self) -> NDArray[np.object_]:
        """Polygons in longitude and latitude one metre inside the patches: what a scene must cover.

        Longitudes are continuous across the antimeridian, as in `PatchGrid.footprint`.
        """
        west, east = self.west_m + MARGIN_M, self.west_m + self.side_m - MARGIN_M
        north, south = self.north_m - MARGIN_M, self.north_m - self.side_m + MARGIN_M
        corners = _lonlat(self.epsg, np.stack([west, east, east, west], 1), np.stack([south, south, north, north], 1))
        central = (self.epsg % 100 * 6 - 183)[:, None]
        corners[..., 0] = central + (corners[..., 0] - central + 180) % 360 - 180
        outlines: NDArray[np.object_] = shapely.polygons(corners)
        return outlines

    def __len__(self) -> int:
        return len(self.draw)

    @overload
    def __getitem__(self, i: int) -> Place: ...
    @overload
    def __getitem__(self, i: slice) -> "Places": ...
    def __getitem__(self, i: int | slice) -> "Place | Places":
        if isinstance(i, slice):
            return self.take(np.arange(len(self))[i])
        draw, epsg, west_m, north_m, start_us, end_us = (int(column[i]) for column in self._columns())
        grid = PatchGrid(epsg, west_m, north_m, self.side_px)
        return Place(draw, grid, from_us(start_us), from_us(end_us))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Places):
            return NotImplemented
        pairs = zip(self._columns(), other._columns(), strict=True)
        return self.side_px == other.side_px and all(np.array_equal(a, b) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]

    def _columns(self) -> list[NDArray[np.int64]]:
        return [getattr(self, field.name) for field in fields(self) if field.name != "side_px"]


def to_us(time: dt.datetime) -> int:
    """Whole microseconds since 1970-01-01 UTC: exact, and comparable by the million."""
    return (time - EPOCH) // _MICROSECOND


def from_us(microseconds: int) -> dt.datetime:
    """The time that `to_us` counted."""
    return EPOCH + microseconds * _MICROSECOND


def _lonlat(epsg: Numbers, x_m: Numbers, y_m: Numbers) -> NDArray[np.float64]:
    """Longitude and latitude of points (n, m) of many zones; shape (n, m, 2)."""
    lonlat = np.empty((*x_m.shape, 2))
    for zone in np.unique(epsg).tolist():
        rows = epsg == zone
        lonlat[rows, :, 0], lonlat[rows, :, 1] = transformer(zone, 4326).transform(x_m[rows], y_m[rows])
    return lonlat
