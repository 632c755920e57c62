"""One Sentinel-1 RTC scene of the simulated ground: gamma0 in VV and VH, linear power.

Each cover has a mean in decibels that moves with its greenness, its parcel and the day's soil moisture or wind;
buildings add a double bounce that depends on how their walls face the radar; pylons are point targets. Speckle is
gamma distributed with 4.4 looks, independent in VV and VH and from pixel to pixel: real GRD speckle is slightly
correlated between neighbours, this one is white. Layover, shadow and border noise are not simulated.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ingest.sandbox.earth import Ground, departure
from ingest.sandbox.landcover import PLANTED, Cover
from ingest.sandbox.noise import F32, Frame, fbm
from ingest.sandbox.season import delay_bin, green_share
from ingest.sandbox.terrain import latitude_deg

OrbitState = Literal["ascending", "descending"]
LOOKS = 4.4  # sar:looks_equivalent_number of Sentinel-1 IW GRD high resolution (ESA product specification)
NODATA = -32768.0
_FLOOR = 1e-5  # -50 dB, below anything measured
_KEPT_BITS = 11  # of 23 mantissa bits: an error of 0.001 dB, a 2000th of the speckle, for files a third smaller
_STRIP_ROWS = 384
_HEADING_DEG = {"ascending": -12.0, "descending": -168.0}  # of the flight at middle latitudes, from north
_MOISTURE_SCALE_M = 40_000.0

# Mean gamma0 (dB) at rest in VV and VH, and its change from no green to full green. Typical C-band values at
# 35-40 degrees: Ulaby and Dobson 1989, Handbook of Radar Scattering Statistics for Terrain; the Sentinel-1 Global
# Backscatter Model (Bauer-Marschallinger et al. 2021); crops after Vreugdenhil et al. 2018 (Remote Sensing 10, 1396):
# VH rises with leafy crops, wheat dims VV. Real RTC samples: forest -8/-13.5, cropland -10/-17, shrub -11/-17.
_MEAN_DB: dict[Cover, tuple[float, float, float, float]] = {
    Cover.WATER: (-19.0, -26.0, 0.0, 0.0),
    Cover.WINTER_CROP: (-9.6, -17.6, -2.6, -0.2),
    Cover.RAPESEED: (-10.6, -18.2, 1.6, 5.2),
    Cover.SUMMER_CROP: (-10.6, -18.6, 1.9, 4.0),
    Cover.FALLOW: (-10.4, -18.4, -0.4, 1.0),
    Cover.GRASS: (-10.8, -17.6, -0.6, 0.2),
    Cover.NATURAL_GRASS: (-11.3, -18.0, -0.3, 0.8),
    Cover.HEATH: (-10.9, -16.9, 0.2, 0.8),
    Cover.SCLEROPHYLL: (-9.8, -15.6, 0.2, 0.6),
    Cover.BROADLEAF: (-7.9, -13.3, -0.6, -0.5),
    Cover.CONIFER: (-8.3, -13.8, -0.2, -0.1),
    Cover.YOUNG_WOOD: (-9.4, -15.4, 0.2, 0.9),
    Cover.VINEYARD: (-9.6, -16.8, 0.1, 1.2),
    Cover.ORCHARD: (-9.0, -15.3, 0.0, 0.8),
    Cover.OLIVE: (-9.1, -15.1, 0.0, 0.4),
    Cover.REED: (-8.4, -16.4, -0.2, 1.0),
    Cover.BOG: (-10.6, -17.2, 0.0, 0.6),
    Cover.ROCK: (-10.2, -17.4, 0.0, 0.0),
    Cover.SPARSE: (-11.6, -18.9, 0.0, 0.6),
    Cover.GRAVEL: (-11.0, -18.8, 0.0, 0.5),
    Cover.GARDEN: (-9.6, -15.8, -0.1, 0.6),
    Cover.PAVED: (-12.6, -20.5, 0.0, 0.5),
    Cover.SOLAR: (-8.2, -17.4, 0.0, 0.0),
}
_PARCEL_DB, _STAND_DB, _PIXEL_DB = 1.3, 0.6, 0.35  # spread from field to field, stand to stand, pixel to pixel
_MOISTURE_DB = 0.9  # one standard deviation of wetness moves open ground by about this much
_ROOF = {"VV": 0.30, "VH": 0.055}  # gamma0 of a built-up square whose walls face away (-5, -12.6 dB)
_BOUNCE = {"VV": 5.0, "VH": 1.6}  # factor by which walls across the radar's line of sight exceed it
_BOUNCE_WIDTH_DEG = 14.0  # it is lost about this far from perpendicular (Ferro et al. 2011, TGRS 49)
_ROAD = {"VV": 0.035, "VH": 0.005}
_PYLON = {"VV": 2.0, "VH": 0.3}


def render(
    frame: Frame, ground: Ground, *, day: int, orbit_state: OrbitState, valid: NDArray[np.bool_], noise_seed: int
) -> dict[str, F32]:
    """Make one scene: "VV" and "VH", -32768 where `valid` is false."""
    rng = np.random.default_rng(noise_seed)
    wind_db = float(np.clip(rng.normal(0, 2.2), -4, 5))  # sea state: the Bragg return of water follows the wind
    scenes: dict[str, F32] = {name: np.empty(frame.shape, np.float32) for name in ("VV", "VH")}
    for rows, strip in frame.strips(_STRIP_ROWS):
        part = ground.rows(rows)
        wetness = _wetness(strip, part, noise_seed, wind_db)
        for name, scene in scenes.items():
            power = _power(strip, part, name, day, orbit_state, wetness)
            power *= rng.standard_gamma(LOOKS, power.shape, np.float32) / np.float32(LOOKS)
            scene[rows] = np.where(
                valid[rows], round_mantissa(np.maximum(power, np.float32(_FLOOR))), np.float32(NODATA)
            )
    return scenes


def _wetness(frame: Frame, ground: Ground, seed: int, wind_db: float) -> F32:
    """Change in decibels by the day's weather: soil moisture on open ground, wind on water."""
    moisture = np.float32(_MOISTURE_DB) * fbm(frame, seed, 1, _MOISTURE_SCALE_M, 3)
    open_ground = np.isin(ground.cover, (*PLANTED, Cover.NATURAL_GRASS, Cover.SPARSE, Cover.GRAVEL, Cover.VINEYARD))
    return np.where(ground.cover == Cover.WATER, np.float32(wind_db), np.where(open_ground, moisture, 0.25 * moisture))


