"""Layers of convolutional encoders, written so that XLA computes their derivatives fast on processors too.

On a processor the derivative of Flax's own pooling takes longer than many convolutions, and that of its 1 x 1
convolutions longer than a product of matrices (`benchmarks.step_speed` compares whole encoders with PyTorch's).
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

_MOMENTUM = 0.9  # of the running statistics; He et al. 2015 use the running mean of Ioffe and Szegedy with 0.9


class PointConv(nnx.Conv):
    """A 1 x 1 convolution: the product of two matrices that it is.

    Of arrays of more axes XLA would bring what is given back, normalisation and all, into another order once more.
    """

    def __call__(self, x: Float[Array, "batch y x c"]) -> Float[Array, "batch y x d"]:  # type: ignore[override]
        """Weigh the channels of every pixel, or of the first of every `strides`."""
        stride = self.strides[0] if isinstance(self.strides, Sequence) else self.strides
        x, kernel = self.promote_dtype((x[:, ::stride, ::stride], self.kernel[0, 0]), dtype=self.dtype)
        return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)


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


def norm(features: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """Batch normalisation; statistics are those of the global batch."""
    return nnx.BatchNorm(features, momentum=_MOMENTUM, dtype=dtype, rngs=rngs)
