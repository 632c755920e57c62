"""Checksums of arrays, computed where the arrays lie: the same on any number of devices and processes.

Checkpoint formats load a flipped bit without a word. A hash of bytes would need all arrays on one host; these sums are
of integers, which add up to the same in any order.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt32

_GOLDEN = 0x9E3779B1  # 2**32 divided by the golden ratio, odd: Knuth 1998, section 6.4
_WORDS: dict[int, Any] = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


class Measured(NamedTuple):
    """What identifies the contents of an array."""

    checksum: str
    """16 hexadecimal digits; another for sure when one value changes, and but for one chance in 2**64 or so when
    several do, all their signs or two that change places among them."""
    finite: bool
    """Whether it holds neither NaN nor infinity."""


def measure(tree: Any) -> dict[str, Measured]:
    """Checksum of every array of a pytree by its path."""
    paths, leaves = zip(*jax.tree_util.tree_leaves_with_path(tree), strict=True)
    return {
        jax.tree_util.keystr(path): Measured(f"{int(low):08x}{int(high):08x}", bool(finite))
        for path, ((low, high), finite) in zip(paths, jax.device_get(_measure(leaves)), strict=True)
    }


@jax.jit
def _measure(leaves: Sequence[Array]) -> list[tuple[Array, Array]]:
    return [(_sum(leaf), jnp.isfinite(leaf).all()) for leaf in leaves]


def _sum(leaf: Array) -> UInt32[Array, "2"]:
    """Two sums modulo 2**32 of the words of an array, each mixed with its place; in the second times an odd number.

    Mixing is invertible, and so are odd factors modulo 2**32: no change of one word leaves a sum as it was. Without it
    two signs that change would add up to nothing.
    """
    words = _words(leaf)
    place = jnp.zeros(words.shape, jnp.uint32)
    for axis, size in enumerate(words.shape):
        place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    mixed = _mix(words + place * jnp.uint32(_GOLDEN))
    return jnp.stack([jnp.sum(mixed, dtype=jnp.uint32), jnp.sum(mixed * (2 * place + 1), dtype=jnp.uint32)])


def _mix(words: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """Every bit of a word into all others: the last step of MurmurHash3 (Appleby 2011)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        words = (words ^ (words >> shift)) * jnp.uint32(factor)
    return words ^ (words >> 16)


def _words(leaf: Array) -> UInt32[Array, "..."]:
    if leaf.dtype == jnp.bool_:
        return leaf.astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(leaf, _WORDS[leaf.dtype.itemsize]).astype(jnp.uint32)
