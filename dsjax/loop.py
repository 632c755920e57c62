"""The training loop of every method: metrics fetched now and then, a clean way to stop."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from dsjax.data import Batch
from dsjax.errors import WAY_OUT, DivergedError
from dsjax.state import TrainState
from dsjax.step import TrainStep

Metrics = dict[str, float]

# Steps sent to the device ahead of the one it works on: enough to keep it busy, few enough to bound its memory.
_IN_FLIGHT = 2


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
        DivergedError: a loss, a gradient or the state is not finite.
    """
    step, window = int(jax.device_get(state.step)), _Window()
    while step < last_step:
        batch = window.wait_for(batches)
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            state, metrics = train_step(state, batch)
        step += 1
        window.add(metrics)
        if step % log_every == 0 or step == last_step:
            on_metrics(step, window.close(step))
        try:
            ended = on_step(step, state)
        except DivergedError:
            window.check(step)  # tells more, where a loss or gradient shows it
            raise
        if ended:
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

    def check(self, step: int) -> list[dict[str, Any]]:
        """Metrics of the steps of the window, which `step` is the last of; DivergedError where one is not finite."""
        fetched: list[dict[str, Any]] = jax.device_get(self._pending)
        _check_finite(fetched, step - len(fetched) + 1)
        return fetched

    def close(self, step: int) -> Metrics:
        """Means of the window, which ends at `step` and is emptied."""
        fetched = self.check(step)
        elapsed = time.perf_counter() - self._started
        means = {name: float(np.mean([metrics[name] for metrics in fetched])) for name in fetched[0]}
        timing = {"steps_per_s": len(fetched) / elapsed, "input_wait_share": self._waited / elapsed}
        self.__init__()  # type: ignore[misc]
        return means | timing


def _check_finite(fetched: list[dict[str, Any]], first: int) -> None:
    lines = [{"step": first + i} | {name: float(value) for name, value in m.items()} for i, m in enumerate(fetched)]
    bad = next((line for line in lines if not np.isfinite(list(line.values())).all()), None)
    if bad is not None:
        told = ", ".join(f"{name}={value:g}" for name, value in sorted(bad.items()) if name != "step")
        raise DivergedError(
            f"step {bad['step']} gave {told}, the first that did of steps {first} to {lines[-1]['step']}; {WAY_OUT}",
            lines,
        )
