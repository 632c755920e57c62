"""Statistics against numpy on everything at once, for any split."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from catalog.errors import CorpusError
from catalog.fake import fake_patches
from catalog.labels import OSM_BY_NAME
from catalog.stats import BandStatistics, Moments, count_corine, count_osm, merge_all

RTOL = 1e-10
NUMBERS = hnp.arrays(np.uint16, st.integers(1, 60), elements=st.integers(1, 20_000))


@given(values=NUMBERS, cuts=st.lists(st.integers(0, 60), max_size=5))
def test_merging_any_split_equals_numpy_on_all(values: np.ndarray, cuts: list[int]):
    parts = np.split(values, sorted(cut for cut in cuts if cut <= values.size))
    merged = Moments()
    for part in parts:
        merged = merged.merge(Moments.of(part, 1e-4))
    physical = values * 1e-4
    assert merged.count == values.size
    np.testing.assert_allclose(merged.mean, physical.mean(), rtol=RTOL)
    np.testing.assert_allclose(merged.m2, np.square(physical - physical.mean()).sum(), rtol=RTOL, atol=1e-15)
    np.testing.assert_allclose([merged.minimum, merged.maximum], [physical.min(), physical.max()], rtol=RTOL)


def test_nothing_is_the_neutral_element():
    some = Moments.of(np.array([1.0, 4.0]))
    assert Moments().merge(some) == some == some.merge(Moments())
    assert math.isnan(Moments().std)


def test_bands_are_counted_in_physical_units_over_valid_pixels_only():
    patches = list(fake_patches(3, side_px=16))
    patches[0].s2_10m[1, :4] = 0
    patches[1].s1[1, :2] = -32768
    statistics = merge_all(BandStatistics.of(patch) for patch in patches)
    green = np.concatenate([patch.s2_10m[1][patch.s2_10m[1] != 0] for patch in patches]) * 1e-4
    vh = np.concatenate([patch.s1[1][patch.s1[1] != -32768] for patch in patches]) * 0.01
    assert statistics.patches == 3
    assert statistics.bands["B03"].count == 3 * 256 - 4 * 16
    np.testing.assert_allclose(statistics.mean(["VH", "B03"]), [vh.mean(), green.mean()], rtol=RTOL)
    np.testing.assert_allclose(statistics.std(["VH", "B03"]), [vh.std(), green.std()], rtol=RTOL)


def test_json_round_trip_is_exact():
    statistics = merge_all(BandStatistics.of(patch) for patch in fake_patches(2, side_px=16))
    assert BandStatistics.from_json(statistics.to_json()) == statistics


def test_a_band_without_valid_pixels_is_an_error_not_a_nan():
    with pytest.raises(CorpusError, match="no valid pixel of B02"):
        BandStatistics().mean(["B02"])


def test_labels_are_counted_by_code_and_by_bit():
    patch = next(iter(fake_patches(1, side_px=16)))
    corine = np.zeros((16, 16), np.uint8)
    corine[:4], corine[4:5] = 24, 1
    osm = np.zeros((16, 16), np.uint32)
    osm[0] = 1 << OSM_BY_NAME["building"].bit | 1 << OSM_BY_NAME["solar_farm"].bit
    osm[1] = 1 << OSM_BY_NAME["solar_farm"].bit
    patch = dataclasses.replace(patch, labels={"corine": corine, "osm": osm})
    assert count_corine(patch) == {0: 11 * 16, 111: 16, 312: 64}
    assert count_osm(patch) == {"building": 16, "solar_farm": 32}
    both = BandStatistics.of(patch).merge(BandStatistics.of(patch))
    assert both.corine == {0: 22 * 16, 111: 32, 312: 128}
    assert both.osm == {"building": 32, "solar_farm": 64}
