"""The shape of the land: climate, elevation, rivers and lakes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.sandbox.noise import F32, Frame, fbm, fbm_at

_CLIMATE_SCALE_M = 260_000.0  # a tile (110 km) holds one climate, its neighbour's neighbour another
_METRES_A_DEGREE = 111_195.0  # of latitude, on a sphere of 6,371 km
LAPSE_C_M = 0.0065  # ICAO standard atmosphere (ISO 2533:1975)
_RELIEF, _RAIN, _PEOPLE, _SOIL = 11, 12, 13, 14
_BASE, _RIVER, _WIDTH, _LAKE = 21, 22, 23, 24


@dataclass(frozen=True, slots=True)
class Climate:
    """What changes from region to region; each 0..1 but the temperature."""

    relief: F32
    rain: F32
    people: F32
    soil: F32
    """Brightness of the soil: dark loam to pale sand."""
    sea_level_c: F32
    """Mean annual air temperature at sea level, degrees Celsius."""


@dataclass(frozen=True, slots=True)
class Terrain:
    """Elevation and water of one frame."""

    elevation_m: F32
    dzdx: F32
    """Rise towards the east, metres a metre."""
    dzdy: F32
    """Rise towards the north."""
    river: NDArray[np.bool_]
    lake: NDArray[np.bool_]
    shore_m: F32
    """Distance to the nearest river course, approximate, at most 5,000."""


def latitude_deg(epsg: int, y_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Latitude from a UTM northing on a sphere: within 0.3 degrees, which is enough for a climate."""
    return (y_m - (10_000_000 if epsg > 32700 else 0)) / _METRES_A_DEGREE


def sea_level_temperature_c(lat_deg: NDArray[np.float64]) -> F32:
    """Mean annual air temperature near sea level: 28.3 C at the equator, 0.36 C less a degree.

    A line through the WMO normals of 1991-2020 of lowland stations, good to about 1.5 C: Singapore 27.8,
    Madrid 15.0, Berlin 9.9, Helsinki 6.5.
    """
    return np.asarray(28.3 - 0.36 * np.abs(lat_deg), np.float32)


def climate(frame: Frame, seed: int) -> Climate:
    """The climate of every pixel."""

    def share(channel: int) -> F32:
        return _logistic(fbm(frame, seed, channel, _CLIMATE_SCALE_M, 1))

    temperature = sea_level_temperature_c(latitude_deg(frame.epsg, frame.y_m))[:, None]
    return Climate(share(_RELIEF), share(_RAIN), share(_PEOPLE), share(_SOIL), temperature)


def people_at(epsg: int, x_m: NDArray[np.float64], y_m: NDArray[np.float64], seed: int) -> F32:
    """`Climate.people` at single points."""
    return _logistic(fbm_at(epsg, x_m, y_m, seed, _PEOPLE, _CLIMATE_SCALE_M, 1))


def _logistic(value: F32) -> F32:
    return np.asarray(1 / (1 + np.exp(-1.8 * value)), np.float32)


def temperature_c(weather: Climate, elevation_m: F32) -> F32:
    """Mean annual air temperature at the ground."""
    return weather.sea_level_c - np.float32(LAPSE_C_M) * elevation_m


def terrain(frame: Frame, weather: Climate, seed: int) -> Terrain:
    """Elevation with valleys along the rivers.

    Rivers follow the zero line of a noise field, so they neither end nor branch; the land is lowered towards
    them, so they lie in valleys.
    """
    wide = frame.padded(1)
    course = fbm(wide, seed, _RIVER, 11_000, 5, 0.42)
    steepness = np.maximum(np.hypot(*_gradient(course)), 2e-5)
    shore = np.minimum(np.abs(course[1:-1, 1:-1]) / steepness, 5000).astype(np.float32)
    elevation = _elevation(wide, course, climate(wide, seed).relief, seed)
    width = 22 + 16 * fbm(frame, seed, _WIDTH, 25_000, 2)
    lake = fbm(frame, seed, _LAKE, 5_500, 5, 0.4) > 2.75 - 1.1 * weather.rain + 0.6 * weather.relief
    dzdx, dzdy = _gradient(elevation)
    return Terrain(elevation[1:-1, 1:-1], dzdx, dzdy, shore < np.maximum(width, 0) / 2 + 3, lake, shore)


def _elevation(frame: Frame, course: F32, relief: F32, seed: int) -> F32:
    amplitude = 12 + 480 * relief**3
    hills = fbm(frame, seed, _BASE, 9_000, 7, 0.46)
    valley = np.exp(-np.square(course / np.float32(0.35)))
    height = np.logaddexp(hills + 0.6, 0).astype(np.float32) * (1 - 0.75 * valley)
    return np.asarray(60 + 500 * relief**2 + amplitude * height, np.float32)


def _gradient(field: F32) -> tuple[F32, F32]:
    """Central differences of a field on 10 m pixels, one pixel smaller on each side."""
    east, north = field[1:-1, 2:] - field[1:-1, :-2], field[:-2, 1:-1] - field[2:, 1:-1]
    return np.asarray(east / 20, np.float32), np.asarray(north / 20, np.float32)
