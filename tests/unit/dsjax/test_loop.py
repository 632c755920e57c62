import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dsjax.config import OptimiserConfig
from dsjax.errors import CollapseError, DivergedError
from dsjax.loop import train
from dsjax.optimiser import make_optimiser
from dsjax.recorder import COLLAPSED_SPREAD, Recorder, read_metrics
from dsjax.state import init_state, split_model
from dsjax.step import Method, Plan, make_train_step
from dsjax.stop import stop_on_signals


class Line(nnx.Module):
    """y = kernel * x."""

    def __init__(self) -> None:
        self.kernel = nnx.Param(jnp.array(3.0))


def line_step(tx=None, poison_at: int = -1):
    """Least squares of a line to y = x with the views being the batch; step `poison_at` sees a NaN."""
    graphdef, params, stats = split_model(Line())
    tx = tx or optax.sgd(0.1)

    def views(key, progress, batch):
        return jnp.where(jnp.round(progress * 8) == poison_at, jnp.nan, batch)

    def errors(model, x):
        return (model.kernel[...] * x - x) ** 2

    method = Method(views, errors, lambda e: (jnp.mean(e), {}))
    return init_state(params, stats, tx), make_train_step(graphdef, tx, method, Plan(seed=0, steps=8))


def ones():
    while True:
        yield jnp.ones(4)


def no_stop(step, state):
    return False


def test_a_step_is_gradient_descent():
    state, step = line_step()
    new, metrics = step(state, jnp.ones(4))
    np.testing.assert_allclose(metrics["loss"], 4.0)
    np.testing.assert_allclose(metrics["grad_norm"], 4.0)
    np.testing.assert_allclose(new.params["kernel"], 3.0 - 0.1 * 4.0, rtol=1e-6)
    assert int(new.step) == 1


def test_every_step_has_its_own_key_made_from_seed_and_step():
    seen = []

    def views(key, progress, batch):
        return jax.random.normal(key)

    def passed_on(model, x):
        return model.kernel[...] * 0.0 + x

    graphdef, params, stats = split_model(Line())
    tx = optax.sgd(0.1)
    step = make_train_step(graphdef, tx, Method(views, passed_on, lambda x: (x, {})), Plan(seed=5, steps=8))
    state = init_state(params, stats, tx)
    for _ in range(3):
        state, metrics = step(state, jnp.ones(1))
        seen.append(float(metrics["loss"]))
    expected = [jax.random.normal(jax.random.fold_in(jax.random.key(5), i)) for i in range(3)]
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


def test_metrics_are_means_of_the_steps_since_the_last_line():
    told = {}
    state, step = line_step()
    train(state, step, ones(), 5, 2, told.__setitem__, no_stop)
    losses = [4.0 * 0.8 ** (2 * i) for i in range(5)]  # the error shrinks by 0.8 a step
    assert list(told) == [2, 4, 5]
    np.testing.assert_allclose(
        [told[s]["loss"] for s in told], [np.mean(losses[:2]), np.mean(losses[2:4]), losses[4]], rtol=1e-6
    )


def test_training_stops_where_on_step_says():
    state, step = line_step()
    assert int(train(state, step, ones(), 8, 100, lambda *_: None, lambda s, _: s == 3).step) == 3


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_step():
    state, step = line_step(poison_at=5)
    with pytest.raises(DivergedError, match=r"step 6 gave .*loss=nan.*steps 5 to 8; .*start another run"):
        train(state, step, ones(), 8, 4, lambda *_: None, no_stop)


def test_a_state_that_cannot_be_saved_is_told_with_the_steps_before_it():
    def refuse(step, state):
        if step == 6:
            raise DivergedError("the state after step 6 is not finite")
        return False

    for poison, lines in ((4, [5, 6]), (-1, [])):
        state, step = line_step(poison_at=poison)
        with pytest.raises(DivergedError, match="step 5 gave .*steps 5 to 6" if lines else "the state") as told:
            train(state, step, ones(), 8, 4, lambda *_: None, refuse)
        assert [line["step"] for line in told.value.lines] == lines


