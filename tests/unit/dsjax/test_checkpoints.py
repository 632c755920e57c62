"""Checkpoints: what is kept, what is noticed, what is safe while training goes on."""

import dataclasses
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from catalog.corpus import Corpus
from catalog.errors import ChecksumError
from catalog.fake import write_fake_build
from catalog.publish import publish
from dsjax import pretrain, runs
from dsjax.checkpoints import load_encoder, open_checkpoints, restore
from dsjax.checksums import measure
from dsjax.diverged import dumped_where_diverged
from dsjax.errors import CheckpointError, DivergedError
from dsjax.feed import DeviceFeed
from dsjax.mesh import place
from dsjax.methods.simclr import SimCLR
from dsjax.profiling import Profiler
from dsjax.recorder import Recorder
from dsjax.state import TrainState, split_model


def state_at(step: int, size: int = 6) -> TrainState:
    kernel = jnp.arange(size, dtype=jnp.float32) + step
    return TrainState(jnp.array(step), {"kernel": kernel}, {}, ({"mu": kernel * 2},), {})


@pytest.fixture
def run(tiny, corpus_href):
    """Settings of a run whose folder is there, and the record of its corpus."""
    tiny.out.mkdir()
    return tiny, runs.CorpusRecord.of(Corpus.open(corpus_href))


@given(st.integers(0, 23), st.integers(0, 31), st.integers(0, 2**32 - 1))
def test_any_flipped_bit_changes_the_checksum(place, bit, seed):
    words = np.random.default_rng(seed).integers(0, 2**32, 24, dtype=np.uint32)
    flipped = words.copy()
    flipped[place] ^= np.uint32(1 << bit)
    one, two = (
        measure({"x": jnp.asarray(w.view(np.int32).reshape(2, 3, 4))})["['x']"].checksum for w in (words, flipped)
    )
    assert one[:8] != two[:8]  # each of the two sums notices alone
    assert one[8:] != two[8:]


def test_checksums_notice_exchanged_values_and_zeros_that_moved():
    sums = {measure(jnp.array(values))[""].checksum for values in ([1.0, 2, 0, 0], [2.0, 1, 0, 0], [0.0, 1, 2, 0])}
    assert len(sums) == 3
    assert measure(jnp.array([1.0, jnp.nan]))[""].finite is False


@given(st.integers(2, 24), st.integers(0, 31), st.integers(0, 2**32 - 1))
def test_checksums_notice_one_bit_of_many_words(count, bit, seed):
    words = np.random.default_rng(seed).integers(0, 2**32, 24, dtype=np.uint32)
    flipped = words.copy()
    flipped[:count] ^= np.uint32(1 << bit)  # 31: the signs of floats
    one, two = (measure(jnp.asarray(values.view(np.int32)))[""].checksum for values in (words, flipped))
    assert one != two


