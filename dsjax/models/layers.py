"""Layers of convolutional encoders, written so that XLA computes their derivatives fast on processors too.

On a processor the derivatives of Flax's own pooling and batch normalisation take longer than many convolutions, and
that of its 1 x 1 convolutions longer than a product of matrices (`benchmarks.step_speed` compares whole encoders with
PyTorch's).
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

_FEW_PIXELS_A_CHANNEL = (
    4  # below, the product is faster on the processors tried: 1.1 times at 4, 1.6 to 2 at 0.25 to 0.5
)
_MOMENTUM = 0.9  # of the running statistics; He et al. 2015 use the running mean of Ioffe and Szegedy with 0.9


class BatchNorm(nnx.BatchNorm):
    """Batch normalisation (Ioffe and Szegedy 2015) over all axes but the last, computed in float32.

    The same arrays under the same names as Flax's, and its running variance: that of the batch, biased.
    """

    def __call__(self, x: Float[Array, "*batch c"], *, use_running_average: bool) -> Float[Array, "*batch c"]:  # type: ignore[override]
        """Normalise by the running statistics, or by the batch's, which then move the running ones."""
        if use_running_average:
            return super().__call__(x, use_running_average=True)
        assert self.scale is not None
        assert self.bias is not None
        y, mean, var = _normalise(x, self.scale[...], self.bias[...], self.epsilon)
        self.mean[...] = self.momentum * self.mean[...] + (1 - self.momentum) * jax.lax.stop_gradient(mean)
        self.var[...] = self.momentum * self.var[...] + (1 - self.momentum) * jax.lax.stop_gradient(var)
        return y.astype(self.dtype)


_Channels = Float[Array, " c"]
_Pixels = Float[Array, "batch y x c"]
_Kernel = Float[Array, "size size c d"]
_Normalised = tuple[Float[Array, "*batch c"], _Channels, _Channels]
_Kept = tuple[Float[Array, "*batch c"], _Channels, _Channels, _Channels]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalise(x: Float[Array, "*batch c"], scale: _Channels, bias: _Channels, epsilon: float) -> _Normalised:
    """The batch normalised, its mean and its variance; of these two nothing is differentiated."""
    return _normalise_forward(x, scale, bias, epsilon)[0]


def _normalise_forward(
    x: Float[Array, "*batch c"], scale: _Channels, bias: _Channels, epsilon: float
) -> tuple[_Normalised, _Kept]:
    values, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
    mean = values.mean(axes)
    var = jnp.square(values - mean).mean(axes)
    inverse = jax.lax.rsqrt(var + epsilon)
    y = values * (inverse * scale) + (bias - mean * inverse * scale)
    return (y, mean, var), (x, mean, inverse, scale)


def _normalise_backward(
    epsilon: float, kept: _Kept, given: _Normalised
) -> tuple[Float[Array, "*batch c"], _Channels, _Channels]:
    """Ioffe and Szegedy 2015, section 3, gathered into two sums over the batch, then a factor for each array.

    XLA's own derivative has four sums, and writes down the deviations from the mean for them.
    """
    x, mean, inverse, scale = kept
    values, dy = x.astype(jnp.float32), given[0]
    axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    bias_grad = dy.sum(axes)
    scale_grad = inverse * ((dy * values).sum(axes) - mean * bias_grad)
    of_dy = scale * inverse
    of_x = -of_dy * inverse * scale_grad / count
    x_grad = of_dy * dy + of_x * values - (of_dy * bias_grad / count + of_x * mean)
    return x_grad.astype(x.dtype), scale_grad, bias_grad


_normalise.defvjp(_normalise_forward, _normalise_backward)


class PointConv(nnx.Conv):
    """A 1 x 1 convolution: the product of two matrices that it is.

    Of arrays of more axes XLA would bring what is given back, normalisation and all, into another order once more.
    """

    def __call__(self, x: Float[Array, "batch y x c"]) -> Float[Array, "batch y x d"]:  # type: ignore[override]
        """Weigh the channels of every pixel, or of the first of every `strides`."""
        stride = _stride(self)
        x, kernel = self.promote_dtype((x[:, ::stride, ::stride], self.kernel[0, 0]), dtype=self.dtype)
        return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)


