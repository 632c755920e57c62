"""One optimiser step: what accumulation, clipping, running means and bfloat16 do to it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dsjax.config import EncoderConfig, OptimiserConfig
from dsjax.data import GROUPS, Batch, Normalisation, to_devices
from dsjax.losses import nt_xent
from dsjax.mesh import place
from dsjax.optimiser import make_optimiser, make_schedule
from dsjax.pretrain import build
from dsjax.state import init_state, split_model
from dsjax.step import Method, Plan, from_parts, into_parts, make_train_step
from tests.unit.dsjax.conftest import TINY

BANDS = [band.name for bands in GROUPS.values() for band in bands]


class Projector(nnx.Module):
    """Two layers without batch statistics, so that each patch is looked at for itself."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.first, self.last = nnx.Linear(6, 16, rngs=rngs), nnx.Linear(16, 5, rngs=rngs)

    def __call__(self, x):
        return self.last(jnp.tanh(self.first(x)))


class Normalised(nnx.Module):
    def __init__(self) -> None:
        self.norm = nnx.BatchNorm(3, momentum=0.9, rngs=nnx.Rngs(0))


CONTRAST = Method(
    lambda key, progress, batch: batch,
    lambda model, pair: (model(pair[0]), model(pair[1])),
    # The contrast does not depend on the order of patches; the metric does.
    lambda z: (nt_xent(z[0], z[1], 0.2), {"ordered": jnp.mean(z[0] * jnp.arange(len(z[0]))[:, None])}),
)


def pairs(patches: int = 12):
    return tuple(jax.random.normal(jax.random.key(i), (patches, 6)) for i in range(2))


def step_of(module, method, tx, **plan):
    graphdef, params, stats = split_model(module)
    state = init_state(params, stats, tx, ema=plan.get("ema") is not None)
    return state, make_train_step(graphdef, tx, method, Plan(0, 8, **plan))


@pytest.mark.parametrize("parts", [3, 12])
def test_a_batch_in_parts_is_contrasted_as_one(parts):
    """Gradient caching: the same loss and update as the whole batch, negatives of other parts included."""
    whole, one = step_of(Projector(), CONTRAST, optax.sgd(1.0))
    cut, several = step_of(Projector(), CONTRAST, optax.sgd(1.0), accumulate=parts)
    (whole, expected), (cut, found) = one(whole, pairs()), several(cut, pairs())
    for name in ("loss", "ordered", "grad_norm"):
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-6)
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(cut.params), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_parts_hold_every_patch_once_and_each_device_keeps_its_own():
    patches = jnp.arange(12)
    parts = into_parts(patches, 3)
    assert parts.tolist() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    np.testing.assert_array_equal(from_parts(parts), patches)
    first_of_two_devices = parts[:, :2]  # which holds patches 0 to 5
    assert set(first_of_two_devices.ravel().tolist()) == set(range(6))


def test_batch_statistics_of_parts_follow_one_another():
    method = Method(lambda key, progress, batch: batch, lambda model, x: model.norm(x), lambda y: (jnp.mean(y**2), {}))
    x = jnp.arange(12.0)[:, None] * jnp.ones(3)
    state, step = step_of(Normalised(), method, optax.sgd(0.0), accumulate=2)
    state, _ = step(state, x)
    mean = 0.0
    for part in (np.arange(0, 12, 2), np.arange(1, 12, 2)):
        mean = 0.9 * mean + 0.1 * part.mean()
    np.testing.assert_allclose(state.stats["norm"]["mean"], mean, rtol=1e-6)


def test_the_running_mean_follows_weights_and_statistics():
    state, step = step_of(Projector(), CONTRAST, optax.sgd(0.5), ema=0.15)
    mean = np.asarray(state.ema["params"]["first"]["kernel"])
    for i in range(3):
        state, _ = step(state, pairs())
        kept = min(0.15, (1 + i) / (10 + i))  # 0.1 at first, then the decay
        mean = kept * mean + (1 - kept) * np.asarray(state.params["first"]["kernel"])
    np.testing.assert_allclose(state.ema["params"]["first"]["kernel"], mean, rtol=1e-5)
    assert np.abs(mean - np.asarray(state.params["first"]["kernel"])).max() > 1e-4


