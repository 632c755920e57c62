"""How far a radar image lies from the optical one: phase correlation of their edges, to a part of a pixel.

The two sensors see different brightness but the same borders of fields, roads and water, so not the images but the
strengths of their gradients are compared. The shift is a measurement for users to filter by; nothing is moved.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.bands import S1_NODATA

PIXEL_M = 10
REACH_PX = 8  # shifts users reported are 20 m and rarely more (PlanetaryComputer issues 404 and 492)
LEAST_PEAK = 12.0  # unrelated images reach 10.2 in 400 trials, in standard deviations of the correlation
_SIGMA_PX = 1.5  # smoothing before gradients: speckle has edges too
_HIGHEST_CYCLES_PX = 0.25  # above half of the Nyquist frequency there is hardly more than speckle
_MIN_VALID_SHARE = 0.9
_MIN_SIDE_PX = 64
_FAINT = 1e-12  # of the strongest frequency: nothing but rounding

Image = NDArray[np.float32]  # half the time of double precision, and a shift is told to a tenth of a metre


@dataclass(frozen=True, slots=True)
class Shift:
    """Where radar edges lie, seen from the optical ones."""

    east_m: float
    north_m: float
    peak: float
    """Height of the correlation's peak in its standard deviations."""


def measure_shift(near_infrared: NDArray[np.uint16], s1: NDArray[np.int16]) -> Shift | None:
    """The shift of stored Sentinel-1 pixels (axes `band y x`) against a stored 10 m Sentinel-2 band (axes `y x`).

    Returns:
        None where the images are small, have gaps, or share too few edges for a clear peak: mostly water,
        forest or snow.
    """
    valid = (near_infrared != 0) & (s1 != S1_NODATA).all(axis=0)
    if min(near_infrared.shape) < _MIN_SIDE_PX or valid.mean() < _MIN_VALID_SHARE:
        return None
    optical = _edges(_filled(near_infrared.astype(np.float32), valid))
    radar = _edges(_filled(s1.sum(axis=0, dtype=np.float32), valid))
    if not optical.any() or not radar.any():
        return None
    return _clear(shift_between(optical, radar))


def shift_between(first: Image, second: Image) -> Shift:
    """The shift that brings the first image onto the second, rows counted southwards, by phase correlation.

    Kuglin and Hines 1975; the peak is refined by a paraboloid through its neighbours on a correlation that is
    smooth because its high frequencies are left out.
    """
    spectrum = np.fft.rfft2(second) * np.conj(np.fft.rfft2(first))
    strength = np.abs(spectrum)
    phase = spectrum / np.maximum(strength, _FAINT * strength.max())
    correlation = np.fft.irfft2(phase * _low_pass(first.shape), first.shape)
    reach = np.arange(-REACH_PX - 1, REACH_PX + 2)
    near = correlation[np.ix_(reach, reach)]
    row, col = (int(i) + 1 for i in np.unravel_index(np.argmax(near[1:-1, 1:-1]), (2 * REACH_PX + 1,) * 2))
    south_px = reach[row] + _vertex(near[row - 1 : row + 2, col])
    east_px = reach[col] + _vertex(near[row, col - 1 : col + 2])
    peak = near[row, col] / correlation.std()
    return Shift(float(east_px) * PIXEL_M, -float(south_px) * PIXEL_M, float(peak))


def _clear(shift: Shift) -> Shift | None:
    edge_m = REACH_PX * PIXEL_M
    at_the_rim = max(abs(shift.east_m), abs(shift.north_m)) >= edge_m
    return None if at_the_rim or shift.peak < LEAST_PEAK else shift


def _filled(image: Image, valid: NDArray[np.bool_]) -> Image:
    return np.where(valid, image, image[valid].mean())


def _edges(image: Image) -> Image:
    """Strength of the gradient, without its mean, fading to nothing at the border so that no border is an edge."""
    blurred = np.fft.irfft2(np.fft.rfft2(image - image.mean()) * _blur(image.shape), image.shape)
    strength = np.hypot(*np.gradient(blurred))
    faded: Image = (strength - strength.mean()) * _fade(image.shape)
    return faded


@functools.cache  # these three are the same for every patch, and took as long as all of the rest
def _blur(shape: tuple[int, ...]) -> Image:
    return np.exp(-2 * (np.pi * _SIGMA_PX * _cycles_px(shape)) ** 2).astype(np.float32)


@functools.cache
def _low_pass(shape: tuple[int, ...]) -> Image:
    return np.exp(-2 * (_cycles_px(shape) / _HIGHEST_CYCLES_PX) ** 2).astype(np.float32)


@functools.cache
def _fade(shape: tuple[int, ...]) -> Image:
    return np.outer(*(np.hanning(side) for side in shape)).astype(np.float32)


def _cycles_px(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Frequencies of a real image's half spectrum, cycles a pixel."""
    frequency: NDArray[np.float64] = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    return frequency


def _vertex(three: NDArray[np.floating]) -> float:
    """Where a parabola through values at -1, 0 and 1 has its top."""
    below, top, above = np.log(np.maximum(three, 1e-9 * three.max()))  # the peak is a Gaussian: exact for its logarithm
    curve = below - 2 * top + above
    return float(0.5 * (below - above) / curve) if curve < 0 else 0.0
