"""The training loop of every method: one compiled step, metrics fetched now and then, a clean way to stop."""

import functools
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import jax
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from dsjax.config import OptimiserConfig
from dsjax.data import Batch
from dsjax.errors import DivergedError
from dsjax.state import TrainState

_log = logging.getLogger(__name__)

Metrics = dict[str, float]
TrainStep = Callable[[TrainState, Batch[Array]], tuple[TrainState, dict[str, Array]]]

# Steps sent to the device ahead of the one it works on: enough to keep it busy, few enough to bound its memory.
_IN_FLIGHT = 2


class Views(Protocol):
    """The part of a method that makes its inputs from a batch."""

    def __call__(self, key: PRNGKeyArray, progress: Float[Array, ""], batch: Batch[Array]) -> Any:
        """Random inputs of the loss."""


class Loss(Protocol):
    """The part of a method that is differentiated."""

    def __call__(self, model: Any, views: Any) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The loss, and metrics to log."""


def make_optimiser(config: OptimiserConfig, steps: int) -> optax.GradientTransformation:
    """AdamW with linear warm-up and cosine decay to zero."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, max(1, round(config.warmup * steps)), max(2, steps)
    )
    return optax.adamw(schedule, weight_decay=config.weight_decay, mask=_is_kernel)


def _is_kernel(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: getattr(path[-1], "key", None) == "kernel", params)


def make_train_step(
    graphdef: nnx.GraphDef, tx: optax.GradientTransformation, views: Views, loss: Loss, seed: int, steps: int
) -> TrainStep:
    """Compile one optimiser step; what never changes is closed over."""

    def loss_fn(params: Any, stats: Any, inputs: Any) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        model = nnx.merge(graphdef, params, stats)
        value, metrics = loss(model, inputs)
        return value, (nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param))), metrics)

    @functools.partial(jax.jit, donate_argnums=0)
    def train_step(state: TrainState, batch: Batch[Array]) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        inputs = views(key, state.step / steps, batch)
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (value, (stats, metrics)), grads = grad_fn(state.params, state.stats, inputs)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new = TrainState(state.step + 1, params, stats, opt_state)
        return new, metrics | {"loss": value, "grad_norm": optax.tree.norm(grads)}

    return train_step


def train(
    state: TrainState,
    train_step: TrainStep,
    batches: Iterator[Batch[Array]],
    last_step: int,
    log_every: int,
    on_metrics: Callable[[int, Metrics], None],
    on_step: Callable[[int, TrainState], bool],
) -> TrainState:
    """Run steps until `last_step` or until `on_step` says to stop.

    Args:
        on_metrics: given the step and the means of the steps since the last call.
        on_step: given the steps done and the state; True ends training. It must not keep the state.

    Raises:
        DivergedError: a loss or gradient is not finite.
    """
    step, window = int(state.step), _Window()
    while step < last_step:
        batch = window.wait_for(batches)
        state, metrics = train_step(state, batch)
        step += 1
        window.add(metrics)
        if step % log_every == 0 or step == last_step:
            on_metrics(step, window.close(step))
        if on_step(step, state):
            break
    return state


class _Window:
    """Metrics and times of the steps since the last report."""

    def __init__(self) -> None:
        self._pending: list[dict[str, Array]] = []
        self._started = time.perf_counter()
        self._waited = 0.0

    def wait_for(self, batches: Iterator[Batch[Array]]) -> Batch[Array]:
        started = time.perf_counter()
        batch = next(batches)
        self._waited += time.perf_counter() - started
        return batch

    def add(self, metrics: dict[str, Array]) -> None:
        self._pending.append(metrics)
        if len(self._pending) > _IN_FLIGHT:
            jax.block_until_ready(self._pending[-_IN_FLIGHT - 1])

    def close(self, step: int) -> Metrics:
        """Means of the window, which ends at `step` and is emptied."""
        fetched = jax.device_get(self._pending)
        first = step - len(fetched) + 1
        for i, metrics in enumerate(fetched):
            if not all(np.isfinite(value) for value in metrics.values()):
                raise DivergedError(
                    f"step {first + i} gave {_show(metrics)}; steps {first} to {step} are lost, the last checkpoint "
                    "is from before; resume with a lower optimiser.learning_rate or in float32"
                )
        elapsed = time.perf_counter() - self._started
        means = {name: float(np.mean([metrics[name] for metrics in fetched])) for name in fetched[0]}
        timing = {"steps_per_s": len(fetched) / elapsed, "input_wait_share": self._waited / elapsed}
        self.__init__()  # type: ignore[misc]
        return means | timing


def _show(metrics: dict[str, Any]) -> str:
    return ", ".join(f"{name}={float(value):g}" for name, value in sorted(metrics.items()))


class StopRequest:
    """Set when the process was asked to end."""

    signum: int | None = None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a request to stop after the current step; a second one ends at once."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    caught = (signal.SIGTERM, signal.SIGINT)
    before = {signum: signal.getsignal(signum) for signum in caught}

    def handle(signum: int, _frame: Any) -> None:
        request.signum = signum
        _log.warning("%s: saving after this step", signal.Signals(signum).name)
        signal.signal(signum, before[signal.Signals(signum)])

    for signum in caught:
        signal.signal(signum, handle)
    try:
        yield request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
