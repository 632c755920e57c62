import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from catalog.bands import S1_NODATA
from ingest.radiometry import boa_add_offset, measure_quality, remove_offset, stored_gamma0

DN = arrays(np.uint16, (3, 4), elements=st.integers(0, 65535))


@pytest.mark.parametrize(
    "baseline, offset", [("02.12", 0), ("03.01", 0), ("04.00", -1000), ("05.10", -1000), ("10.00", -1000)]
)
def test_the_offset_follows_the_baseline(baseline, offset):
    assert boa_add_offset(baseline) == offset


@given(DN)
def test_removing_the_offset_keeps_nodata_and_never_makes_it(dn):
    stored = remove_offset(dn, -1000)
    np.testing.assert_array_equal(stored == 0, dn == 0)
    bright = dn > 1000
    np.testing.assert_array_equal(stored[bright], dn[bright] - 1000)
    assert (stored[(dn > 0) & ~bright] == 1).all()


@given(DN)
def test_without_an_offset_nothing_changes(dn):
    np.testing.assert_array_equal(remove_offset(dn, 0), dn)


@given(arrays(np.float32, (5,), elements=st.floats(np.float32(1e-7), np.float32(1e4), width=32)))
def test_stored_decibels_are_within_half_a_step(power):
    exact = 10 * np.log10(power.astype(np.float64))
    assert np.abs(stored_gamma0(power) * 0.01 - exact).max() <= 0.005 + 1e-9


def test_unusable_power_becomes_nodata():
    power = np.array([0.1, 0.0, -0.2, np.nan, np.inf, -32768.0], np.float32)
    assert stored_gamma0(power).tolist() == [-1000] + [S1_NODATA] * 5


def test_quality_counts_pixels_valid_in_every_band():
    s2_10m, s2_20m = np.ones((4, 4, 4), np.uint16), np.ones((8, 2, 2), np.uint16)
    s2_10m[0, 0, 0] = s2_10m[1, 0, 1] = 0  # two pixels, each without one band
    s1 = np.zeros((2, 4, 4), np.int16)
    s1[1, 0] = S1_NODATA
    scl = np.array([[8, 3], [11, 4]], np.uint8)
    quality = measure_quality(s2_10m, s2_20m, scl, s1, boa_offset_applied=True, s1_zone_changed=False)
    assert (quality.s2_valid_share, quality.s1_valid_share) == (14 / 16, 12 / 16)
    assert (quality.cloud_share, quality.shadow_share, quality.snow_share) == (0.25, 0.25, 0.25)
