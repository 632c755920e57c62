"""The sensor-fusion stem: one small convolution a sensor group, summed on the 20 m grid."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from catalog.bands import Band
from dsjax.data import GROUPS, Inputs

# Twice the side at 10 m sees the same ground as at 20 m.
_KERNEL = {10: 6, 20: 3}


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
        """Sum over groups of features where available and of tokens where not."""
        there = inputs.available[:, :, None, None, None]
        parts = [
            jnp.where(there[:, i], conv(images), self.absent[i].astype(conv.dtype))
            for i, (conv, images) in enumerate(zip(self.convs, inputs[:-1], strict=True))
        ]
        return functools.reduce(jnp.add, parts)


def _group_conv(name: str, bands: tuple[Band, ...], width: int, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Conv:
    grid_m = 20 if name == "s2_20m" else 10
    size = _KERNEL[grid_m]
    return nnx.Conv(len(bands), width, (size, size), strides=20 // grid_m, dtype=dtype, rngs=rngs)
