"""Class weights against closed forms."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.fake import fake_patches
from catalog.stats import BandStatistics, merge_all
from catalog.weights import inverse_sqrt, known, median_frequency

COUNTS = st.dictionaries(st.integers(1, 44), st.integers(1, 10**9), min_size=1)


def test_the_median_class_weighs_one_and_a_tenth_of_it_ten():
    assert median_frequency({"a": 1000, "b": 100, "c": 10}) == {"a": 0.1, "b": 1.0, "c": 10.0}


def test_a_class_a_hundred_times_rarer_weighs_ten_times_more():
    weights = inverse_sqrt({"a": 10_000, "b": 100})
    assert weights["b"] == pytest.approx(10 * weights["a"])


@given(COUNTS)
def test_the_mean_weight_of_a_pixel_is_one(counts):
    weights = inverse_sqrt(counts)
    assert sum(weights[name] * n for name, n in counts.items()) / sum(counts.values()) == pytest.approx(1)


@given(COUNTS, st.integers(2, 100))
def test_weights_do_not_depend_on_the_size_of_the_corpus(counts, factor):
    many = {name: n * factor for name, n in counts.items()}
    for weigh in (median_frequency, inverse_sqrt):
        assert weigh(many) == pytest.approx(weigh(counts))


def test_nothing_weighs_nothing_and_unknown_is_no_class():
    assert median_frequency({}) == inverse_sqrt({}) == {}
    assert median_frequency({"a": 0, "b": 4}) == {"b": 1.0}
    assert known({0: 5, 312: 6}) == {312: 6}


def test_statistics_store_the_weights_and_read_back_the_counts():
    statistics = merge_all(map(BandStatistics.of, fake_patches(4)))
    stored = json.loads(statistics.to_json())["class_weights"]
    assert stored["corine"]["median_frequency"] == {"112": 1, "211": 1, "312": 1, "512": 1}
    assert stored["osm"] == {"median_frequency": {}, "inverse_sqrt": {}}
    assert BandStatistics.from_json(statistics.to_json()).to_json() == statistics.to_json()
