"""Which satellite flew where when: orbit numbers of Sentinel-1 and Sentinel-2 from a time and a latitude.

Both missions repeat exactly: 143 orbits in 10 days (Sentinel-2), 175 in 12 days (Sentinel-1), and two satellites
of a mission fly half an orbit apart. So one recorded pass of a satellite dates all its others, to a small part
of an orbit.
"""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

Platform = Literal["S1A", "S1B", "S1C", "S2A", "S2B"]
_Known = TypeVar("_Known", Literal["S1A", "S1B"], Literal["S2A", "S2B"])

# Orbits of one repeat cycle and its length in days (ESA mission pages); C of Sentinel-1 flies the orbit of A and B.
_CYCLE: dict[str, tuple[int, int]] = {"S1": (175, 12), "S2": (143, 10)}
_INCLINATION_DEG = {"S1": 98.18, "S2": 98.62}
# relative = (absolute - offset) mod cycle + 1 (ESA mission pages; recorded items agree for A and B).
_RELATIVE_OFFSET: dict[str, int] = {"S1A": 73, "S1B": 27, "S1C": 172, "S2A": -2, "S2B": 27}
DESIGNATOR = {"S1A": "2014-016A", "S1B": "2016-025A", "S1C": "2024-229A"}
"""COSPAR ids, for `sat:platform_international_designator`."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """At this time (UTC) the satellite crossed this latitude in this absolute orbit."""

    time: dt.datetime
    lat_deg: float
    ascending: bool
    orbit: int


# One recorded item of each satellite. None is known for S1C.
_PASSES: dict[str, _Pass] = {
    "S1A": _Pass(dt.datetime(2024, 4, 19, 4, 59, 10, tzinfo=dt.UTC), 30.4, False, 53498),
    "S1B": _Pass(dt.datetime(2016, 11, 21, 1, 9, 39, tzinfo=dt.UTC), 36.5, True, 3050),
    "S2A": _Pass(dt.datetime(2023, 10, 8, 17, 52, 31, tzinfo=dt.UTC), 41.0, False, 43324),
    "S2B": _Pass(dt.datetime(2019, 6, 29, 21, 25, 29, tzinfo=dt.UTC), 61.0, False, 12081),
}


def relative_orbit(platform: Platform, absolute: int) -> int:
    """Relative orbit number, 1..143 (Sentinel-2) or 1..175 (Sentinel-1)."""
    return (absolute - _RELATIVE_OFFSET[platform]) % _CYCLE[platform[:2]][0] + 1


def absolute_orbit(platform: Platform, time: dt.datetime, lat_deg: float, *, ascending: bool = False) -> int:
    """Absolute orbit number of the pass nearest to a time over a latitude; S1C is not known."""
    return round(_orbits_since_launch(platform, time, lat_deg, ascending))


def likeliest_platform(
    platforms: Sequence[_Known], time: dt.datetime, lat_deg: float, *, ascending: bool = False
) -> _Known:
    """The satellite whose orbit crosses this latitude nearest to this time.

    Two satellites of a mission are half an orbit (some 50 minutes) apart, so times good to ten minutes suffice.
    """

    def misfit(platform: _Known) -> float:
        orbits = _orbits_since_launch(platform, time, lat_deg, ascending)
        return abs(orbits - round(orbits))

    return min(platforms, key=misfit)


def _orbits_since_launch(platform: Platform, time: dt.datetime, lat_deg: float, ascending: bool) -> float:
    """Absolute orbit number as a real number: whole where time and latitude agree exactly."""
    known = _PASSES[platform]
    orbits, days = _CYCLE[platform[:2]]
    elapsed = (time - known.time).total_seconds() / 86_400 * orbits / days
    mission = platform[:2]
    return known.orbit + elapsed + _phase(mission, known.lat_deg, known.ascending) - _phase(mission, lat_deg, ascending)


def _phase(mission: str, lat_deg: float, ascending: bool) -> float:
    """Part of an orbit, 0..1 from the ascending node, at which a circular orbit crosses a latitude."""
    sine = math.sin(math.radians(lat_deg)) / math.sin(math.radians(_INCLINATION_DEG[mission]))
    angle = math.asin(max(-1.0, min(1.0, sine))) / (2 * math.pi)
    return angle % 1 if ascending else 0.5 - angle
