import numpy as np
import pytest

from dsjax.collapse import alignment, effective_rank, measure_collapse

RNG = np.random.default_rng(0)


def test_equal_embeddings_have_collapsed():
    found = measure_collapse(np.tile(RNG.normal(size=16), (50, 1)))
    np.testing.assert_allclose([found.spread, found.mean_cosine, found.uniformity], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(found.effective_rank, 1.0, atol=1e-3)
    assert found.collapsed


def test_embeddings_on_one_line_have_collapsed_though_they_differ():
    line = np.outer(RNG.normal(size=200), RNG.normal(size=16))
    assert measure_collapse(line).collapsed
    assert abs(measure_collapse(line).mean_cosine) < 0.1


def test_gaussian_embeddings_are_healthy():
    found = measure_collapse(RNG.normal(size=(2000, 16)))
    np.testing.assert_allclose(found.spread, 1.0, rtol=0.02)
    np.testing.assert_allclose(found.mean_cosine, 0.0, atol=0.01)
    np.testing.assert_allclose(found.effective_rank, 16.0, rtol=0.01)
    assert not found.collapsed


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_effective_rank_counts_equal_singular_values(rank):
    orthogonal = np.linalg.qr(RNG.normal(size=(64, 8)))[0][:, :rank]
    np.testing.assert_allclose(effective_rank(orthogonal @ np.eye(rank, 8)), rank, rtol=1e-4)


def test_mean_cosine_leaves_out_pairs_of_a_sample_with_itself():
    z = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])  # cosines 0, 1, 0
    np.testing.assert_allclose(measure_collapse(z).mean_cosine, 1 / 3)


def test_uniformity_of_two_opposite_points():
    np.testing.assert_allclose(measure_collapse(np.array([[1.0, 0], [-1.0, 0]])).uniformity, -2 * 4)


def test_uniformity_is_that_of_every_pair(monkeypatch):
    monkeypatch.setattr("dsjax.collapse._ROWS_AT_ONCE", 7)
    z = RNG.normal(size=(30, 3))
    z[4] = 0  # no direction: at distance 2 ** 0.5 of none, as it is
    u = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    pairs = [np.exp(-2 * (2 - 2 * u[i] @ u[j])) for i in range(30) for j in range(i)]
    np.testing.assert_allclose(measure_collapse(z).uniformity, np.log(np.mean(pairs)), rtol=1e-12)


def test_alignment_is_the_squared_distance_on_the_sphere():
    first, second = np.array([[2.0, 0.0]]), np.array([[0.0, 0.5]])
    np.testing.assert_allclose(alignment(first, second), 2.0)
    np.testing.assert_allclose(alignment(first, 5 * first), 0.0)
