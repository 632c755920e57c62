"""Where the sun stands: zenith and azimuth from place and time."""

import datetime as dt
import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sun:
    """The sun's direction."""

    zenith_deg: float
    azimuth_deg: float
    """Clockwise from north."""

    @property
    def vector(self) -> tuple[float, float, float]:
        """Unit vector towards the sun: east, north, up."""
        zenith, azimuth = math.radians(self.zenith_deg), math.radians(self.azimuth_deg)
        return math.sin(zenith) * math.sin(azimuth), math.sin(zenith) * math.cos(azimuth), math.cos(zenith)

    @property
    def shadow_m_per_m(self) -> tuple[float, float]:
        """East and north offset of the shadow of a point one metre above flat ground."""
        east, north, up = self.vector
        return -east / up, -north / up


def sun_at(lon_deg: float, lat_deg: float, time: dt.datetime) -> Sun:
    """The sun's direction, to about half a degree.

    Declination after Cooper (1969), equation of time after Spencer (1971), both as given in Duffie and Beckman,
    Solar Engineering of Thermal Processes, chapter 1. `time` is UTC.
    """
    day = time.timetuple().tm_yday
    declination = math.radians(23.45) * math.sin(2 * math.pi * (284 + day) / 365)
    b = 2 * math.pi * (day - 1) / 365
    equation_min = 229.18 * (
        0.000075
        + 0.001868 * math.cos(b)
        - 0.032077 * math.sin(b)
        - 0.014615 * math.cos(2 * b)
        - 0.04089 * math.sin(2 * b)
    )
    solar_h = time.hour + time.minute / 60 + time.second / 3600 + lon_deg / 15 + equation_min / 60
    hour_angle = math.radians(15 * (solar_h - 12))
    lat = math.radians(lat_deg)
    up = math.sin(lat) * math.sin(declination) + math.cos(lat) * math.cos(declination) * math.cos(hour_angle)
    east = -math.cos(declination) * math.sin(hour_angle)
    north = math.cos(lat) * math.sin(declination) - math.sin(lat) * math.cos(declination) * math.cos(hour_angle)
    return Sun(math.degrees(math.acos(max(-1.0, min(1.0, up)))), math.degrees(math.atan2(east, north)) % 360)
