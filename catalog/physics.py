"""What pixels must look like: rules that betray swapped bands, wrong units and a missing or doubled offset.

Every rule compares a few medians over pixels whose cover the scene classification (SCL) states; SCL is made before
the offset of baseline 04.00 is added, so it is independent evidence. A rule says nothing where a patch has too few
such pixels: no finding means no contradiction, not proof.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog import bands
from catalog.patch import Patch

_MIN_SHARE = 0.02  # of the patch's pixels: below it a median says little
_VEGETATION, _SOIL, _WATER = 4, 5, 6  # SCL
_NDVI_VEGETATION = 0.4  # leaves with the offset left in (0.13 and 0.36) still pass

DB_LIMITS = (-50.0, 20.0)  # gamma0: noise floor is near -25 dB, bright point targets reach about +20 dB
_MAX_OUTLIER_SHARE = 0.01
_MAX_VH_DB = -1.0  # median cross-polarised gamma0: land is -30..-8 dB; linear power or unscaled dB lie above
_MIN_DARK = 0.1  # offset / 10000: with it left in, blue over leaves and shortwave infrared over water lie above
_MAX_CLIPPED = 0.005  # median green of land: leaves and soil are 0.03 and more, an offset removed twice clips to 0
_MAX_REFLECTANCE = 2.0  # snow and cloud facing the sun reach about 1.6; uint16 underflow gives 6.5
_NIR_RATIO = 0.35  # B8A lies inside B08 (832.8 +- 53 nm)
_NIR_FLOOR = 0.05  # below it noise rules the ratio
_MARGIN = 0.02  # reflectance; differences below it are not evidence
_BRIGHT_MARGIN = 0.15  # snow is as bright in red as in blue, and neighbouring bands differ by a tenth
_MAX_SHARE_ERROR = 0.01


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction: which rule, in what, and the numbers that show it."""

    rule: str
    subject: str
    """A patch, a shard or a file."""
    evidence: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.rule}: {self.evidence}"


@dataclass(frozen=True)
class _Pixels:
    """A patch in physical units on its 20 m grid, NaN where nodata; 10 m bands averaged, decibels too."""

    patch: Patch

    @functools.cached_property
    def band(self) -> dict[str, NDArray[np.float32]]:
        patch = self.patch
        fine = {b.name: _halve(_physical(a, b)) for a, b in zip(patch.s2_10m, bands.S2_10M, strict=True)}
        coarse = {b.name: _physical(a, b) for a, b in zip(patch.s2_20m, bands.S2_20M, strict=True)}
        radar = {b.name: _halve(_physical(a, b)) for a, b in zip(patch.s1, bands.S1, strict=True)}
        return fine | coarse | radar

    @functools.cached_property
    def vegetation(self) -> NDArray[np.bool_]:
        red, nir = self.band["B04"], self.band["B08"]
        leaves: NDArray[np.bool_] = (self.patch.scl == _VEGETATION) & (nir - red > _NDVI_VEGETATION * (nir + red))
        return leaves

    def median(self, name: str, where: NDArray[np.bool_] | None = None) -> float:
        """Median of a band over valid pixels of a mask; NaN where they are too few."""
        values = self.band[name] if where is None else self.band[name][where]
        values = values[np.isfinite(values)]
        return float(np.median(values)) if values.size > _MIN_SHARE * self.patch.scl.size else np.nan


def check_physics(patch: Patch) -> tuple[Finding, ...]:
    """Compare a patch with what its bands must look like.

    Returns:
        One finding for each broken rule; empty when nothing contradicts.
    """
    pixels = _Pixels(patch)
    spoken = [(name, rule(pixels)) for name, rule in _RULES.items()]
    return tuple(Finding(name, patch.patch_id, evidence) for name, evidence in spoken if evidence)


def _db_range(pixels: _Pixels) -> str | None:
    low, high = DB_LIMITS
    for stored, band in zip(pixels.patch.s1, bands.S1, strict=True):
        db = _physical(stored, band)
        share = float(np.mean((db < low) | (db > high)))
        if share > _MAX_OUTLIER_SHARE:
            return f"{100 * share:.1f} % of {band.name} lies outside {low:g}..{high:g} dB; is it dB x 100?"
    return None


def _db_not_linear(pixels: _Pixels) -> str | None:
    vh_db = pixels.median("VH")
    if vh_db > _MAX_VH_DB:
        return f"median VH is {vh_db:.2f} dB, above {_MAX_VH_DB:g}: linear power or decibels without their scale"
    return None