class SquareConv(nnx.Conv):
    """A convolution, differentiated by a small input as the product of two matrices.

    XLA writes a kernel down turned round for that derivative. Where there are few pixels for the channels, at the end
    of a network and in small batches, this takes as long as the arithmetic.
    """

    def __call__(self, x: Float[Array, "batch y x c"]) -> Float[Array, "batch y/s x/s d"]:  # type: ignore[override]
        """Convolve, padded with zeros as `padding="SAME"` says."""
        stride = _stride(self)
        pixels = x.shape[0] * -(-x.shape[1] // stride) * -(-x.shape[2] // stride)
        if pixels > _FEW_PIXELS_A_CHANNEL * self.out_features:
            return super().__call__(x)
        x, kernel = self.promote_dtype((x, self.kernel[...]), dtype=self.dtype)
        return _convolve_small(x, kernel, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_small(x: _Pixels, kernel: _Kernel, stride: int) -> _Pixels:
    return _convolve(x, kernel, stride)


def _convolve(x: _Pixels, kernel: _Kernel, stride: int) -> _Pixels:
    axes = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=axes)


def _convolve_forward(x: _Pixels, kernel: _Kernel, stride: int) -> tuple[_Pixels, tuple[_Pixels, _Kernel]]:
    return _convolve(x, kernel, stride), (x, kernel)


def _convolve_backward(stride: int, kept: tuple[_Pixels, _Kernel], dy: _Pixels) -> tuple[_Pixels, _Kernel]:
    x, kernel = kept
    (kernel_grad,) = jax.vjp(lambda kernel: _convolve(x, kernel, stride), kernel)[1](dy)
    taps_grad = dy.reshape(-1, dy.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1]).T
    (x_grad,) = jax.vjp(lambda x: _taps(x, kernel.shape[0], stride), x)[1](taps_grad.reshape(*dy.shape[:-1], -1))
    return x_grad, kernel_grad


_convolve_small.defvjp(_convolve_forward, _convolve_backward)


def _taps(x: _Pixels, size: int, stride: int) -> _Pixels:
    """What a kernel of `size` x `size` is laid on at each place: the channels of those pixels, one after the other."""
    y_pads, x_pads = jax.lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), "SAME")
    height, width = (stride * (-(-side // stride) - 1) + 1 for side in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), y_pads, x_pads, (0, 0)))
    corners = [(top, left) for top in range(size) for left in range(size)]
    return jnp.concatenate(
        [x[:, top : top + height : stride, left : left + width : stride] for top, left in corners], axis=-1
    )


def _stride(layer: nnx.Conv) -> int:
    """The same along both axes."""
    strides = layer.strides
    return (strides[0] if isinstance(strides, Sequence) else strides) or 1


def relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Zero where negative; what is not a number stays so.

    As a choice between two arrays XLA computes it once; a maximum it would compute again, with what it is the maximum
    of, wherever a convolution's derivative turns its axes round.
    """
    return jnp.where(x <= 0, jnp.zeros_like(x), x)


def max_pool(x: Float[Array, "batch y x c"]) -> Float[Array, "batch y/2 x/2 c"]:
    """The maximum of the 3 x 3 pixels around every second one, padded as Flax's `padding="SAME"` does."""
    height, width = (-(-side // 2) for side in x.shape[1:3])
    y_pads, x_pads = jax.lax.padtype_to_pads(x.shape[1:3], (3, 3), (2, 2), "SAME")
    lowest = jnp.array(-jnp.inf, x.dtype)
    x = jax.lax.pad(x, lowest, ((0, 0, 0), (*y_pads, 0), (*x_pads, 0), (0, 0, 0)))
    x = functools.reduce(jnp.maximum, [x[:, first : first + 2 * height - 1 : 2] for first in range(3)])
    return functools.reduce(jnp.maximum, [x[:, :, first : first + 2 * width - 1 : 2] for first in range(3)])


def conv(inputs: int, outputs: int, size: int, stride: int = 1, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Conv:
    """A square convolution without bias, initialised as He et al. 2015b, equation 10."""
    init: Callable = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
    kind = PointConv if size == 1 else SquareConv
    return kind(inputs, outputs, (size, size), strides=stride, use_bias=False, kernel_init=init, dtype=dtype, rngs=rngs)


def norm(features: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> BatchNorm:
    """Batch normalisation; statistics are those of the global batch."""
    return BatchNorm(features, momentum=_MOMENTUM, dtype=dtype, rngs=rngs)
