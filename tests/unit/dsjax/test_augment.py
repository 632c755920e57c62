import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsjax.augment import (
    choose_sensors,
    drop_bands,
    jitter_optical,
    jitter_radar,
    ramp,
    random_square,
    random_turn,
    turn,
)
from dsjax.config import AugmentConfig, Ramp
from dsjax.data import SENSORS, Batch

KEY = jax.random.key(0)


def scene(patches: int = 64, side: int = 8) -> Batch:
    """Every pixel holds its 20 m place, so the two grids can be compared."""
    y, x = np.indices((side, side)) // 2
    fine = jnp.asarray(1.0 + 100 * y + x, jnp.float32)[None, :, :, None].repeat(patches, 0)
    return Batch(fine.repeat(4, -1), fine[:, ::2, ::2].repeat(8, -1), fine.repeat(2, -1))


@pytest.mark.parametrize("progress, expected", [(0.0, 1.0), (0.1, 1.0), (0.2, 2.0), (0.3, 3.0), (1.0, 3.0)])
def test_ramp_is_linear_between_its_ends(progress, expected):
    np.testing.assert_allclose(ramp(Ramp(1.0, 3.0, 0.1, 0.3), progress), expected, rtol=1e-6)


def test_the_three_choices_make_all_eight_symmetries():
    image = jnp.arange(9.0).reshape(1, 3, 3, 1)
    made = {
        tuple(turn(image, jnp.array(c)[:, None]).ravel().tolist()) for c in itertools.product([False, True], repeat=3)
    }
    square = np.arange(9.0).reshape(3, 3)
    rotations = [np.rot90(flipped, k) for flipped in (square, square.T) for k in range(4)]
    assert made == {tuple(rotation.ravel()) for rotation in rotations}


def test_a_turn_keeps_both_grids_and_both_sensors_together():
    turned = random_turn(KEY, scene())
    np.testing.assert_array_equal(turned.s2_10m[:, ::2, ::2, 0], turned.s2_20m[..., 0])
    np.testing.assert_array_equal(turned.s2_10m[..., 0], turned.s1[..., 0])
    assert len(np.unique(np.asarray(turned.s1[..., 0]).reshape(64, -1), axis=0)) == 8


def test_a_square_keeps_both_grids_together_and_reaches_every_corner_allowed():
    squares = random_square(KEY, scene(512, 16), 8, shift_px=4.0)
    np.testing.assert_array_equal(squares.s2_10m[:, ::2, ::2, 0], squares.s2_20m[..., 0])
    np.testing.assert_array_equal(squares.s2_10m[..., 0], squares.s1[..., 0])
    corners = set(np.asarray(squares.s2_20m[:, 0, 0, 0]).tolist())
    assert corners == {1.0 + 100 * y + x for y in range(3) for x in range(3)}


def test_no_shift_is_the_same_square_for_all():
    squares = random_square(KEY, scene(16, 16), 8, shift_px=1.0)
    np.testing.assert_array_equal(squares.s1, scene(16, 16).s1[:, :8, :8])


def test_illumination_is_common_to_all_bands_and_pixels_of_a_patch():
    config = AugmentConfig(s2_gain=0.3, s2_band_gain=0.0, s2_offset=0.0)
    view = scene()
    lit = jitter_optical(KEY, view, config)
    gains = np.asarray(lit.s2_10m / view.s2_10m)
    np.testing.assert_allclose(gains, gains[:, :1, :1, :1].repeat(8, 1).repeat(8, 2).repeat(4, 3), rtol=1e-5)
    np.testing.assert_allclose(lit.s2_20m / view.s2_20m, gains[:, :4, :4, :1].repeat(8, 3), rtol=1e-5)
    np.testing.assert_allclose(np.log(gains[:, 0, 0, 0]).std(), 0.3, rtol=0.3)
    np.testing.assert_array_equal(lit.s1, view.s1)


def test_radar_jitter_has_the_stated_spread_and_leaves_the_optical_bands():
    view = scene(256)
    level = jitter_radar(KEY, view, AugmentConfig(s1_offset_db=2.0, s1_noise_db=0.0)).s1 - view.s1
    np.testing.assert_allclose(level, level[:, :1, :1].repeat(8, 1).repeat(8, 2), atol=1e-4)
    np.testing.assert_allclose(level[:, 0, 0].std(), 2.0, rtol=0.1)
    noisy = jitter_radar(KEY, view, AugmentConfig(s1_offset_db=0.0, s1_noise_db=0.5))
    np.testing.assert_allclose((noisy.s1 - view.s1).std(), 0.5, rtol=0.05)
    np.testing.assert_array_equal(noisy.s2_10m, view.s2_10m)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_bands_are_dropped_whole_at_the_stated_rate(rate):
    dropped = jnp.concatenate([jnp.isnan(x).mean((1, 2)) for x in drop_bands(KEY, scene(512), rate)], axis=1)
    assert set(np.unique(dropped)) <= {0.0, 1.0}
    np.testing.assert_allclose(dropped.mean(), rate, atol=0.02)


def test_a_crossed_pair_has_one_sensor_each_and_never_the_same():
    first, second = choose_sensors(KEY, 512, 0.0, cross_sensor=1.0)
    np.testing.assert_array_equal(first.sum(1), 1)
    np.testing.assert_array_equal(first, ~second)
    assert 0.4 < first[:, SENSORS.index("sentinel-1")].mean() < 0.6


@pytest.mark.parametrize("dropout", [0.0, 0.4, 1.0])
def test_an_uncrossed_view_loses_one_sensor_at_the_stated_rate_and_never_both(dropout):
    first, second = choose_sensors(KEY, 2048, dropout, cross_sensor=0.0)
    assert first.any(1).all()
    assert second.any(1).all()
    np.testing.assert_allclose((~first).any(1).mean(), dropout, atol=0.03)
    if dropout == 1.0:
        np.testing.assert_allclose((first == second).all(1).mean(), 0.5, atol=0.04)