def test_long_gradients_are_shortened_all_together_and_short_ones_left():
    config = OptimiserConfig("lars", 1.0, "constant", warmup=0.0, weight_decay=0.0, momentum=0.0, clip_norm=1.0)
    tx = make_optimiser(config, steps=8)
    long = {"a": {"kernel": jnp.zeros(1)}, "b": {"bias": jnp.array([4.0]), "scale": jnp.array([3.0])}}
    params = jax.tree.map(jnp.zeros_like, long)
    for shrink, expected in ((1, 0.8), (100, 0.04)):
        grads = jax.tree.map(lambda leaf, by=shrink: leaf / by, long)
        _, state = tx.update(grads, tx.init(params), params)  # the first step of the warm-up stands still
        updates, _ = tx.update(grads, state, params)
        np.testing.assert_allclose(-updates["b"]["bias"], expected, rtol=1e-6)


def test_lars_steps_by_the_ratio_of_weight_and_gradient_on_kernels_alone():
    """You et al. 2017, equation 6, with their trust coefficient of 0.001."""
    params = {"kernel": jnp.array([3.0, 4.0]), "bias": jnp.array([3.0, 4.0])}
    grads = {"kernel": jnp.array([0.0, 2.0]), "bias": jnp.array([0.0, 2.0])}
    tx = make_optimiser(OptimiserConfig("lars", 2.0, "constant", warmup=0.0, weight_decay=0.5, momentum=0.0), steps=8)
    _, state = tx.update(grads, tx.init(params), params)  # the first step of the warm-up stands still
    updates, _ = tx.update(grads, state, params)
    decayed = np.array([0.0, 2.0]) + 0.5 * np.array([3.0, 4.0])
    rate = 2.0 * 0.001 * 5.0 / np.linalg.norm(decayed)
    np.testing.assert_allclose(-updates["kernel"], rate * decayed, rtol=1e-5)
    np.testing.assert_allclose(-updates["bias"], 2.0 * np.array([0.0, 2.0]), rtol=1e-6)


@pytest.mark.parametrize("schedule, at_half", [("cosine", 0.5), ("linear", 0.5), ("constant", 1.0)])
def test_schedules_end_where_they_say(schedule, at_half):
    rate = make_schedule(OptimiserConfig(learning_rate=1.0, schedule=schedule, warmup=0.2), 100)
    np.testing.assert_allclose([rate(0), rate(10), rate(20), rate(60)], [0, 0.5, 1, at_half], atol=1e-6)
    np.testing.assert_allclose(rate(100), 1.0 if schedule == "constant" else 0.0, atol=1e-6)


def stored(patches: int, side: int, seed: int) -> Batch:
    """Digital numbers and centidecibels of places that differ in level and texture."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(500, 3000, (patches, 1, 1, 1))

    def optical(side, bands):
        return (level * rng.uniform(0.8, 1.2, (patches, bands, side, side))).astype(np.uint16)

    radar = -1200 + 0.2 * level + 100 * rng.standard_normal((patches, 2, side, side))
    return Batch(optical(side, 4), optical(side // 2, 8), radar.astype(np.int16))


def test_bfloat16_trains_and_keeps_its_state_in_float32():
    steps = 12
    encoder = EncoderConfig("resnet10", width=0.125, dtype="bfloat16")
    config = dataclasses.replace(TINY, steps=steps, encoder=encoder)
    placement = place(8)
    start = build(config, Normalisation(dict.fromkeys(BANDS, 0.0), dict.fromkeys(BANDS, 1.0)), placement)
    state, losses = start.state, []
    batch = to_devices(stored(8, config.window_px, 0), placement.batch)
    program = start.train_step.lower(state, batch).as_text()
    with jax.transfer_guard("disallow"):  # a step takes nothing from the host but what was put on the device
        for _ in range(steps):
            state, metrics = start.train_step(state, batch)
            losses.append(metrics["loss"])
    losses = jax.device_get(losses)
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.3
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} == {"float32", "int32"}
    convolutions = [line for line in program.splitlines() if "stablehlo.convolution" in line]
    assert convolutions
    assert all("bf16" in line for line in convolutions)
