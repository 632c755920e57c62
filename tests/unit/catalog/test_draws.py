import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.draws import uniform

MASK = 2**64 - 1


def slowly(number, salt, stream):
    """Two rounds of splitmix64 in whole numbers of Python."""
    state = number * 0x9E3779B97F4A7C15 + 2 * salt + stream + 1 & MASK
    for _ in range(2):
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & MASK
        state = (state ^ state >> 31) + 0x9E3779B97F4A7C15 & MASK
    return (state >> 11) / 2**53


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**62 - 1), st.integers(0, 1))
def test_draws_are_those_of_whole_numbers(number, salt, stream):
    assert uniform(np.array([number]), salt, stream)[0] == slowly(number, salt, stream)


@pytest.mark.parametrize("salt", [0, 1, 2**61 + 12345])
def test_neighbours_are_spread_evenly_and_know_nothing_of_each_other(salt):
    draws = uniform(np.arange(64_000), salt)
    counts = np.bincount((draws * 64).astype(int), minlength=64)
    assert np.square(counts - 1000).sum() / 1000 < 103  # chi-square of 63 degrees of freedom: 1 in 1,000
    for other in (
        draws[1:],
        uniform(np.arange(64_000), salt, stream=1)[:-1],
        uniform(np.arange(64_000), salt + 1)[:-1],
    ):
        assert abs(np.corrcoef(draws[:-1], other)[0, 1]) < 3.3 / 64_000**0.5
