"""Clouds of one scene: how opaque, and where their shadows fall."""

import statistics
from dataclasses import dataclass

import numpy as np

from ingest.sandbox.noise import F32, Frame, fbm
from ingest.sandbox.sun import Sun

GSD_M = 20  # clouds are made on the grid of the scene classification
_SCALE_M = 9_000.0
_CIRRUS_SCALE_M = 30_000.0
_LARGEST_OPACITY = 0.97
_EDGE = 0.55  # standard deviations of the noise from a cloud's rim to its opaque part


@dataclass(frozen=True, slots=True)
class Sky:
    """What a scene's clouds are like."""

    share: float
    """Share of the sky meant to be cloudy, 0..1; the measured share of a window differs."""
    height_m: float
    """Of the layer's base above the ground."""
    cirrus: float
    """Largest opacity of thin high cloud, 0 for none."""
    seed: int


@dataclass(frozen=True, slots=True)
class Clouds:
    """Clouds over one frame of 20 m pixels, axes `y x`, all 0..1."""

    opacity: F32
    cirrus: F32
    shadow: F32
    """Share of the direct sunlight that clouds keep from the ground."""


def clouds(frame: Frame, sky: Sky, sun: Sun) -> Clouds:
    """The clouds above a frame of 20 m pixels.

    A point lies in the shadow of what stands between it and the sun, so the shadow at a point is the opacity at
    height times tan(zenith) towards the sun.
    """
    east, north = (-sky.height_m * step for step in sun.shadow_m_per_m)
    sunward = Frame(
        frame.epsg, frame.west_m + _whole(east), frame.north_m + _whole(north), frame.rows, frame.cols, frame.gsd_m
    )
    return Clouds(_opacity(frame, sky), _cirrus(frame, sky), _opacity(sunward, sky))


def _whole(metres: float) -> int:
    return round(metres / GSD_M) * GSD_M


def _opacity(frame: Frame, sky: Sky) -> F32:
    if sky.share < 0.005:
        return np.zeros(frame.shape, np.float32)
    rim = np.float32(statistics.NormalDist().inv_cdf(1 - min(sky.share, 0.995)))
    field = fbm(frame, sky.seed, 1, _SCALE_M, 8, 0.56)
    return np.asarray(np.clip((field - rim) / np.float32(_EDGE), 0, 1) * np.float32(_LARGEST_OPACITY), np.float32)


def _cirrus(frame: Frame, sky: Sky) -> F32:
    if sky.cirrus <= 0:
        return np.zeros(frame.shape, np.float32)
    field = fbm(frame, sky.seed, 2, _CIRRUS_SCALE_M, 5, 0.5)
    return np.asarray(np.clip((field - np.float32(0.4)) / 2, 0, 1) * np.float32(sky.cirrus), np.float32)
