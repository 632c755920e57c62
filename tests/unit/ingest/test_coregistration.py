"""Shifts that are known: of one image moved by Fourier, and of fields drawn anew elsewhere for two sensors."""

import numpy as np
import pytest

from catalog.bands import S1_NODATA
from ingest.coregistration import measure_shift, shift_between

SHIFTS_PX = [(0.0, 0.0), (2.0, -1.0), (0.3, 0.7), (-3.4, 2.6)]  # south, east


def field_maps(side, south_px, east_px, seed=0):
    """Reflectance and decibels of one map of fields, averaged over 4 x 4 points a pixel; unrelated in brightness."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-40, side + 40, (60 * side * side // 256**2, 2))
    points = (np.arange(4 * side) + 0.5) / 4
    y, x = np.meshgrid(points - south_px, points - east_px, indexing="ij")
    distance = np.full(y.shape, np.inf)
    nearest = np.zeros(y.shape, int)
    for number, (row, col) in enumerate(centres):
        squared = (y - row) ** 2 + (x - col) ** 2
        nearest[squared < distance] = number
        distance = np.minimum(distance, squared)
    values = rng.uniform(0.1, 0.5, len(centres)), rng.normal(-12, 3, len(centres))
    return [value[nearest].reshape(side, 4, side, 4).mean((1, 3)) for value in values]


def two_sensors(south_px, east_px, side=192, seed=0):
    rng = np.random.default_rng(seed + 1)
    reflectance, _ = field_maps(side, 0, 0, seed)
    _, db = field_maps(side, south_px, east_px, seed)
    speckled = np.stack([db, db - 6]) + 10 * np.log10(rng.gamma(4.4, 1 / 4.4, (2, side, side)))
    near_infrared = 1e4 * reflectance * rng.normal(1, 0.03, (side, side))
    return near_infrared.astype(np.uint16), np.rint(100 * speckled).astype(np.int16)


@pytest.mark.parametrize("south_px, east_px", SHIFTS_PX)
def test_a_moved_image_is_found_to_a_hundredth_of_a_pixel(south_px, east_px):
    image = np.random.default_rng(0).normal(size=(128, 96))
    rows, cols = (np.fft.fftfreq(side) for side in image.shape)
    turn = np.exp(-2j * np.pi * (rows[:, None] * south_px + cols[None, :] * east_px))
    shift = shift_between(image, np.fft.ifft2(np.fft.fft2(image) * turn).real)
    assert (shift.east_m, shift.north_m) == pytest.approx((10 * east_px, -10 * south_px), abs=0.1)


@pytest.mark.parametrize("south_px, east_px", SHIFTS_PX)
def test_speckled_radar_of_the_same_fields_is_found_to_half_a_pixel(south_px, east_px):
    shift = measure_shift(*two_sensors(south_px, east_px))
    assert shift is not None
    assert (shift.east_m, shift.north_m) == pytest.approx((10 * east_px, -10 * south_px), abs=5)


def test_other_fields_give_no_shift_rather_than_a_wrong_one():
    near_infrared, _ = two_sensors(0, 0)
    for seed in range(1, 6):
        assert measure_shift(near_infrared, two_sensors(0, 0, seed=seed)[1]) is None


def test_gaps_flat_images_and_small_ones_give_no_shift():
    near_infrared, s1 = two_sensors(0, 0)
    gaps = s1.copy()
    gaps[0, :40] = S1_NODATA
    assert measure_shift(near_infrared, gaps) is None
    assert measure_shift(np.full_like(near_infrared, 300), s1) is None
    assert measure_shift(near_infrared[:48, :48], s1[:, :48, :48]) is None


def test_a_few_missing_pixels_change_nothing_much():
    near_infrared, s1 = two_sensors(2.0, -1.0)
    s1[:, 5:9, 100:140] = S1_NODATA
    shift = measure_shift(near_infrared, s1)
    assert (shift.east_m, shift.north_m) == pytest.approx((-10, -20), abs=5)