def test_a_position_of_the_loader_that_changed_is_damage(run):
    config, record = run
    with open_checkpoints(dataclasses.replace(config, keep=2), record) as checkpoints:
        for step in (1, 2):
            checkpoints.save(state_at(step), {"next_index": step, "nested": [{"a": step}]})
    path = config.out / "checkpoints/2/loader/metadata"
    changed = {"state": {"next_index": 3, "nested": [{"a": 2}]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    restored = restore(config.out, state_at(0))
    assert restored.loader_state == {"next_index": 1, "nested": [{"a": 1}]}
    assert [path.name for path in restored.damaged] == ["2"]


def test_the_newest_and_the_best_stay(run):
    config, record = run
    losses = {1: None, 2: 5.0, 3: 1.0, 4: 3.0, 5: 2.0, 6: 4.0}
    with open_checkpoints(dataclasses.replace(config, keep=2, keep_best=1), record) as checkpoints:
        for step, loss in losses.items():
            checkpoints.save(state_at(step), {"next_index": step}, loss)
    kept = sorted(int(path.name) for path in (config.out / "checkpoints").iterdir())
    assert kept == [3, 5, 6]


def test_a_checkpoint_says_where_it_comes_from(run):
    config, record = run
    with open_checkpoints(config, record) as checkpoints:
        checkpoints.save(state_at(3), {"next_index": 7})
    beside = json.loads((config.out / "checkpoints/3/loader/metadata").read_text())
    assert beside["config"]["seed"] == config.seed
    assert beside["corpus"]["fingerprint"] == record.fingerprint
    assert beside["corpus"]["normalisation"]["mean"] == record.normalisation.mean
    assert beside["code"] == runs.code_versions()
    restored = restore(config.out, state_at(0))
    assert (int(restored.state.step), restored.loader_state, restored.damaged) == (3, {"next_index": 7}, ())
    np.testing.assert_array_equal(restored.state.opt_state[0]["mu"], state_at(3).opt_state[0]["mu"])


@pytest.mark.parametrize("ema, loaded", [(None, 1.0), (0.9, 2.0)])
def test_an_encoder_is_loaded_from_the_running_mean_where_the_run_keeps_one(tiny, corpus_href, ema, loaded):
    config = dataclasses.replace(tiny, optimiser=dataclasses.replace(tiny.optimiser, ema=ema))
    record = runs.open_run(config, Corpus.open(corpus_href))
    _, params, stats = split_model(nnx.eval_shape(lambda: SimCLR(config, rngs=nnx.Rngs(0))))
    ones, twos = (
        jax.tree.map(
            lambda leaf, value=value: jnp.full(leaf.shape, value, leaf.dtype), {"params": params, "stats": stats}
        )
        for value in (1.0, 2.0)
    )
    with open_checkpoints(config, record) as checkpoints:
        checkpoints.save(TrainState(jnp.array(1), **ones, opt_state=(), ema={} if ema is None else twos), {})
    leaves = jax.tree.leaves(split_model(load_encoder(config.out).encoder)[1:])
    assert {float(value) for leaf in leaves for value in np.unique(leaf)} == {loaded}


def test_training_goes_on_into_the_same_memory_while_a_checkpoint_is_written(run):
    """The state is donated to the next step as soon as `save` returns; what is written is what was saved."""
    config, record = run
    onward = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)
    state = jax.device_put(state_at(1, size=200_000))
    with open_checkpoints(config, record) as checkpoints:
        checkpoints.save(state, {})
        for _ in range(3):
            state = onward(state)
    np.testing.assert_array_equal(restore(config.out, state).state.params["kernel"], np.arange(200_000) + 1.0)


def test_a_checkpoint_of_another_model_is_not_restored(run):
    config, record = run
    with open_checkpoints(config, record) as checkpoints:
        checkpoints.save(state_at(3), {})
    with pytest.raises(CheckpointError, match="of another model"):
        restore(config.out, state_at(0, size=7))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("mounting a small file system takes more rights than these tests have")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_without_room_the_last_checkpoint_stays_whole_and_the_error_says_how_much_is_missing(run, small_disk):
    config, record = run
    out = small_disk / "run"
    out.mkdir()
    config = dataclasses.replace(config, out=out, keep=1)
    with open_checkpoints(config, record) as checkpoints:
        checkpoints.save(state_at(1, size=100_000), {})
        checkpoints.wait()
        (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - 10**6))
        with pytest.raises(CheckpointError, match=r"no room for a checkpoint of 0\.8 MB .* MB are free.*--resume"):
            checkpoints.save(state_at(2, size=100_000), {})
    assert int(restore(out, state_at(0, size=100_000)).state.step) == 1


