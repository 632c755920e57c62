"""The sensor-fusion stem: one small convolution a sensor group, summed on the 20 m grid."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from catalog.bands import Band
from dsjax.data import GROUPS, Inputs

_BLOCK = {name: 1 if name == "s2_20m" else 2 for name in GROUPS}  # pixels along a side of one of 20 m
_TAPS = 3  # along a side, of 20 m; twice as many at 10 m see the same ground


class Features(NamedTuple):
    """What every encoder gives, so that one set of heads serves them all."""

    pyramid: tuple[Float[Array, "batch y x c"], ...]
    """Feature maps, fine to coarse."""
    embedding: Float[Array, "batch dim"]


class FusionStem(nnx.Module):
    """Brings every sensor group to one width at 20 m; a group that is missing gives its learned token instead.

    The pixels of a missing group cannot reach the output.
    """

    def __init__(self, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.convs = nnx.List([_group_conv(name, bands, width, dtype, rngs) for name, bands in GROUPS.items()])
        self.absent = nnx.Param(0.02 * jax.random.normal(rngs.params(), (len(GROUPS), width)))

    def __call__(self, inputs: Inputs) -> Float[Array, "batch y/2 x/2 width"]:
        """Sum over groups of features where available and of tokens where not.

        The convolutions are run as one: on the channels of all groups, the 2 x 2 pixels of 10 m as so many channels.
        """
        there = inputs.available[:, :, None, None, None]
        blocks, kernels, biases = [], [], []
        for i, (conv, image, side) in enumerate(zip(self.convs, inputs[:-1], _BLOCK.values(), strict=True)):
            assert conv.bias is not None
            blocks.append(_blocks_as_channels(jnp.where(there[:, i], image, 0), side))
            kernels.append(_taps_as_channels(conv.kernel[...], side))
            biases.append(conv.bias[...])
        first = self.convs[0]
        x, kernel = first.promote_dtype((jnp.concatenate(blocks, -1), jnp.concatenate(kernels, 2)), dtype=first.dtype)
        axes = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=axes)
        constant = jnp.where(inputs.available[:, :, None], jnp.stack(biases), self.absent[...]).sum(1)
        return y + constant[:, None, None].astype(y.dtype)


def _blocks_as_channels(image: Float[Array, "batch y x c"], side: int) -> Float[Array, "batch y/side x/side d"]:
    """The pixels of every block of `side` x `side` as channels of one."""
    batch, height, width, bands = image.shape
    blocks = image.reshape(batch, height // side, side, width // side, side, bands)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // side, width // side, -1)


def _taps_as_channels(kernel: Float[Array, "y x c width"], side: int) -> Float[Array, "y/side x/side d width"]:
    """The kernel of the same convolution after `_blocks_as_channels`, which then steps by 1 instead of `side`."""
    return _blocks_as_channels(kernel.transpose(3, 0, 1, 2), side).transpose(1, 2, 3, 0)


def _group_conv(name: str, bands: tuple[Band, ...], width: int, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Conv:
    side = _BLOCK[name]
    return nnx.Conv(len(bands), width, (_TAPS * side, _TAPS * side), strides=side, dtype=dtype, rngs=rngs)
