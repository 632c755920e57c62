"""Clouds cover about what they should, and shadows fall away from the sun."""

import datetime as dt

import numpy as np
import pytest

from ingest.sandbox.clouds import Sky, clouds
from ingest.sandbox.noise import Frame
from ingest.sandbox.sun import Sun, sun_at

FRAME = Frame(32632, 500_000, 5_600_000, 220, 240, 20)


def test_the_sun_is_overhead_at_noon_on_the_tropic_at_midsummer():
    sun = sun_at(0.0, 23.45, dt.datetime(2018, 6, 21, 12, 2, tzinfo=dt.UTC))
    assert sun.zenith_deg < 0.8


def test_the_sun_stands_at_the_latitude_at_noon_of_an_equinox():
    sun = sun_at(15.0, 50.0, dt.datetime(2018, 3, 21, 11, 7, tzinfo=dt.UTC))
    assert sun.zenith_deg == pytest.approx(50, abs=0.5)
    assert sun.azimuth_deg == pytest.approx(180, abs=1)


def test_the_morning_sun_stands_in_the_east_and_shadows_point_west():
    sun = sun_at(0.0, 45.0, dt.datetime(2018, 6, 21, 7, 0, tzinfo=dt.UTC))
    east, _ = sun.shadow_m_per_m
    assert 60 < sun.azimuth_deg < 120
    assert east < 0


def test_shadow_length_is_the_tangent_of_the_zenith():
    sun = Sun(60.0, 135.0)
    assert np.hypot(*sun.shadow_m_per_m) == pytest.approx(np.tan(np.deg2rad(60)))


@pytest.mark.parametrize("azimuth, height", [(150.0, 1000.0), (200.0, 2000.0)])
def test_shadows_are_the_clouds_displaced_away_from_the_sun(azimuth, height):
    sun = Sun(45.0, azimuth)
    above = clouds(FRAME, Sky(0.5, height, 0.0, 8), sun)
    right, down = round(-height * np.sin(np.deg2rad(azimuth)) / 20), round(height * np.cos(np.deg2rad(azimuth)) / 20)
    rows, cols = FRAME.shape
    there = above.shadow[max(down, 0) : rows + min(down, 0), max(right, 0) : cols + min(right, 0)]
    here = above.opacity[max(-down, 0) : rows + min(-down, 0), max(-right, 0) : cols + min(-right, 0)]
    assert here.any()
    np.testing.assert_array_equal(there, here)


def test_a_clear_sky_has_neither_cloud_nor_shadow():
    above = clouds(FRAME, Sky(0.0, 1000, 0.0, 3), Sun(40, 150))
    assert not above.opacity.any()
    assert not above.shadow.any()
    assert not above.cirrus.any()


def test_over_many_skies_the_covered_share_is_what_was_asked():
    """One window holds few clouds, so single skies scatter widely: the mean of 60 is known to about 0.03."""
    small = Frame(32632, 500_000, 5_600_000, 60, 60, 20)
    shares = [(clouds(small, Sky(0.3, 1000, 0.0, seed), Sun(40, 150)).opacity > 0).mean() for seed in range(60)]
    assert np.mean(shares) == pytest.approx(0.3, abs=0.12)
