"""Layers against Flax's own: the same values and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dsjax.models.layers import PointConv, conv, max_pool

F32 = jnp.dtype(jnp.float32)


@pytest.fixture
def images():
    return jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (4, 6, 8, 5)), jnp.float32)


def derivatives(function, *arguments):
    """Of a sum that weighs every output differently, by every argument."""

    def weighed(*arguments):
        out = function(*arguments)
        return (out * jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)).sum()

    return jax.grad(weighed, argnums=tuple(range(len(arguments))))(*arguments)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_1_x_1_convolution_is_one(images, stride):
    ours = conv(5, 7, 1, stride, dtype=F32, rngs=nnx.Rngs(0))
    theirs = nnx.Conv(5, 7, (1, 1), strides=stride, use_bias=False, rngs=nnx.Rngs(1))
    assert isinstance(ours, PointConv)

    def apply(layer, x, kernel):
        layer = nnx.clone(layer)
        layer.kernel[...] = kernel
        return layer(x)

    kernel = ours.kernel[...]
    np.testing.assert_allclose(ours(images), apply(theirs, images, kernel), atol=1e-5)
    both = [derivatives(lambda *a, one=one: apply(one, *a), images, kernel) for one in (ours, theirs)]
    for mine, reference in zip(*both, strict=True):
        np.testing.assert_allclose(mine, reference, atol=2e-5)


@pytest.mark.parametrize("height, width", [(6, 8), (7, 8), (5, 3), (2, 1)])
def test_pooling_takes_the_maximum_of_nine(height, width):
    values = np.random.default_rng(1).permutation(2 * height * width * 3).reshape(2, height, width, 3)
    x = jnp.asarray(values - values.size / 2, jnp.float32)

    def theirs(x):
        return nnx.max_pool(x, (3, 3), (2, 2), padding="SAME")

    np.testing.assert_array_equal(max_pool(x), theirs(x))
    np.testing.assert_allclose(derivatives(max_pool, x)[0], derivatives(theirs, x)[0], atol=1e-6)
