"""The same numbers on one device and on many, in one process and in two."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dsjax import config, runs
from dsjax.recorder import read_metrics

# Compiling takes most of the time of these tests, and what is compiled is run a few times only.
QUICK = {"XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
         "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}  # fmt: skip

MESHES = """
import dataclasses, json, jax
from dsjax.data import Normalisation, to_devices
from dsjax.mesh import place
from dsjax.pretrain import build
from tests.unit.dsjax.conftest import TINY
from tests.unit.dsjax.test_step import BANDS, stored
normalisation = Normalisation(dict.fromkeys(BANDS, 0.0), dict.fromkeys(BANDS, 1.0))
batch, found = stored(8, TINY.window_px, 0), {}
for devices, sharded in ((1, False), (2, False), (4, False), (8, False), (8, True)):
    placement = place(8, devices=jax.devices()[:devices])
    start = build(dataclasses.replace(TINY, shard_parameters=sharded), normalisation, placement)
    state, losses = start.state, []
    for _ in range(3):
        state, metrics = start.train_step(state, to_devices(batch, placement.batch))
        losses.append(float(metrics["loss"]))
    kernels = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state) if "kernel" in str(path[-1])]
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in kernels) / sum(leaf.nbytes for leaf in kernels)
    stats = {jax.tree_util.keystr(path): leaf.ravel()[:4].tolist()
             for path, leaf in jax.tree_util.tree_leaves_with_path(state.stats)}
    found[f"{devices}{' sharded' if sharded else ''}"] = {"losses": losses, "held": held, "stats": stats}
print(json.dumps(found))
"""

# Writes down which rows each step of this process reads, and takes its time over the steps.
PROCESS = """
import json, sys, time
from catalog.program import reported_errors
from dsjax import config, data, feed, pretrain
from dsjax.program import start_logging
cut, take = data.random_windows, feed.DeviceFeed.__next__
def noted(seed, step, rows, *rest):
    with open(sys.argv[2], "a") as order:
        order.write(json.dumps([int(step), [int(row) for row in rows]]) + chr(10))
    return cut(seed, step, rows, *rest)
def slow(self):
    time.sleep(float(sys.argv[3]))
    return take(self)
data.random_windows, feed.DeviceFeed.__next__ = noted, slow
start_logging()
with reported_errors():
    summary = pretrain.run(config.from_dict(json.loads(sys.argv[1])))
sys.exit(0 if summary.signum is None else 128 + summary.signum)
"""

# Takes every step of a run again on one device, each from the checkpoint before it, and tells how far it comes out.
REPLAY = """
import json, sys, jax, numpy as np, optax
from pathlib import Path
from dsjax import config
from dsjax.checkpoints import restore
from dsjax.data import open_corpora, to_devices, training_batches
from dsjax.mesh import place, put
from dsjax.pretrain import build
from dsjax.runs import read_corpus
settings, folder = config.from_dict(json.loads(sys.argv[1])), Path(sys.argv[2])
corpus = open_corpora(settings)
loader = training_batches(corpus, settings.batch_size, settings.window_px, settings.seed, 2, settings.read)
placement = place(settings.batch_size)
start = build(settings, read_corpus(settings.out).normalisation, placement)
def saved(step):  # alone in a folder of its own, where it is the newest
    run = folder / str(step)
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / str(step)).symlink_to(settings.out.absolute() / "checkpoints" / str(step))
    return restore(run, start.state)
def moment(state):  # Adam's first: linear in the gradients
    return optax.tree_utils.tree_get(state.opt_state, "mu")
before, found = jax.device_get(start.state), []
for step in range(settings.steps):
    state, metrics = start.train_step(put(before, start.placed), to_devices(next(loader), placement.batch))
    after = saved(step + 1)
    apart = jax.tree.map(lambda a, b: a - b, moment(after.state), jax.device_get(moment(state)))
    size = optax.tree.norm(moment(after.state))
    found.append({"loss": float(metrics["loss"]), "apart": float(optax.tree.norm(apart) / size)})
    before = after.state
    loader.set_state(after.loader_state)
