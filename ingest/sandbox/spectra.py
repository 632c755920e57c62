"""What covers reflect: typical surface reflectances in the 12 bands of Sentinel-2 Level-2A.

Endmembers are typical values read off published spectra, rounded, at the bands' centres: leaves, soils, rocks, roofs
and asphalt from the USGS Spectral Library Version 7 (Kokaly et al. 2017, USGS Data Series 1035) and the ECOSTRESS
library (Meerdink et al. 2019, RSE 230, 111196); leaf spectra are scaled to canopies, whose shadows and gaps halve
them. They are no fit to any data set. Checked by eye against real Level-2A samples of forest (red 0.02-0.03, near
infrared 0.17-0.26) and cropland (red 0.05-0.16, near infrared 0.24-0.27).
"""

import numpy as np

from ingest.sandbox.landcover import Cover
from ingest.sandbox.noise import F32

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")

_ENDMEMBERS: dict[str, tuple[float, ...]] = {
    #            B01    B02    B03    B04    B05    B06    B07    B08    B8A    B09    B11    B12
    "broadleaf": (0.014, 0.019, 0.043, 0.023, 0.075, 0.225, 0.290, 0.315, 0.330, 0.330, 0.165, 0.072),
    "conifer": (0.012, 0.016, 0.031, 0.020, 0.050, 0.132, 0.166, 0.182, 0.192, 0.196, 0.094, 0.042),
    "grass": (0.026, 0.031, 0.066, 0.042, 0.108, 0.268, 0.325, 0.345, 0.360, 0.365, 0.220, 0.112),
    "crop": (0.020, 0.025, 0.055, 0.030, 0.088, 0.310, 0.400, 0.425, 0.440, 0.440, 0.195, 0.092),
    "rape": (0.024, 0.031, 0.078, 0.048, 0.115, 0.300, 0.375, 0.400, 0.415, 0.415, 0.205, 0.098),
    "shrub": (0.022, 0.027, 0.047, 0.041, 0.080, 0.165, 0.200, 0.218, 0.232, 0.238, 0.170, 0.095),
    "reed": (0.022, 0.028, 0.055, 0.042, 0.090, 0.200, 0.245, 0.262, 0.275, 0.272, 0.150, 0.075),
    "straw": (0.055, 0.072, 0.108, 0.142, 0.182, 0.208, 0.225, 0.245, 0.265, 0.275, 0.325, 0.225),
    "litter": (0.028, 0.036, 0.054, 0.066, 0.088, 0.112, 0.127, 0.146, 0.158, 0.165, 0.188, 0.125),
    "shade": (0.010, 0.013, 0.021, 0.022, 0.034, 0.055, 0.064, 0.072, 0.078, 0.080, 0.070, 0.040),
    "soil": (0.058, 0.074, 0.105, 0.134, 0.158, 0.174, 0.188, 0.204, 0.219, 0.226, 0.288, 0.248),
    "peat": (0.026, 0.032, 0.048, 0.060, 0.078, 0.100, 0.112, 0.128, 0.140, 0.145, 0.160, 0.105),
    "water": (0.036, 0.040, 0.046, 0.030, 0.025, 0.016, 0.014, 0.012, 0.011, 0.010, 0.005, 0.004),
    "rock": (0.115, 0.132, 0.168, 0.192, 0.204, 0.213, 0.222, 0.232, 0.240, 0.245, 0.282, 0.255),
    "gravel": (0.110, 0.130, 0.165, 0.190, 0.205, 0.215, 0.225, 0.236, 0.246, 0.250, 0.285, 0.260),
    "asphalt": (0.075, 0.086, 0.102, 0.113, 0.120, 0.125, 0.130, 0.136, 0.141, 0.144, 0.162, 0.150),
    "tile": (0.058, 0.072, 0.112, 0.182, 0.212, 0.228, 0.240, 0.255, 0.270, 0.276, 0.335, 0.298),
    "flat_roof": (0.150, 0.172, 0.200, 0.215, 0.221, 0.226, 0.232, 0.240, 0.245, 0.247, 0.262, 0.240),
    "panel": (0.060, 0.066, 0.062, 0.060, 0.062, 0.070, 0.074, 0.082, 0.090, 0.092, 0.105, 0.090),
}
# Fresh snow of about 200 um grains (Warren and Wiscombe 1980) and optically thick water cloud (top reflectance
# of King et al. 1992's look-up tables at optical depth 20-40): bright and flat below 1 um, dark where ice absorbs.
SNOW = np.array([0.90, 0.90, 0.89, 0.88, 0.87, 0.86, 0.85, 0.83, 0.80, 0.74, 0.10, 0.08], np.float32)
CLOUD = np.array([0.68, 0.67, 0.66, 0.67, 0.68, 0.69, 0.69, 0.69, 0.69, 0.60, 0.50, 0.40], np.float32)
TILE_ROOF = np.array(_ENDMEMBERS["tile"], np.float32)
FLAT_ROOF = np.array(_ENDMEMBERS["flat_roof"], np.float32)
ASPHALT = np.array(_ENDMEMBERS["asphalt"], np.float32)

# Share of diffuse light in clear sky over land: falls with wavelength (continental aerosol, visibility 23 km, sun at
# 45 degrees; order of the values in Vermote et al. 1997, 6S).
DIFFUSE_SHARE = np.array([0.36, 0.31, 0.24, 0.19, 0.17, 0.16, 0.15, 0.14, 0.13, 0.12, 0.07, 0.05], np.float32)

