"""One optimiser step of any method, compiled once: views, loss, gradients, update, running mean."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from dsjax.compiler import compiler_options
from dsjax.data import Batch
from dsjax.state import TrainState

Metrics = dict[str, Float[Array, ""]]
TrainStep = Callable[[TrainState, Batch[Array]], tuple[TrainState, Metrics]]


class Views(Protocol):
    """Makes the inputs of a step from a batch."""

    def __call__(self, key: PRNGKeyArray, progress: Float[Array, ""], batch: Batch[Array]) -> Any:
        """Random inputs, patches along the first axis of every array."""


Represent = Callable[[Any, Any], Any]
"""Of a model and inputs, what the objective needs of each patch, patches along the first axis of every array."""

Objective = Callable[[Any], tuple[Float[Array, ""], Metrics]]
"""Of what represents the whole batch, the loss, and metrics to log."""


class Method(NamedTuple):
    """A way to train: what the step factory needs to know of it.

    The loss is `objective(represent(model, views(...)))`. It is cut there so that a batch can go through the model in
    parts while the objective, with all its negatives, still sees it whole.
    """

    views: Views
    represent: Represent
    objective: Objective


class Plan(NamedTuple):
    """What else a step depends on."""

    seed: int
    steps: int
    """Length of the run, which schedules of the augmentation are shares of."""
    accumulate: int = 1
    """Parts of a batch."""
    ema: float | None = None
    """Decay of the running mean of weights."""


class _Result(NamedTuple):
    grads: Any
    stats: Any
    metrics: Metrics


def make_train_step(
    graphdef: nnx.GraphDef, tx: optax.GradientTransformation, method: Method, plan: Plan, placed: Any = None
) -> TrainStep:
    """Compile one optimiser step; what never changes is closed over.

    Args:
        placed: shardings of the state to return, a pytree like it; as XLA likes where None.
    """
    differentiate = functools.partial(_in_parts, parts=plan.accumulate) if plan.accumulate > 1 else _at_once

    @functools.partial(
        jax.jit,
        donate_argnums=0,
        out_shardings=None if placed is None else (placed, None),
        compiler_options=compiler_options(jax.default_backend()),
    )
    def train_step(state: TrainState, batch: Batch[Array]) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(plan.seed), state.step)
        inputs = method.views(key, state.step / plan.steps, batch)
        grads, stats, metrics = differentiate(method, graphdef, state, inputs)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = {} if plan.ema is None else _follow(state.ema, {"params": params, "stats": stats}, state.step, plan.ema)
        norms = {
            "grad_norm": optax.tree.norm(grads),
            "update_norm": optax.tree.norm(updates),
            "param_norm": optax.tree.norm(params),
        }
        return TrainState(state.step + 1, params, stats, opt_state, ema), metrics | norms

    return train_step


def _at_once(method: Method, graphdef: nnx.GraphDef, state: TrainState, inputs: Any) -> _Result:
    def loss_fn(params: Any) -> tuple[Array, tuple[Any, Metrics]]:
        represented, stats = _represent(method, graphdef, params, state.stats, inputs)
        value, metrics = method.objective(represented)
        return value, (stats, metrics)

    (value, (stats, metrics)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    return _Result(grads, stats, metrics | {"loss": value})


def _in_parts(method: Method, graphdef: nnx.GraphDef, state: TrainState, inputs: Any, parts: int) -> _Result:
    """The same gradients with the activations of one part in memory: gradient caching (Gao et al. 2021, section 3.2).

    All parts are represented, the objective of the whole batch is differentiated by the representations, and each part
    is represented again to carry its share of that derivative to the parameters.
    """
    cut = jax.tree.map(functools.partial(into_parts, parts=parts), inputs)

    def forward(stats: Any, part: Any) -> tuple[Any, Any]:
        represented, stats = _represent(method, graphdef, state.params, stats, part)
        return stats, represented

    def backward(carry: tuple[Any, Any], part: tuple[Any, Any]) -> tuple[tuple[Any, Any], None]:
        (stats, total), (inputs, pull) = carry, part
        _, pull_back, stats = jax.vjp(
            lambda params: _represent(method, graphdef, params, stats, inputs), state.params, has_aux=True
        )
        return (stats, jax.tree.map(jnp.add, total, pull_back(pull)[0])), None

    _, represented = jax.lax.scan(forward, state.stats, cut)
    objective = lambda cut: method.objective(jax.tree.map(from_parts, cut))  # noqa: E731
    (value, metrics), pulls = jax.value_and_grad(objective, has_aux=True)(represented)
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    (stats, grads), _ = jax.lax.scan(backward, (state.stats, zeros), (cut, pulls))
    return _Result(grads, stats, metrics | {"loss": value})


def _represent(method: Method, graphdef: nnx.GraphDef, params: Any, stats: Any, inputs: Any) -> tuple[Any, Any]:
    model = nnx.merge(graphdef, params, stats)
    represented = method.represent(model, inputs)
    return represented, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))


def into_parts(values: Float[Array, "batch ..."], parts: int) -> Float[Array, "part patch ..."]:
    """Deal patches out in turn, so that every device, which holds a run of them, has its share of every part."""
    return jnp.swapaxes(values.reshape(-1, parts, *values.shape[1:]), 0, 1)


def from_parts(values: Float[Array, "part patch ..."]) -> Float[Array, "batch ..."]:
    """What `into_parts` dealt out, in its first order."""
    return jnp.swapaxes(values, 0, 1).reshape(-1, *values.shape[2:])


def _follow(mean: Any, now: Any, step: Array, decay: float) -> Any:
    """The running mean a step on; its first steps count more, so that it does not start from noise."""
    kept = jnp.minimum(decay, (1 + step) / (10 + step))  # as tf.train.ExponentialMovingAverage does with num_updates
    return jax.tree.map(lambda old, new: kept * old + (1 - kept) * new, mean, now)
