"""The band table: every band this project stores, in the order it stores them."""

from dataclasses import dataclass
from typing import Literal

Sensor = Literal["sentinel-1", "sentinel-2"]


@dataclass(frozen=True, slots=True)
class Band:
    """One band of one sensor, as stored in a corpus."""

    name: str
    sensor: Sensor
    units: str
    gsd_m: int
    """Native ground sampling distance, metres."""
    dtype: str
    nodata: int
    centre_nm: float | None
    """Centre wavelength in nanometres; None for radar."""
    common_name: str | None
    """STAC `eo:common_name`; None for radar."""


def _s2(name: str, gsd_m: int, centre_nm: float, common_name: str) -> Band:
    return Band(name, "sentinel-2", "reflectance x 10000", gsd_m, "uint16", 0, centre_nm, common_name)


def _s1(name: str) -> Band:
    return Band(name, "sentinel-1", "gamma0 dB x 100", 10, "int16", S1_NODATA, None, None)


S1_NODATA = -32768  # Planetary Computer sentinel-1-rtc nodata, kept for the stored int16
S1_SCALE_DB = 0.01  # stored int16 = dB / 0.01, so the largest rounding error is 0.005 dB
S2_SCALE = 1e-4  # reflectance = DN / 10000 (Sentinel-2 L2A product specification, QUANTIFICATION_VALUE)

# Centre wavelengths of Sentinel-2A, nm (ESA, Sentinel-2 spectral response functions, S2-SRF 3.0).
S2_10M: tuple[Band, ...] = (
    _s2("B02", 10, 492.7, "blue"),
    _s2("B03", 10, 559.8, "green"),
    _s2("B04", 10, 664.6, "red"),
    _s2("B08", 10, 832.8, "nir"),
)
# B01 and B09 are 60 m bands; each of their pixels covers exactly 3 x 3 pixels of the 20 m grid.
S2_20M: tuple[Band, ...] = (
    _s2("B05", 20, 704.1, "rededge071"),
    _s2("B06", 20, 740.5, "rededge075"),
    _s2("B07", 20, 782.8, "rededge078"),
    _s2("B8A", 20, 864.7, "nir08"),
    _s2("B11", 20, 1613.7, "swir16"),
    _s2("B12", 20, 2202.4, "swir22"),
    _s2("B01", 60, 442.7, "coastal"),
    _s2("B09", 60, 945.1, "nir09"),
)
S1: tuple[Band, ...] = (_s1("VV"), _s1("VH"))

S2 = S2_10M + S2_20M
"""All 12 reflectance bands of Level-2A. Level-2A has no B10."""

S2_WAVELENGTH_ORDER: tuple[str, ...] = tuple(band.name for band in sorted(S2, key=lambda band: band.centre_nm or 0.0))
"""Names of `S2` from short to long wavelength: the band order of a decoded 10 m cube."""

BY_NAME: dict[str, Band] = {band.name: band for band in S2 + S1}
