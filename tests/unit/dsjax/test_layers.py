"""Layers against Flax's own: the same values, derivatives and running statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dsjax.models.layers import PointConv, conv, max_pool, norm, relu

F32 = jnp.dtype(jnp.float32)


@pytest.fixture
def images():
    return jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (4, 6, 8, 5)), jnp.float32)


def textbook():
    return nnx.BatchNorm(5, momentum=0.9, use_fast_variance=False, rngs=nnx.Rngs(0))


def derivatives(function, *arguments):
    """Of a sum that weighs every output differently, by every argument."""

    def weighed(*arguments):
        out = function(*arguments)
        return (out * jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)).sum()

    return jax.grad(weighed, argnums=tuple(range(len(arguments))))(*arguments)


def in_training(layer, x, scale, bias):
    layer = nnx.clone(layer)
    layer.scale[...], layer.bias[...] = scale, bias
    return layer(x, use_running_average=False)


def test_batch_normalisation_is_the_textbooks(images):
    ours, theirs = norm(5, dtype=F32, rngs=nnx.Rngs(0)), textbook()
    scale, bias = jnp.linspace(0.5, 2, 5), jnp.linspace(-1, 1, 5)
    np.testing.assert_allclose(*(in_training(one, images, scale, bias) for one in (ours, theirs)), atol=2e-6)
    both = [derivatives(lambda *a, one=one: in_training(one, *a), images, scale, bias) for one in (ours, theirs)]
    for mine, reference in zip(*both, strict=True):
        np.testing.assert_allclose(mine, reference, atol=2e-5)


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4, 0.0])
def test_channels_that_hardly_vary_are_differentiated_to_rounding(spread):
    """Against the textbook in float64; epsilon holds the scale of what does not vary at 316."""
    rng = np.random.default_rng(2)
    x = np.float32(1 + spread * rng.standard_normal((64, 5)))
    scale, bias, weights = (np.float32(rng.standard_normal(shape)) for shape in (5, 5, (64, 5)))
    ours = jax.grad(lambda *a: (weights * in_training(norm(5, dtype=F32, rngs=nnx.Rngs(0)), *a)).sum(), (0, 1, 2))
    found = ours(x, scale, bias)

    values, dy = np.float64(x), np.float64(weights)
    inverse = 1 / np.sqrt(values.var(0) + 1e-5)
    unit = (values - values.mean(0)) * inverse
    x_grad = scale * inverse * (dy - dy.mean(0) - unit * (dy * unit).mean(0))
    np.testing.assert_allclose(found[0], x_grad, atol=1e-4 * np.abs(x_grad).max())
    rounding = np.finfo(np.float32).eps * inverse * np.abs(dy * values).sum(0)  # of a sum of what stands at 1
    np.testing.assert_array_less(np.abs(found[1] - (dy * unit).sum(0)), rounding)
    np.testing.assert_allclose(found[2], dy.sum(0), atol=1e-5)


def test_running_statistics_move_by_a_tenth_and_are_what_evaluation_uses(images):
    ours, theirs = norm(5, dtype=F32, rngs=nnx.Rngs(0)), textbook()
    for one in (ours, theirs):
        one(images, use_running_average=False)
    np.testing.assert_allclose(ours.mean[...], 0.1 * images.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(ours.var[...], 0.9 + 0.1 * images.var((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(*(one(images, use_running_average=True) for one in (ours, theirs)), atol=2e-6)


def test_arrays_are_named_as_flaxs_so_that_checkpoints_fit():
    ours, theirs = (jax.tree.map(jnp.shape, nnx.to_pure_dict(nnx.state(one)))
                    for one in (norm(5, dtype=F32, rngs=nnx.Rngs(0)), textbook()))  # fmt: skip
    assert ours == theirs


def test_bfloat16_is_normalised_in_float32(images):
    coarse = images.astype(jnp.bfloat16)
    layers = [norm(5, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0)) for dtype in (jnp.bfloat16, jnp.float32)]
    out, exact = (one(coarse, use_running_average=False) for one in layers)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, exact.astype(jnp.bfloat16))
    assert layers[0].mean[...].dtype == jnp.float32
    (gradient,) = derivatives(
        lambda x: in_training(layers[0], x, jnp.ones(5), jnp.zeros(5)).astype(jnp.float32), coarse
    )
    assert gradient.dtype == jnp.bfloat16


def convolved(layer, x, kernel):
    layer = nnx.clone(layer)
    layer.kernel[...] = kernel
    return layer(x)


def assert_alike(ours, theirs, x):
    """Of two convolutions: values, and derivatives by input and kernel."""
    kernel = ours.kernel[...]
    np.testing.assert_allclose(ours(x), convolved(theirs, x, kernel), atol=1e-5)
    both = [derivatives(functools.partial(convolved, one), x, kernel) for one in (ours, theirs)]
    for mine, reference in zip(*both, strict=True):
        np.testing.assert_allclose(mine, reference, atol=2e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_1_x_1_convolution_is_one(images, stride):
    ours = conv(5, 7, 1, stride, dtype=F32, rngs=nnx.Rngs(0))
    theirs = nnx.Conv(5, 7, (1, 1), strides=stride, use_bias=False, rngs=nnx.Rngs(1))
    assert isinstance(ours, PointConv)
    assert_alike(ours, theirs, images)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("height, width", [(4, 4), (5, 4), (7, 3), (1, 2), (2, 1)])
def test_a_convolution_of_few_pixels_is_flaxs_and_so_are_its_derivatives(height, width, size, stride):
    ours = conv(5, 48, size, stride, dtype=F32, rngs=nnx.Rngs(0))
    theirs = nnx.Conv(5, 48, (size, size), strides=stride, use_bias=False, rngs=nnx.Rngs(1))
    x = jax.random.normal(jax.random.key(2), (3, height, width, 5))
    assert_alike(ours, theirs, x)


def test_a_convolution_of_many_pixels_is_flaxs(images):
    ours = conv(5, 1, 3, dtype=F32, rngs=nnx.Rngs(0))
    assert_alike(ours, nnx.Conv(5, 1, (3, 3), use_bias=False, rngs=nnx.Rngs(1)), images)
    assert "custom_vjp" not in str(jax.make_jaxpr(lambda x: ours(x))(images))
    few = conv(5, 48, 3, dtype=F32, rngs=nnx.Rngs(0))
    assert "custom_vjp" in str(jax.make_jaxpr(lambda x: few(x))(images[:1, :2, :2]))


def test_a_convolution_of_few_pixels_keeps_bfloat16():
    layer = conv(5, 48, 3, dtype=jnp.dtype(jnp.bfloat16), rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(2), (3, 4, 4, 5))
    assert layer(x).dtype == jnp.bfloat16
    (gradient,) = derivatives(lambda x: layer(x).astype(jnp.float32), x)
    exact = conv(5, 48, 3, dtype=F32, rngs=nnx.Rngs(0))
    (reference,) = derivatives(exact, x)
    assert gradient.dtype == jnp.float32
    np.testing.assert_allclose(gradient, reference, atol=0.05 * float(jnp.abs(reference).max()))


@pytest.mark.parametrize("height, width", [(6, 8), (7, 8), (5, 3), (2, 1)])
def test_pooling_takes_the_maximum_of_nine(height, width):
    values = np.random.default_rng(1).permutation(2 * height * width * 3).reshape(2, height, width, 3)
    x = jnp.asarray(values - values.size / 2, jnp.float32)

    def theirs(x):
        return nnx.max_pool(x, (3, 3), (2, 2), padding="SAME")

    np.testing.assert_array_equal(max_pool(x), theirs(x))
    np.testing.assert_allclose(derivatives(max_pool, x)[0], derivatives(theirs, x)[0], atol=1e-6)


def test_relu_is_flaxs_and_lets_through_what_is_not_a_number(images):
    centred = images - 3
    np.testing.assert_array_equal(relu(centred), nnx.relu(centred))
    np.testing.assert_array_equal(derivatives(relu, centred)[0], derivatives(nnx.relu, centred)[0])
    np.testing.assert_array_equal(relu(jnp.array([jnp.nan, jnp.inf, -jnp.inf, 0.0])), [jnp.nan, jnp.inf, 0, 0])
    assert relu(jnp.ones(1, jnp.bfloat16)).dtype == jnp.bfloat16