def test_the_learning_rate_warms_up_decays_and_spares_all_but_kernels():
    tx = make_optimiser(OptimiserConfig(learning_rate=0.1, weight_decay=0.5, warmup=0.25), steps=8)
    params = {"conv": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}, "absent": jnp.ones(2)}
    state, zero, moved = tx.init(params), jax.tree.map(jnp.zeros_like, params), []
    for _ in range(9):  # without a gradient only weight decay moves anything
        updates, state = tx.update(zero, state, params)
        moved.append(float(-updates["conv"]["kernel"][0]))
        assert float(jnp.abs(updates["conv"]["bias"]).max()) == 0
        assert float(jnp.abs(updates["absent"]).max()) == 0
    cosine = [0.5 * (1 + np.cos(np.pi * i / 6)) for i in range(7)]
    np.testing.assert_allclose(moved, 0.05 * np.array([0.0, 0.5, *cosine]), atol=1e-7)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_request_and_handlers_come_back(signum):
    before, others = signal.getsignal(signum), (signal.SIGTERM, signal.SIGINT)
    handlers = [signal.getsignal(one) for one in others]
    with stop_on_signals() as stop:
        assert stop.signum is None
        os.kill(os.getpid(), signum)
        assert stop.signum == signum
        assert [signal.getsignal(one) for one in others] == handlers  # a second signal of either kind ends it at once
    assert signal.getsignal(signum) == before


def line(loss: float = 1.0, spread: float = 1.0) -> dict[str, float]:
    return {"loss": loss, "steps_per_s": 1.0, "input_wait_share": 0.0, "projection_spread": spread}


def test_resuming_drops_the_lines_that_are_done_again(tmp_path):
    with Recorder(tmp_path, 0, 10, 0) as recorder:
        for step in (2, 4, 6):
            recorder.record(step, line(loss=step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # cut off by a crash
    with Recorder(tmp_path, 4, 10, 0) as recorder:
        recorder.record(6, line(loss=60))
    assert [(m["step"], m["loss"]) for m in read_metrics(tmp_path)] == [(2, 2), (4, 4), (6, 60)]


def test_a_checkpoint_is_ranked_by_the_steps_up_to_it_once_they_compare(tmp_path):
    with Recorder(tmp_path, 4, 20, 0) as recorder:
        assert recorder.comparable_loss(4, 0) is None
        recorder.record(8, line(loss=3.0))
        assert recorder.comparable_loss(8, 4) == 3.0
        assert recorder.comparable_loss(8, 5) is None  # step 5 was still another task
        assert recorder.comparable_loss(9, 4) is None  # not of the steps up to 9
        recorder.record(12, line(loss=2.0))
        assert recorder.comparable_loss(12, 8) == 2.0


def test_without_a_terminal_a_run_logs_about_twenty_lines_but_records_all(tmp_path, caplog):
    caplog.set_level("INFO", logger="dsjax")
    with Recorder(tmp_path, 0, 805, 0) as recorder:
        for step in (*range(10, 801, 10), 805):
            recorder.record(step, line())
    assert len(read_metrics(tmp_path)) == 81
    told = [record.getMessage() for record in caplog.records]
    assert 15 <= len(told) <= 21
    assert told[-1].startswith("step 805 of 805: loss 1.000")


def test_only_one_of_several_processes_writes_but_all_notice_a_collapse(tmp_path):
    with (
        Recorder(tmp_path, 0, 10, 0) as first,
        Recorder(tmp_path, 0, 10, 0, writes=False) as second,
    ):
        for recorder in (first, second):
            recorder.record(2, line())
        assert [m["step"] for m in read_metrics(tmp_path)] == [2]
        with pytest.raises(CollapseError):
            second.record(4, line(spread=COLLAPSED_SPREAD / 2))


def test_collapse_ends_a_run_but_not_during_the_warm_up(tmp_path):
    with Recorder(tmp_path, 0, 10, warmup_steps=4) as recorder:
        recorder.record(4, line(spread=COLLAPSED_SPREAD / 2))
        recorder.record(6, line(spread=COLLAPSED_SPREAD * 2))
        with pytest.raises(CollapseError, match="step 8"):
            recorder.record(8, line(spread=COLLAPSED_SPREAD / 2))
