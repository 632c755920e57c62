import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsjax.losses import nt_xent, spread, unit


def test_orthogonal_embeddings_cost_log_of_the_negatives():
    z = jnp.eye(8)  # all similarities 0, so softmax is uniform over 7 views
    np.testing.assert_allclose(nt_xent(z[:4], z[4:], 1.0), np.log(7), rtol=1e-6)


def test_equal_views_of_orthogonal_patches_cost_what_softmax_says():
    z, temperature = jnp.eye(4), 0.5  # the partner has similarity 1, the 6 others 0
    expected = np.log(np.exp(1 / temperature) + 6) - 1 / temperature
    np.testing.assert_allclose(nt_xent(z, z, temperature), expected, rtol=1e-6)


def test_matches_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5, 3))
    z = np.concatenate([first, second])
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    terms = []
    for i in range(10):
        others = [np.exp(z[i] @ z[j] / 0.3) for j in range(10) if j != i]
        terms.append(-np.log(np.exp(z[i] @ z[(i + 5) % 10] / 0.3) / sum(others)))
    np.testing.assert_allclose(nt_xent(jnp.array(first), jnp.array(second), 0.3), np.mean(terms), rtol=1e-5)


def test_length_of_an_embedding_does_not_matter():
    first, second = jax.random.normal(jax.random.key(0), (2, 6, 4))
    np.testing.assert_allclose(nt_xent(7 * first, 0.1 * second, 0.2), nt_xent(first, second, 0.2), rtol=1e-5)


def test_gradient_is_finite_where_an_embedding_is_zero():
    gradient = jax.grad(lambda z: nt_xent(z, jnp.eye(4), 0.1))(jnp.zeros((4, 4)))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dim", [4, 64])
def test_spread_is_one_on_the_sphere_and_zero_in_a_point(dim):
    z = jax.random.normal(jax.random.key(1), (4096, dim))
    np.testing.assert_allclose(spread(z), 1.0, rtol=0.02)
    np.testing.assert_allclose(spread(jnp.ones((8, dim))), 0.0, atol=1e-3)


def test_unit_rows_have_length_one():
    z = unit(jax.random.normal(jax.random.key(2), (5, 3)))
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=1), 1.0, rtol=1e-5)