def test_a_shard_damaged_in_mid_epoch_ends_the_run_with_the_shard_named(tiny, tmp_path):
    build = write_fake_build(tmp_path / "build", 48, side_px=64)
    publish([build], tmp_path / "published")
    shard = max((path for path in build.rglob("*") if path.is_file() and "s1" in str(path)), key=os.path.getsize)
    stored = bytearray(shard.read_bytes())
    stored[len(stored) // 2] ^= 1
    shard.write_bytes(stored)
    settings = dataclasses.replace(tiny, corpus=str(tmp_path / "published" / "labelled"), checkpoint_every=1)
    with pytest.raises(ChecksumError, match=r"\.zarr"):
        pretrain.run(settings)


class Counting:
    """A loader of arrays that count up, and fails at 5."""

    def __init__(self) -> None:
        self.next_index = 0

    def __next__(self):
        if self.next_index == 5:
            raise ChecksumError("row 5 is damaged")
        self.next_index += 1
        return np.full((2, 1), self.next_index)

    def get_state(self):
        return {"next_index": self.next_index}


def test_the_feed_reads_ahead_but_its_state_is_that_of_the_batch_taken():
    loader = Counting()
    with DeviceFeed(loader, place(2).batch, ahead=2) as feed:
        assert feed.get_state() == {"next_index": 0}
        for step in (1, 2, 3):
            assert int(next(feed)[0, 0]) == step
            assert feed.get_state() == {"next_index": step}
        assert [int(next(feed)[0, 0]) for _ in range(2)] == [4, 5]
        with pytest.raises(ChecksumError, match="row 5"):
            next(feed)


def test_divergence_leaves_a_file_of_patches_and_metrics(tmp_path):
    lines = [{"step": 6, "loss": 2.5}, {"step": 7, "loss": float("nan")}]
    with (
        pytest.raises(DivergedError, match=r"loss is gone; .*diverged-7\.json") as caught,
        dumped_where_diverged(tmp_path, lambda step: [f"patch-{step}"]),
    ):
        raise DivergedError("loss is gone", lines)
    assert caught.value.lines == tuple(lines)
    assert json.loads((tmp_path / "diverged-7.json").read_text())["steps"] == [
        {"step": 6, "loss": 2.5, "patches": ["patch-6"]},
        {"step": 7, "loss": "nan", "patches": ["patch-7"]},
    ]


def test_a_profile_is_of_five_steps_after_the_first_ten(tmp_path):
    step = jax.jit(lambda x: x + 1)
    traced = []
    with Profiler(tmp_path, range(4, 24)) as profiler:
        for done in range(5, 25):
            with jax.profiler.StepTraceAnnotation("train", step_num=done):
                step(jnp.ones(2)).block_until_ready()
            profiler.on_step(done)
            traced.append(profiler._tracing)
    assert [i for i, on in enumerate(traced, start=5) if on] == [14, 15, 16, 17, 18]
    assert list(tmp_path.rglob("*.xplane.pb"))
    with Profiler(None, range(20)) as idle:
        idle.on_step(10)
        assert not idle._tracing


@pytest.mark.parametrize("steps, first", [(3, 1), (6, 1), (12, 7), (15, 10), (400, 10)])
def test_a_profile_of_a_short_run_is_of_its_last_steps(tmp_path, monkeypatch, steps, first):
    begun = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda *_, **__: begun.append(done))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: None)
    with Profiler(tmp_path, range(100, 100 + steps)) as profiler:
        for done in range(101, 101 + steps):
            profiler.on_step(done)
    assert begun == [100 + first]


def test_metrics_are_written_as_tensorboard_events_too(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    metrics = {"loss": 2.5, "steps_per_s": 1.0, "input_wait_share": 0.0, "projection_spread": 1.0}
    with Recorder(tmp_path, 0, 10, 0, tensorboard=True) as recorder:
        recorder.record(5, metrics)
    events = [Event.FromString(raw) for raw in records(next((tmp_path / "tensorboard").iterdir()))]
    found = {value.tag: (event.step, value.simple_value) for event in events for value in event.summary.value}
    assert found == {name: (5, value) for name, value in metrics.items()}


def records(path: Path) -> list[bytes]:
    """Payloads of a file of TFRecords: length, its checksum, payload, its checksum."""
    stored, found, at = path.read_bytes(), [], 0
    while at < len(stored):
        (length,) = struct.unpack_from("<Q", stored, at)
        found.append(stored[at + 12 : at + 12 + length])
        at += 16 + length
    return found
