"""When the satellites pass over a place: times, orbits, processing baselines and swath edges of its scenes."""

import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from catalog.mgrs import transformer
from catalog.patch import OrbitState
from ingest.sandbox import orbits
from ingest.sandbox.noise import Frame, mix, uniform

S2_REVISIT_DAYS = 5  # two satellites, each every 10 days (ESA, Sentinel-2 mission)
_S1_CYCLE_DAYS = 12  # one satellite in one relative orbit (ESA, Sentinel-1 mission)
_S2_LOCAL_H = 10.5  # mean local solar time of the descending node (ESA, Sentinel-2 orbit)
_S1_LOCAL_H = {"ascending": 18.0, "descending": 6.0}  # dawn-dusk orbit (ESA, Sentinel-1 orbit)
_SLICE = dt.timedelta(seconds=25)  # length of an IW slice
_EPOCH = dt.date(2015, 6, 23)  # launch of Sentinel-2A; days are counted from here
# First day of each baseline in the Planetary Computer's archive; what is older was made with 02.12.
_BASELINES = (
    (dt.date(2024, 7, 23), "05.11"),
    (dt.date(2023, 12, 13), "05.10"),
    (dt.date(2022, 12, 6), "05.09"),
    (dt.date(2022, 1, 25), "04.00"),
)
_DENSE_M = 2560  # a footprint has a vertex at every cell corner, so that its edges are the cells' edges


@dataclass(frozen=True, slots=True)
class Swath:
    """What part of a frame a scene covers: all but a corner cut off by the oblique edge of the swath."""

    lost_share: float
    """Share of the north edge that is lost; 0 for none."""
    from_west: bool
    heading_deg: float
    """Angle between the edge and grid north."""

    def mask(self, frame: Frame) -> NDArray[np.bool_]:
        """Pixels whose centre lies inside."""
        west, _, east, north = frame.bounds_m
        reach = (
            self.lost_share * (east - west) - math.tan(math.radians(self.heading_deg)) * (north - frame.y_m)[:, None]
        )
        across = frame.x_m - west if self.from_west else east - frame.x_m
        return np.asarray(across[None, :] > np.maximum(reach, 0))

    def outline(self, frame: Frame, margin_m: float = 0.0) -> shapely.Polygon:
        """The covered part as a polygon in longitude and latitude; a margin widens the frame, not the swath."""
        west, south, east, north = frame.bounds_m
        covered = shapely.box(west - margin_m, south - margin_m, east + margin_m, north + margin_m)
        if self.lost_share > 0:
            covered = covered.difference(self._lost(west, east, north))
        return to_lon_lat(covered, frame.epsg)

    def _lost(self, west: float, east: float, north: float) -> shapely.Polygon:
        """A triangle that holds the corner and runs 1 km past it along the swath's edge."""
        slope = math.tan(math.radians(self.heading_deg))
        corner, inwards = (west, 1) if self.from_west else (east, -1)
        across = self.lost_share * (east - west)
        past_m = 1_000.0
        top = (corner + inwards * (across + slope * past_m), north + past_m)
        bottom = (corner - inwards * past_m, north - (across + past_m) / slope)
        return shapely.Polygon([top, bottom, (corner - inwards * past_m, north + past_m)])


