"""Small pictures of a patch, with one fixed stretch so that patches can be compared."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalog import bands
from catalog.labels import CORINE, OSM
from catalog.osm_classes import NO_CLASS, dominant
from catalog.patch import Patch

WEBP_QUALITY = 80  # a 256 px patch takes about 14 kB, a ninth of PNG
_RED_GREEN_BLUE = (2, 1, 0)  # rows of s2_10m
_NIR_RED_GREEN = (3, 2, 1)
_NIR_WHITE_REFLECTANCE = 0.5  # dense vegetation reflects 0.4 to 0.5 there
_WHITE_REFLECTANCE = 0.3  # land is mostly darker; ESA's own true-colour image of Level-2A saturates at 0.2
_GAMMA = 1.6  # lifts forests and water, which are darker than 0.05
# Two standard deviations (about 5 dB each) around BigEarthNet's means of -12.6 dB (VV) and -19.4 dB (VH).
_SAR_DB = ((-22.5, -2.5), (-29.5, -9.5), (0.0, 15.0))
_UNKNOWN_GREY = (128, 128, 128)


def rgb(patch: Patch) -> NDArray[np.uint8]:
    """True colour `(side, side, 3)`; nodata is black."""
    return _optical(patch, _RED_GREEN_BLUE, np.full(3, _WHITE_REFLECTANCE, np.float32))


def false_colour(patch: Patch) -> NDArray[np.uint8]:
    """Near infrared, red and green as red, green and blue `(side, side, 3)`: vegetation is red; nodata is black."""
    white = np.array([_NIR_WHITE_REFLECTANCE, _WHITE_REFLECTANCE, _WHITE_REFLECTANCE], np.float32)
    return _optical(patch, _NIR_RED_GREEN, white)


def sar(patch: Patch) -> NDArray[np.uint8]:
    """VV, VH and VV - VH in decibels as red, green and blue `(side, side, 3)`; nodata is black."""
    vv_db, vh_db = patch.s1.astype(np.float32) * np.float32(bands.S1_SCALE_DB)
    channels = zip((vv_db, vh_db, vv_db - vh_db), _SAR_DB, strict=True)
    stretched = np.stack([np.clip((db - low) / (high - low), 0, 1) for db, (low, high) in channels])
    return _to_bytes(stretched, (patch.s1 != bands.S1_NODATA).all(axis=0))


def corine(grid_codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The label map in the official colours `(side, side, 3)`; unknown is mid grey."""
    palette = np.array([_UNKNOWN_GREY, *(cover.colour for cover in CORINE)], np.uint8)
    return palette[grid_codes]


def osm(bits: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The class on top of each pixel in the colours of the class table `(side, side, 3)`; unknown is mid grey."""
    palette = np.full((NO_CLASS + 1, 3), _UNKNOWN_GREY, np.uint8)
    palette[[entry.bit for entry in OSM]] = [entry.colour for entry in OSM]
    return palette[dominant(bits)]


def encode_webp(image: NDArray[np.uint8]) -> bytes:
    """Lossy WebP; equal images give equal bytes."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", quality=WEBP_QUALITY)
    return stream.getvalue()


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Lossless PNG, for colours that mean classes; equal images give equal bytes."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def draw(patch: Patch) -> dict[str, bytes]:
    """Every picture of a patch, encoded, by the name of its asset."""
    found = {
        "thumbnail": encode_webp(rgb(patch)),
        "overview": encode_webp(sar(patch)),
        "false_colour": encode_webp(false_colour(patch)),
    }
    if "corine" in patch.labels:
        found["corine"] = encode_png(corine(patch.labels["corine"]))
    if "osm" in patch.labels:
        found["osm"] = encode_png(osm(patch.labels["osm"]))
    return found


def _optical(patch: Patch, rows: tuple[int, ...], white: NDArray[np.float32]) -> NDArray[np.uint8]:
    stored = patch.s2_10m[rows, ...]
    stretched = np.clip(stored * np.float32(bands.S2_SCALE) / white[:, None, None], 0, 1) ** (1 / _GAMMA)
    return _to_bytes(stretched, (stored != 0).all(axis=0))


def _to_bytes(stretched: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    pixels = np.rint(np.where(valid, stretched, 0) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
