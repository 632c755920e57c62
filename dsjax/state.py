"""What training changes: a plain pytree."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Int


class TrainState(NamedTuple):
    """Everything an optimiser step reads and writes. Random keys are made from the seed and `step`."""

    step: Int[Array, ""]
    """Optimiser steps done."""
    params: Any
    """Nested dict of trained arrays."""
    stats: Any
    """Nested dict of batch statistics."""
    opt_state: optax.OptState
    ema: Any
    """Running means of `params` and `stats` under these names; empty where the run keeps none."""


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef, Any, Any]:
    """A module as its structure, its parameters and its other arrays, both nested dicts."""
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)  # type: ignore[misc]
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(rest)


def init_state(params: Any, stats: Any, tx: optax.GradientTransformation, *, ema: bool = False) -> TrainState:
    """State before the first step."""
    means = jax.tree.map(jnp.copy, {"params": params, "stats": stats}) if ema else {}
    return TrainState(jnp.zeros((), jnp.int32), params, stats, tx.init(params), means)


def count(params: Any) -> int:
    """Number of trained scalars."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