def to_lon_lat(polygon: shapely.Polygon, epsg: int) -> shapely.Polygon:
    """A UTM polygon in degrees, with vertices added so that its edges follow the grid.

    Longitudes are continuous around the zone's middle, and so beyond 180 across the antimeridian.
    """
    central = epsg % 100 * 6 - 183

    def degrees(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        lon, lat = transformer(epsg, 4326).transform(xy[:, 0], xy[:, 1])
        return np.stack([lon - 360 * np.round((lon - central) / 360), lat], axis=1)

    return shapely.orient_polygons(shapely.transform(shapely.segmentize(polygon, _DENSE_M), degrees))


@dataclass(frozen=True, slots=True)
class OpticalPass:
    """One Sentinel-2 acquisition."""

    time: dt.datetime
    platform: Literal["S2A", "S2B"]
    relative_orbit: int
    baseline: str
    swath: Swath
    cloudy: float
    """Uniform number of the day's weather, 0..1."""

    @property
    def has_offset(self) -> bool:
        """True from baseline 04.00 on."""
        return self.baseline >= "04.00"


@dataclass(frozen=True, slots=True)
class RadarPass:
    """One Sentinel-1 acquisition."""

    started: dt.datetime
    stopped: dt.datetime
    orbit_state: OrbitState
    relative_orbit: int
    absolute_orbit: int
    swath: Swath


def baseline_on(day: dt.date) -> str:
    """Processing baseline of a day's products."""
    return next((name for first, name in _BASELINES if day >= first), "02.12")


def optical_passes(
    tile: str, lon_deg: float, lat_deg: float, start: dt.date, end: dt.date, every_days: int, seed: int
) -> list[OpticalPass]:
    """Sentinel-2 acquisitions from `start` to `end` inclusive, every fifth day or fewer."""
    place = _number(tile, seed)
    minutes = 20 * _draw(place, 1) - 10
    passes = []
    for number, day in _days(start, end, S2_REVISIT_DAYS, int(_draw(place, 2) * S2_REVISIT_DAYS)):
        if (number * S2_REVISIT_DAYS) % every_days:
            continue
        time = _local(day, _S2_LOCAL_H, lon_deg, minutes)
        absolute = orbits.absolute_orbit("S2A", _local(_EPOCH, _S2_LOCAL_H, lon_deg, minutes), lat_deg)
        passes.append(
            OpticalPass(
                time,
                "S2A" if number % 2 == 0 else "S2B",
                orbits.relative_orbit("S2A", absolute),
                baseline_on(day),
                _swath(place, number, 0.34, 8.0),
                _draw(place, 1000 + number),
            )
        )
    return passes


def radar_passes(tile: str, lon_deg: float, lat_deg: float, start: dt.date, end: dt.date, seed: int) -> list[RadarPass]:
    """Sentinel-1A acquisitions: one ascending and one descending orbit, each every 12 days, six days apart."""
    place = _number(tile, seed)
    passes = []
    states: tuple[OrbitState, OrbitState] = ("ascending", "descending")
    for half, state in enumerate(states):
        phase = (int(_draw(place, 3) * _S1_CYCLE_DAYS) + half * _S1_CYCLE_DAYS // 2) % _S1_CYCLE_DAYS
        for number, day in _days(start, end, _S1_CYCLE_DAYS, phase):
            started = _local(day, _S1_LOCAL_H[state], lon_deg, 16 * _draw(place, 4 + half) - 8)
            absolute = orbits.absolute_orbit("S1A", started, lat_deg, ascending=state == "ascending")
            relative = orbits.relative_orbit("S1A", absolute)
            swath = _swath(place, 5000 + 2 * number + half, 0.5, 12.0)
            passes.append(RadarPass(started, started + _SLICE, state, relative, absolute, swath))
    return sorted(passes, key=lambda one: one.started)


def _days(start: dt.date, end: dt.date, step: int, phase: int) -> Iterator[tuple[int, dt.date]]:
    """Days of a cycle with their number since the epoch."""
    first = -(-((start - _EPOCH).days - phase) // step)
    last = ((end - _EPOCH).days - phase) // step
    return ((number, _EPOCH + dt.timedelta(days=number * step + phase)) for number in range(first, last + 1))


def _local(day: dt.date, hour: float, lon_deg: float, minutes: float) -> dt.datetime:
    """UTC of a local solar time, to the second and always on the same UTC day."""
    seconds = round((hour - lon_deg / 15) * 3600 + minutes * 60) % 86_400
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)


def _swath(place: int, number: int, chance: float, heading_deg: float) -> Swath:
    cut = _draw(place, 20_000 + number) < chance
    lost = 0.02 + 0.05 * _draw(place, 30_000 + number)
    return Swath(lost if cut else 0.0, _draw(place, 40_000 + number) < 0.5, heading_deg)


def _number(tile: str, seed: int) -> int:
    return int(mix(seed, *tile.encode())[0])


def _draw(place: int, salt: int) -> float:
    return float(uniform(mix(place, salt))[0])