print(json.dumps(found))
"""


def test_negatives_statistics_and_updates_are_those_of_one_device_on_two_four_and_eight():
    flags = f"{QUICK['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", MESHES], env=os.environ | QUICK | {"XLA_FLAGS": flags}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    one = found.pop("1")
    assert set(found) == {"2", "4", "8", "8 sharded"}
    for many in found.values():
        np.testing.assert_allclose(many["losses"], one["losses"], rtol=1e-5)
        for path, values in one["stats"].items():
            np.testing.assert_allclose(many["stats"][path], values, rtol=1e-3, atol=1e-5, err_msg=path)
    assert found["8"]["held"] == 1
    assert found["8 sharded"]["held"] < 0.2  # an eighth, and the few kernels that are too small to split


def process(settings: config.Pretrain, order: Path, pause_s: float, devices: int = 1) -> "subprocess.Popen[str]":
    flags = f"{QUICK['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    command = [sys.executable, "-c", PROCESS, json.dumps(config.to_dict(settings)), str(order), str(pause_s)]
    return subprocess.Popen(command, env=os.environ | QUICK | {"XLA_FLAGS": flags}, stderr=subprocess.PIPE, text=True)


def two_processes(settings: config.Pretrain, order: Path, pause_s: float) -> list["subprocess.Popen[str]"]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    hosts = [config.HostsConfig(address, 2, i) for i in range(2)]
    return [
        process(dataclasses.replace(settings, multihost=True, hosts=host), Path(f"{order}.{i}"), pause_s)
        for i, host in enumerate(hosts)
    ]


def ended(processes: list["subprocess.Popen[str]"]) -> list[int]:
    told = [process.communicate(timeout=500)[1] for process in processes]
    statuses = [process.returncode for process in processes]
    assert set(statuses) <= {0, 128 + signal.SIGTERM}, "\n".join(text[-2000:] for text in told)
    return statuses


def assert_each_step_is_that_of_one_device(alone: config.Pretrain, folder: Path) -> None:
    """Steps are compared, not whole runs: where the input of a ReLU comes within rounding of 0, its derivative is 0 in
    one program and 1 in the other, and though both are right their parameters part from then on by more than rounding.
    """
    replay = subprocess.run(
        [sys.executable, "-c", REPLAY, json.dumps(config.to_dict(alone)), str(folder)],
        env=os.environ | QUICK, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert replay.returncode == 0, replay.stderr[-2000:]
    one = json.loads(replay.stdout)
    assert len(one) == alone.steps
    np.testing.assert_allclose([line["loss"] for line in read_metrics(alone.out)], [s["loss"] for s in one], rtol=1e-5)
    assert max(step["apart"] for step in one) < 1e-3


def test_a_run_begun_on_eight_devices_and_resumed_on_one_computes_what_one_does(tiny_settings, tmp_path):
    alone = dataclasses.replace(tiny_settings, out=tmp_path / "run", checkpoint_every=1, keep=8, log_every=1)
    sharded = dataclasses.replace(alone, shard_parameters=True, stop_at_step=4)
    assert ended([process(sharded, tmp_path / "first", 0.0, devices=8)]) == [0]
    assert read_metrics(alone.out)[-1]["step"] == 4
    assert ended([process(dataclasses.replace(alone, resume=True), tmp_path / "second", 0.0)]) == [0]
    assert read_metrics(alone.out)[-1]["step"] == alone.steps
    assert_each_step_is_that_of_one_device(alone, tmp_path / "replay")


@pytest.mark.slow
def test_two_processes_stop_together_resume_and_compute_what_one_does(tiny_settings, tmp_path):
    """SIGTERM to one of them: both save after the same step. Resumed, each of their steps is that of one process."""
    alone = dataclasses.replace(
        tiny_settings, out=tmp_path / "shared", steps=18, checkpoint_every=1, keep=18, log_every=1
    )
    shared = dataclasses.replace(alone, shard_parameters=True)
    processes = two_processes(shared, tmp_path / "first", pause_s=0.5)
    while not ((shared.out / "metrics.jsonl").exists() and read_metrics(shared.out)):
        assert all(process.poll() is None for process in processes), ended(processes)
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    assert ended(processes) == [128 + signal.SIGTERM] * 2
    stopped = runs.read_events(shared.out)[-1]["step"]
    assert 1 <= stopped < 18

    again = two_processes(dataclasses.replace(shared, resume=True), tmp_path / "second", pause_s=0.0)
    assert ended(again) == [0, 0]
    assert_each_step_is_that_of_one_device(alone, tmp_path / "replay")

    seen: dict[int, list[int]] = {}
    for path, first, last in (("first", 0, stopped), ("second", stopped, 18)):
        for process in range(2):
            for line in (tmp_path / f"{path}.{process}").read_text().splitlines():
                step, rows = json.loads(line)
                if first <= step < last:
                    seen.setdefault(step, []).extend(rows)
    for epoch in range(3):
        counted = Counter(row for step in range(6 * epoch, 6 * epoch + 6) for row in seen[step])
        assert counted == Counter(range(48))
