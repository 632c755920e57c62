"""Layers of convolutional encoders, written so that XLA computes their derivatives fast on processors too.

On a processor the derivatives of Flax's own pooling and batch normalisation take longer than convolutions do
(`benchmarks.step_speed` compares whole encoders with PyTorch's). On GPUs and TPUs both ways compile to about the same.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

_MOMENTUM = 0.9  # of the running statistics; He et al. 2015 use the running mean of Ioffe and Szegedy with 0.9


class PointConv(nnx.Conv):
    """A 1 x 1 convolution: the matrix product that it is."""

    def __call__(self, x: Float[Array, "batch y x c"]) -> Float[Array, "batch y x d"]:  # type: ignore[override]
        """Weigh the channels of every pixel, or of the first of every `strides`."""
        stride = self.strides[0] if isinstance(self.strides, Sequence) else self.strides
        x, kernel = self.promote_dtype((x[:, ::stride, ::stride], self.kernel[0, 0]), dtype=self.dtype)
        return jnp.einsum("nyxc,cd->nyxd", x, kernel)


class BatchNorm(nnx.BatchNorm):
    """Batch normalisation (Ioffe and Szegedy 2015) over all axes but the last, computed in float32.

    The batch comes in as one scale and one offset a channel, so that its derivative needs two sums over the batch
    instead of the four that XLA finds in the textbook's order. Moments are taken about the mean: channels that hardly
    vary keep their precision, in values and in derivatives.
    """

    def __call__(self, x: Float[Array, "... c"], *, use_running_average: bool) -> Float[Array, "... c"]:  # type: ignore[override]
        """Normalise by the running statistics, or by the batch's, which then move the running ones."""
        values = x.astype(jnp.float32)
        mean, var, rest = self.mean[...], self.var[...], jnp.zeros_like(self.mean[...])
        if not use_running_average:
            axes = tuple(range(x.ndim - 1))
            mean = jax.lax.stop_gradient(values.mean(axes))
            rest = (values - mean).mean(axes)  # zero but for its derivative, which is the mean's
            var = jnp.square(values - mean).mean(axes) - rest * rest
            self.mean[...] = _MOMENTUM * self.mean[...] + (1 - _MOMENTUM) * mean
            self.var[...] = _MOMENTUM * self.var[...] + (1 - _MOMENTUM) * var
        assert self.scale is not None
        assert self.bias is not None
        scale = jax.lax.rsqrt(var + self.epsilon) * self.scale[...]
        return ((values - mean) * scale + (self.bias[...] - rest * scale)).astype(self.dtype)


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
    kind = PointConv if size == 1 else nnx.Conv
    return kind(inputs, outputs, (size, size), strides=stride, use_bias=False, kernel_init=init, dtype=dtype, rngs=rngs)


def norm(features: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> BatchNorm:
    """Batch normalisation; statistics are those of the global batch."""
    return BatchNorm(features, dtype=dtype, rngs=rngs)