def _power(frame: Frame, ground: Ground, name: str, day: int, orbit_state: OrbitState, wetness: F32) -> F32:
    """Mean gamma0 of every pixel, before speckle."""
    first = 0 if name == "VV" else 1
    table = np.array([_MEAN_DB[cover] for cover in Cover], np.float32)
    vigour, tone, texture = (departure(part) for part in (ground.vigour, ground.tone, ground.texture))
    lat = float(latitude_deg(frame.epsg, frame.y_m[[0]])[0])
    green = green_share(day, lat)[ground.cover, delay_bin(ground.elevation_m, vigour)]
    decibel = table[:, first][ground.cover] + table[:, first + 2][ground.cover] * green
    spread = np.array([_PARCEL_DB if cover in PLANTED else _STAND_DB for cover in Cover], np.float32)
    decibel += spread[ground.cover] * (np.float32(0.6) * vigour + np.float32(0.8) * tone)
    decibel += np.float32(_PIXEL_DB) * texture + wetness
    power = np.power(np.float32(10), decibel / 10)
    return _with_built(power, ground, name, orbit_state)


def _with_built(power: F32, ground: Ground, name: str, orbit_state: OrbitState) -> F32:
    roof = (ground.house.astype(np.float32) + ground.hall) / 255
    road = ground.road / np.float32(255)
    facing = double_bounce(ground.wall_angle, orbit_state)
    built = np.float32(_ROOF[name]) * (1 + np.float32(_BOUNCE[name] - 1) * facing)
    mixed = power * (1 - roof - road) + roof * built + road * np.float32(_ROAD[name])
    return np.asarray(mixed + ground.tower * np.float32(_PYLON[name]), np.float32)


def double_bounce(wall_angle: NDArray[np.uint8], orbit_state: OrbitState) -> F32:
    """How squarely walls face the radar, 0..1: 1 where a wall runs along the flight, 0 where no building is."""
    flight_deg = (90 - _HEADING_DEG[orbit_state]) % 90  # as a mathematical angle, like the walls'
    angle = np.arange(255) * (90 / 254)
    off = np.abs((angle - flight_deg + 45) % 90 - 45)
    table = np.append(np.exp(-np.square(off / _BOUNCE_WIDTH_DEG)), 0).astype(np.float32)
    return np.take(table, wall_angle)


def round_mantissa(value: F32) -> F32:
    """Round float32 to `_KEPT_BITS` bits of mantissa, so that files compress."""
    drop = 23 - _KEPT_BITS
    bits = value.view(np.uint32) + np.uint32(1 << (drop - 1))
    return (bits & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)).view(np.float32)
