"""Season: how green each cover is, and whether snow lies, on a day of the year."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.sandbox.landcover import Cover
from ingest.sandbox.noise import F32

SHIFT_DAYS = 2.0  # width of a bin of phenological delay
SHIFT_BINS = 64
_REFERENCE_LAT_DEG = 50.0
_DELAY_DAYS_DEG = 4.0  # Hopkins' bioclimatic law (1920): spring comes 4 days later a degree of latitude ...
_DELAY_DAYS_M = 4 / 122  # ... and 4 days later every 400 feet


@dataclass(frozen=True, slots=True)
class Phenology:
    """A double logistic of the green share (the model of Beck et al. 2006, RSE 100, 321-334) at 50 degrees north."""

    least: float
    most: float
    greening: float
    """Day of the year of half green-up."""
    browning: float
    """Day of the year of half senescence."""
    pace_days: float = 9.0
    """Time constant of both."""


# Dates are typical of central Europe: crop calendars of JRC's MARS bulletins, leaf unfolding and fall of the PEP725
# phenology data base. Green shares are canopy fractions as seen from above at full growth and at rest.
PHENOLOGY: dict[Cover, Phenology] = {
    Cover.WATER: Phenology(0.0, 0.0, 100, 300),
    Cover.WINTER_CROP: Phenology(0.22, 0.95, 88, 184, 8),
    Cover.RAPESEED: Phenology(0.35, 0.92, 82, 186, 8),
    Cover.SUMMER_CROP: Phenology(0.03, 0.93, 163, 262, 8),
    Cover.FALLOW: Phenology(0.08, 0.30, 110, 270, 18),
    Cover.GRASS: Phenology(0.48, 0.93, 90, 300, 16),
    Cover.NATURAL_GRASS: Phenology(0.22, 0.74, 112, 255, 18),
    Cover.HEATH: Phenology(0.38, 0.62, 130, 280, 20),
    Cover.SCLEROPHYLL: Phenology(0.46, 0.62, 70, 220, 30),
    Cover.BROADLEAF: Phenology(0.06, 0.94, 116, 292, 7),
    Cover.CONIFER: Phenology(0.80, 0.92, 130, 300, 20),
    Cover.YOUNG_WOOD: Phenology(0.28, 0.80, 116, 288, 14),
    Cover.VINEYARD: Phenology(0.10, 0.48, 135, 285, 12),
    Cover.ORCHARD: Phenology(0.28, 0.76, 112, 290, 12),
    Cover.OLIVE: Phenology(0.34, 0.44, 90, 300, 25),
    Cover.REED: Phenology(0.15, 0.80, 138, 275, 12),
    Cover.BOG: Phenology(0.25, 0.58, 135, 265, 20),
    Cover.ROCK: Phenology(0.00, 0.04, 150, 260, 20),
    Cover.SPARSE: Phenology(0.05, 0.24, 150, 255, 20),
    Cover.GRAVEL: Phenology(0.01, 0.07, 110, 280, 20),
    Cover.GARDEN: Phenology(0.32, 0.70, 105, 295, 14),
    Cover.PAVED: Phenology(0.02, 0.08, 110, 290, 20),
    Cover.SOLAR: Phenology(0.04, 0.12, 110, 290, 20),
}


def green_share(day: int, lat_deg: float) -> F32:
    """Green share of each cover for each bin of delay, axes `cover bin`.

    South of the equator seasons are half a year apart. Towards the equator the swing shrinks linearly below 30
    degrees (a simplification: wet and dry seasons are not simulated).
    """
    local_day = (day + (182 if lat_deg < 0 else 0)) % 365
    swing = min(1.0, abs(lat_deg) / 30)
    delay = (np.arange(SHIFT_BINS) - SHIFT_BINS // 2) * SHIFT_DAYS + _DELAY_DAYS_DEG * (
        np.clip(abs(lat_deg), 35, 65) - _REFERENCE_LAT_DEG
    )
    rows = [_double_logistic(PHENOLOGY[cover], local_day, delay, swing) for cover in Cover]
    return np.stack(rows).astype(np.float32)


def _double_logistic(cycle: Phenology, day: float, delay: NDArray[np.float64], swing: float) -> NDArray[np.float64]:
    """Spring is delayed, autumn comes earlier by half as much."""
    rise = 1 / (1 + np.exp(-(day - cycle.greening - delay) / cycle.pace_days))
    fall = 1 / (1 + np.exp(-(day - cycle.browning + delay / 2) / cycle.pace_days))
    rest = cycle.least + (1 - swing) * 0.7 * (cycle.most - cycle.least)
    return np.asarray(rest + (cycle.most - rest) * np.clip(rise - fall, 0, 1))


def delay_bin(elevation_m: NDArray[np.int16], vigour: F32) -> NDArray[np.uint8]:
    """Bin of delay of each pixel: later uphill, and a week and a half either way from parcel to parcel."""
    days = np.float32(_DELAY_DAYS_M) * (elevation_m - np.float32(150)) - np.float32(5.5) * vigour
    return np.clip(days / np.float32(SHIFT_DAYS) + SHIFT_BINS // 2, 0, SHIFT_BINS - 1).astype(np.uint8)


def air_temperature_c(sea_level_c: float, lat_deg: float, day: int) -> float:
    """Climatological temperature of a day at sea level.

    Half the yearly swing is 0.19 C a degree of latitude, coldest on 20 January (1991-2020 normals: Berlin 9.7,
    Helsinki 12).
    """
    local_day = day + (182 if lat_deg < 0 else 0)
    return float(sea_level_c - 0.19 * abs(lat_deg) * np.cos(2 * np.pi * (local_day - 20) / 365))
