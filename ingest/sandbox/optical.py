"""One Sentinel-2 Level-2A scene of the simulated ground: 12 bands and the scene classification.

Reflectance mixes a green and a bare spectrum by season, roofs and roads by area, then snow, sunlight on the slope,
cloud shadow and cloud. Bands of 20 and 60 m are block means of that 10 m reflectance, as a coarser detector would
see it; noise is added at each band's own resolution. Not simulated: point spread, adjacency, view angle (BRDF),
aerosol residuals, detector seams, crop rotation between years.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.sandbox import spectra
from ingest.sandbox.clouds import Clouds, Sky, clouds
from ingest.sandbox.earth import Ground, departure
from ingest.sandbox.landcover import Cover
from ingest.sandbox.noise import F32, Frame
from ingest.sandbox.season import air_temperature_c, delay_bin, green_share
from ingest.sandbox.sun import Sun
from ingest.sandbox.terrain import LAPSE_C_M, latitude_deg, sea_level_temperature_c

U16 = NDArray[np.uint16]
GSD_M = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B01": 60, "B09": 60}
"""Native resolution of a band, metres; 20 where absent."""
OFFSET_DN = 1000  # added by processing baseline 04.00 and later (BOA_ADD_OFFSET = -1000)
_STRIP_ROWS = 384  # whole 60 m pixels
_DIFFUSE_CONSTANT = 0.45  # C of the C correction: typical of Teillet, Guindon and Goodenough 1982 for visible light
_SHADOW_DEPTH = 0.85  # share of the direct light that the thickest cloud takes


@dataclass(frozen=True, slots=True)
class OpticalScene:
    """What a Level-2A product holds, at native resolution."""

    bands: dict[str, U16]
    """Digital numbers by band name, 0 is nodata."""
    scl: NDArray[np.uint8]
    """Scene classification at 20 m."""

    @property
    def cloud_percent(self) -> float:
        """Share of cloud and cirrus (SCL 8, 9, 10) among the valid pixels, percent."""
        valid = np.count_nonzero(self.scl)
        return 100 * float(np.isin(self.scl, (8, 9, 10)).sum()) / valid if valid else 0.0


def render(
    frame: Frame,
    ground: Ground,
    *,
    day: int,
    sun: Sun,
    sky: Sky,
    offset: bool,
    valid: NDArray[np.bool_],
    noise_seed: int,
) -> OpticalScene:
    """Make one scene.

    Args:
        frame: 10 m pixels; rows and columns are multiples of 6, so that whole 60 m pixels fit.
        day: of the year.
        offset: whether the product has the offset of baseline 04.00.
        valid: which 20 m pixels the swath covers.
    """
    rng = np.random.default_rng(noise_seed)
    parts = [
        _strip(strip, ground.rows(rows), day, sun, sky, valid[rows.start // 2 : rows.stop // 2], offset, rng)
        for rows, strip in frame.strips(_STRIP_ROWS)
    ]
    bands = {name: np.concatenate([part.bands[name] for part in parts]) for name in spectra.BANDS}
    return OpticalScene(bands, np.concatenate([part.scl for part in parts]))


def _strip(
    frame: Frame,
    ground: Ground,
    day: int,
    sun: Sun,
    sky: Sky,
    valid: NDArray[np.bool_],
    offset: bool,
    rng: np.random.Generator,
) -> OpticalScene:
    above = clouds(Frame(frame.epsg, frame.west_m, frame.north_m, frame.rows // 2, frame.cols // 2, 20), sky, sun)
    surface = _Surface.of(frame, ground, day, sun)
    sigma = spectra.noise_reflectance(sun.zenith_deg)
    bands: dict[str, U16] = {}
    coarse: dict[str, F32] = {}
    for index, name in enumerate(spectra.BANDS):
        fine = _under_clouds(surface.reflectance(index), above, index)
        if name in ("B03", "B04", "B8A", "B11"):
            coarse[name] = block_mean(surface.reflectance(index), 2)
        factor = GSD_M.get(name, 20) // 10
        native = block_mean(fine, factor)
        native += sigma[index] * rng.standard_normal(native.shape, np.float32)
        bands[name] = digital_numbers(native, offset=offset) * _at_gsd(valid, factor)
    return OpticalScene(bands, _classify(coarse, above, block_mean(surface.snow, 2)) * valid)


def digital_numbers(reflectance: F32, *, offset: bool) -> U16:
    """Reflectance as Level-2A stores it; a valid pixel is never 0."""
    scaled = np.rint(reflectance * np.float32(10_000)) + np.float32(OFFSET_DN if offset else 0)
    return np.asarray(np.clip(scaled, 1, 65_535).astype(np.uint16))


def block_mean(fine: F32, factor: int) -> F32:
    """Means of blocks of `factor` x `factor` pixels."""
    if factor == 1:
        return fine
    rows, cols = fine.shape
    return np.asarray(fine.reshape(rows // factor, factor, cols // factor, factor).mean(axis=(1, 3)))


def _at_gsd(valid: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """A 20 m mask at the resolution of `factor` x 10 m; a 60 m pixel is valid where any part of it is."""
    if factor == 1:
        return np.repeat(np.repeat(valid, 2, axis=0), 2, axis=1)
    if factor == 2:
        return valid
    rows, cols = valid.shape
    return np.asarray(valid.reshape(rows // 3, 3, cols // 3, 3).any(axis=(1, 3)))


@dataclass(frozen=True, slots=True)
class _Surface:
    """What the bands share: covers, greenness, brightness, built shares, snow and light."""

    cover: NDArray[np.uint8]
    green: F32
    canopy_tone: F32
    soil_tone: F32
    house: F32
    hall: F32
    road: F32
    roof_tone: F32
    snow: F32
    light: F32

    @classmethod
    def of(cls, frame: Frame, ground: Ground, day: int, sun: Sun) -> "_Surface":
        vigour, tone, texture = (departure(part) for part in (ground.vigour, ground.tone, ground.texture))
        lat = float(latitude_deg(frame.epsg, frame.y_m[[0]])[0])
        table, kinds = green_share(day, lat), spectra.spread()
        sd = [np.take(np.ascontiguousarray(kinds[:, kind]), ground.cover) for kind in range(4)]
        green = table[ground.cover, delay_bin(ground.elevation_m, vigour)] + sd[0] * vigour + sd[1] * texture
        fine = 1 + sd[3] * texture
        return cls(
            cover=ground.cover,
            green=np.clip(green, 0, 1),
            canopy_tone=np.maximum(fine + np.float32(0.08) * vigour, 0.2),
            soil_tone=np.maximum(fine + sd[2] * tone, 0.25),
            house=ground.house * np.float32(1 / 255),
            hall=ground.hall * np.float32(1 / 255),
            road=ground.road * np.float32(1 / 255),
            roof_tone=np.clip(1 + np.float32(0.18) * texture + np.float32(0.3) * vigour, 0.25, 2.2),
            snow=_snow(ground, lat, day, tone),
            light=illumination(ground, sun),
        )

    def reflectance(self, band: int) -> F32:
        """Clear-sky reflectance of one band."""
        green, back = spectra.green_and_back()
        natural = np.take(back[:, band].copy(), self.cover) * (1 - self.green) * self.soil_tone
        natural += np.take(green[:, band].copy(), self.cover) * self.green * self.canopy_tone
        built = (self.house * spectra.TILE_ROOF[band] + self.hall * spectra.FLAT_ROOF[band]) * self.roof_tone
        built += self.road * spectra.ASPHALT[band]
        natural *= (1 - self.house - self.hall - self.road) * self.light
        natural += built
        natural += self.snow * (spectra.SNOW[band] * self.light - natural)
        return natural


def illumination(ground: Ground, sun: Sun) -> F32:
    """Light on the slope relative to flat ground: the cosine law softened by diffuse light (C correction)."""
    east, north, up = (np.float32(part) for part in sun.vector)
    dzdx, dzdy = ground.dzdx.astype(np.float32), ground.dzdy.astype(np.float32)
    incidence = (up - dzdx * east - dzdy * north) / np.sqrt(1 + dzdx * dzdx + dzdy * dzdy)
    constant = np.float32(_DIFFUSE_CONSTANT)
    return np.asarray((np.maximum(incidence, 0) + constant) / (up + constant), np.float32)


def _snow(ground: Ground, lat: float, day: int, tone: F32) -> F32:
    """Share of each pixel under snow: where the climatological day is below freezing; trees hide most of it."""
    at_sea = air_temperature_c(float(sea_level_temperature_c(np.array(lat))), lat, day)
    warmth = np.float32(at_sea) - np.float32(LAPSE_C_M) * ground.elevation_m
    if float(warmth.min()) > 3:
        return np.zeros(ground.cover.shape, np.float32)
    share = 1 / (1 + np.exp((warmth + 1) / np.float32(0.8) + tone * np.float32(0.7)))
    hidden = np.select([ground.cover == Cover.CONIFER, ground.cover == Cover.BROADLEAF], [0.25, 0.5], 1.0)
    return np.asarray(np.where(ground.cover == Cover.WATER, 0, share) * hidden, np.float32)


def _under_clouds(clear: F32, above: Clouds, band: int) -> F32:
    """Dim what lies in shadow, then mix in the cloud."""
    direct = np.float32(_SHADOW_DEPTH * (1 - spectra.DIFFUSE_SHARE[band]))
    opacity = np.maximum(above.opacity, above.cirrus)
    dimmed = clear * _double(1 - direct * above.shadow)
    return np.asarray(dimmed + _double(opacity) * (spectra.CLOUD[band] - dimmed), np.float32)


def _double(coarse: F32) -> F32:
    return np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)


# Opacity and shadow from which a pixel is classified as such. Chosen, not Sen2Cor's: its thresholds act on spectra.
CLOUD_HIGH, CLOUD_MEDIUM, THIN_CIRRUS, UNSURE, SHADOW = 0.6, 0.25, 0.07, 0.10, 0.35


def _classify(clear: dict[str, F32], above: Clouds, snow: F32) -> NDArray[np.uint8]:
    """Sen2Cor's classes from what is known, not guessed: the surface from its clear reflectance at 20 m."""
    green, red, near, short = (clear[name] for name in ("B03", "B04", "B8A", "B11"))
    ndvi = (near - red) / (near + red)
    water = (green > short) & (near < 0.11) & (ndvi < 0.2)
    surface = np.select([snow > 0.5, water, near + red < 0.09, ndvi > 0.36], [11, 6, 2, 4], 5)
    hidden = (
        (above.opacity >= CLOUD_HIGH, 9),
        (above.opacity >= CLOUD_MEDIUM, 8),
        (above.cirrus >= THIN_CIRRUS, 10),
        (above.shadow >= SHADOW, 3),
        (above.opacity >= UNSURE, 7),
    )
    return np.select([mask for mask, _ in hidden], [code for _, code in hidden], surface).astype(np.uint8)