def _polarisation_order(pixels: _Pixels) -> str | None:
    land = pixels.patch.scl != _WATER
    vv_db, vh_db = pixels.median("VV", land), pixels.median("VH", land)
    if vv_db < vh_db:
        return f"median VV {vv_db:.1f} dB lies below VH {vh_db:.1f} dB over land: swapped polarisations"
    return None


def _offset_missing(pixels: _Pixels) -> str | None:
    for name, where, what in (
        ("B02", pixels.vegetation, "vegetation"),
        ("B12", pixels.patch.scl == _WATER, "water"),
    ):
        median = pixels.median(name, where)
        if median > _MIN_DARK:
            return f"median {name} over {what} is {median:.3f}, above {_MIN_DARK:g}: the offset of 0.1 is still in"
    return None


def _offset_doubled(pixels: _Pixels) -> str | None:
    land = np.isin(pixels.patch.scl, (_VEGETATION, _SOIL))
    green = pixels.median("B03", land)
    if green < _MAX_CLIPPED:
        return f"median B03 over land is {green:.4f}, below {_MAX_CLIPPED:g}: an offset of 0.1 was removed twice"
    return None


def _reflectance_range(pixels: _Pixels) -> str | None:
    for band in bands.S2:
        share = float(np.mean(pixels.band[band.name] > _MAX_REFLECTANCE))
        if share > _MAX_OUTLIER_SHARE:
            return f"{100 * share:.1f} % of {band.name} lies above {_MAX_REFLECTANCE:g}: underflow or a wrong scale"
    return None


def _near_infrared(pixels: _Pixels) -> str | None:
    wide, narrow = pixels.median("B08"), pixels.median("B8A")
    if abs(narrow - wide) > _NIR_RATIO * max(wide, narrow, _NIR_FLOOR):
        return f"median B8A {narrow:.3f} differs from B08 {wide:.3f}, which contains it: wrong bands or band order"
    return None


def _blue_end(pixels: _Pixels) -> str | None:
    coastal, blue, red = (pixels.median(name) for name in ("B01", "B02", "B04"))
    if abs(blue - coastal) > abs(red - coastal) + max(_MARGIN, _BRIGHT_MARGIN * coastal):
        return (
            f"B02 {blue:.3f} lies farther from its neighbour B01 {coastal:.3f} than B04 {red:.3f}: red and blue swapped"
        )
    return None


def _leaf_spectrum(pixels: _Pixels) -> str | None:
    for lower, higher in (("B05", "B06"), ("B12", "B11")):
        below, above = (pixels.median(name, pixels.vegetation) for name in (lower, higher))
        if below > above + _MARGIN:
            return f"over vegetation {lower} {below:.3f} exceeds {higher} {above:.3f}: wrong band order"
    return None


def _valid_shares(pixels: _Pixels) -> str | None:
    quality, patch = pixels.patch.provenance.quality, pixels.patch
    optical = min(float(np.mean((stored != 0).all(axis=0))) for stored in (patch.s2_10m, patch.s2_20m))
    radar = float(np.mean((patch.s1 != bands.S1_NODATA).all(axis=0)))
    for name, stated, found in (
        ("s2_valid_share", quality.s2_valid_share, optical),
        ("s1_valid_share", quality.s1_valid_share, radar),
    ):
        if abs(found - stated) > _MAX_SHARE_ERROR:
            return f"{name} says {stated:.3f}, the pixels say {found:.3f}"
    return None


_RULES: dict[str, Callable[[_Pixels], str | None]] = {
    "s1-range": _db_range,
    "s1-decibel": _db_not_linear,
    "s1-order": _polarisation_order,
    "s2-offset-missing": _offset_missing,
    "s2-offset-doubled": _offset_doubled,
    "s2-range": _reflectance_range,
    "s2-near-infrared": _near_infrared,
    "s2-blue-end": _blue_end,
    "s2-leaf-spectrum": _leaf_spectrum,
    "valid-share": _valid_shares,
}


def _physical(stored: NDArray[np.generic], band: bands.Band) -> NDArray[np.float32]:
    scale = bands.S2_SCALE if band.sensor == "sentinel-2" else bands.S1_SCALE_DB
    return np.where(stored == band.nodata, np.float32(np.nan), stored.astype(np.float32) * np.float32(scale))


def _halve(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of each 2 x 2 block; NaN where one is."""
    pairs = values[::2] + values[1::2]  # five times as fast as `mean` over two axes
    mean: NDArray[np.float32] = (pairs[:, ::2] + pairs[:, 1::2]) * np.float32(0.25)
    return mean
