"""Heads on top of an embedding."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dsjax.models.layers import norm, relu


class ProjectionHead(nnx.Module):
    """Three linear layers, normalised, that a contrastive loss looks through (Chen et al. 2020b, section 2)."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([nnx.Linear(inputs, hidden, use_bias=False, rngs=rngs),
                                nnx.Linear(hidden, hidden, use_bias=False, rngs=rngs)])  # fmt: skip
        self.norms = nnx.List([norm(hidden, dtype=jnp.dtype(jnp.float32), rngs=rngs) for _ in range(2)])
        self.last = nnx.Linear(hidden, outputs, rngs=rngs)

    def __call__(self, x: Float[Array, "batch dim"], *, train: bool) -> Float[Array, "batch out"]:
        """Project embeddings."""
        for layer, normalise in zip(self.layers, self.norms, strict=True):
            x = relu(normalise(layer(x), use_running_average=not train))
        return self.last(x)
