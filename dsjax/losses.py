"""Losses of the self-supervised methods."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def nt_xent(
    first: Float[Array, "batch dim"], second: Float[Array, "batch dim"], temperature: float
) -> Float[Array, ""]:
    """Normalised temperature-scaled cross entropy (Chen et al. 2020, equation 1), mean over both views.

    Each view must pick its partner among all other views of the batch; under jit with a sharded batch these are the
    views of all devices.
    """
    patches = first.shape[0]
    z = unit(jnp.concatenate([first, second]))
    cosines = jnp.matmul(z, z.T, precision=jax.lax.Precision.HIGHEST)  # accelerators would round z to 10 or 7 bits
    logits = jnp.where(jnp.eye(2 * patches, dtype=bool), -jnp.inf, cosines / temperature)
    partner = jnp.roll(jnp.arange(2 * patches), patches)
    chosen = jnp.take_along_axis(logits, partner[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen)


def unit(z: Float[Array, "batch dim"]) -> Float[Array, "batch dim"]:
    """Each row divided by its length, in float32; a row of zeros stays zero, with a finite gradient."""
    z = z.astype(jnp.float32)
    return z * jax.lax.rsqrt(jnp.sum(z * z, axis=1, keepdims=True) + 1e-12)


def spread(z: Float[Array, "batch dim"]) -> Float[Array, ""]:
    """How much unit embeddings differ: 1 when spread evenly over the sphere, 0 when all are the same.

    The mean standard deviation of a dimension times the square root of their number (Chen and He 2021, figure 2).
    """
    return jnp.mean(jnp.std(unit(z), axis=0)) * jnp.sqrt(z.shape[1])