_MADE_OF: dict[Cover, tuple[str, str]] = {
    Cover.WATER: ("water", "water"),
    Cover.WINTER_CROP: ("crop", "soil"),
    Cover.RAPESEED: ("rape", "soil"),
    Cover.SUMMER_CROP: ("crop", "soil"),
    Cover.FALLOW: ("grass", "soil"),
    Cover.GRASS: ("grass", "straw"),
    Cover.NATURAL_GRASS: ("grass", "straw"),
    Cover.HEATH: ("shrub", "litter"),
    Cover.SCLEROPHYLL: ("shrub", "soil"),
    Cover.BROADLEAF: ("broadleaf", "litter"),
    Cover.CONIFER: ("conifer", "shade"),
    Cover.YOUNG_WOOD: ("broadleaf", "straw"),
    Cover.VINEYARD: ("crop", "soil"),
    Cover.ORCHARD: ("broadleaf", "straw"),
    Cover.OLIVE: ("shrub", "soil"),
    Cover.REED: ("reed", "litter"),
    Cover.BOG: ("shrub", "peat"),
    Cover.ROCK: ("grass", "rock"),
    Cover.SPARSE: ("grass", "rock"),
    Cover.GRAVEL: ("grass", "gravel"),
    Cover.GARDEN: ("grass", "asphalt"),
    Cover.PAVED: ("grass", "asphalt"),
    Cover.SOLAR: ("grass", "panel"),
}

# Spread inside a cover, as (greenness from stand to stand, greenness from pixel to pixel, brightness from soil and
# stand, brightness from pixel to pixel), one standard deviation. Set so that the relative spread of a class's band
# means is 10-35 %, the range of the per-class standard deviations of real Level-2A samples of forest and cropland.
_DEFAULT_SPREAD = (0.07, 0.03, 0.13, 0.05)
_SPREAD: dict[Cover, tuple[float, float, float, float]] = {
    Cover.WATER: (0.0, 0.0, 0.18, 0.03),
    Cover.WINTER_CROP: (0.09, 0.02, 0.20, 0.03),
    Cover.RAPESEED: (0.08, 0.02, 0.18, 0.03),
    Cover.SUMMER_CROP: (0.08, 0.025, 0.20, 0.03),
    Cover.FALLOW: (0.12, 0.04, 0.22, 0.04),
    Cover.GRASS: (0.10, 0.03, 0.10, 0.04),
    Cover.BROADLEAF: (0.06, 0.04, 0.09, 0.10),
    Cover.CONIFER: (0.06, 0.05, 0.12, 0.12),
    Cover.YOUNG_WOOD: (0.12, 0.09, 0.10, 0.09),
    Cover.ORCHARD: (0.08, 0.09, 0.14, 0.08),
    Cover.OLIVE: (0.06, 0.08, 0.18, 0.08),
    Cover.VINEYARD: (0.08, 0.05, 0.18, 0.05),
    Cover.ROCK: (0.03, 0.03, 0.16, 0.10),
    Cover.GRAVEL: (0.04, 0.05, 0.16, 0.09),
    Cover.GARDEN: (0.08, 0.14, 0.08, 0.10),
    Cover.PAVED: (0.02, 0.06, 0.08, 0.10),
}


def green_and_back() -> tuple[F32, F32]:
    """Reflectance of each cover at full green and at none, each with axes `cover band`."""
    pairs = [_MADE_OF[cover] for cover in Cover]
    green = np.array([_ENDMEMBERS[green] for green, _ in pairs], np.float32)
    back = np.array([_ENDMEMBERS[back] for _, back in pairs], np.float32)
    return green, back


def spread() -> F32:
    """The four standard deviations of each cover, axes `cover kind`."""
    return np.array([_SPREAD.get(cover, _DEFAULT_SPREAD) for cover in Cover], np.float32)


# Signal-to-noise ratio at the reference radiance Lref (W m-2 sr-1 um-1): Sentinel-2 User Handbook, ESA 2015,
# table of spectral bands; and the band's solar irradiance (W m-2 um-1) from Sentinel-2A product metadata.
_REFERENCE: dict[str, tuple[float, float, float]] = {
    "B01": (129, 129.0, 1884.7), "B02": (154, 128.0, 1959.7), "B03": (168, 128.0, 1823.2), "B04": (142, 108.0, 1512.1),
    "B05": (117, 74.5, 1424.6), "B06": (89, 68.0, 1287.6), "B07": (105, 67.0, 1162.1), "B08": (174, 103.0, 1041.6),
    "B8A": (72, 52.5, 955.3), "B09": (114, 9.0, 812.9), "B11": (100, 4.0, 245.6), "B12": (100, 1.5, 85.3),
}  # fmt: skip


def noise_reflectance(zenith_deg: float) -> F32:
    """Standard deviation of the sensor's noise in each band, as reflectance: pi L / (E cos zenith) at Lref / SNR."""
    cosine = np.cos(np.deg2rad(zenith_deg))
    return np.array(
        [
            np.pi * radiance / (irradiance * cosine) / snr
            for snr, radiance, irradiance in map(_REFERENCE.__getitem__, BANDS)
        ],
        np.float32,
    )
