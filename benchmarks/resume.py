"""Kill training at random moments, resume it, and compare with a run that nobody disturbed, bit for bit."""

import dataclasses
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tyro

PATCHES, BATCH = 48, 8  # six steps an epoch
CHECKPOINT_EVERY = 25  # more than are done while one is written, so that kills can fall between two

# Trains, and writes down what every step was given: where the loader stood after it, and a checksum of the batch.
CHILD = """
import json, sys, zlib
import numpy as np
from dsjax import config, feed, pretrain
settings, order = config.from_dict(json.loads(sys.argv[1])), open(sys.argv[2], "a", buffering=1)
take = feed.DeviceFeed.__next__
def noted(self):
    batch = take(self)
    given = zlib.crc32(b"".join(np.asarray(part).tobytes() for part in batch))
    order.write(json.dumps([json.dumps(self.get_state(), sort_keys=True), given]) + chr(10))
    return batch
feed.DeviceFeed.__next__ = noted
pretrain.run(settings)
"""


@dataclass(frozen=True)
class Resume:
    """Kill training at random moments and resume it."""

    kills: int = 20
    """How often; every other time while a checkpoint is being written, else while none is."""
    steps: int = 700
    seed: int = 0
    """Of the moments."""
    out: Path | None = None
    """Where to write the result (.json)."""


@dataclass(frozen=True)
class Kill:
    """One time that training was killed."""

    last_step: int
    """Whose metrics were on disk."""
    in_epoch: int
    """Steps of the epoch that were done."""
    in_save: bool
    """Whether a checkpoint was half written."""


@dataclass(frozen=True)
class Verdict:
    """What equals the undisturbed run, and what was done to the other."""

    kills: tuple[Kill, ...]
    arrays: int
    """Of parameters, batch statistics, optimiser and step counter that were compared."""
    same_arrays: bool
    same_metrics: bool
    """Loss and norms of every step, which depend on every random draw of it."""
    same_order: bool
    """Pixels given to every step, each time that it was done."""
    steps_done_twice: int

    @property
    def same(self) -> bool:
        """Whether nothing tells the two runs apart."""
        return self.same_arrays and self.same_metrics and self.same_order


def run(options: Resume) -> Verdict:
    """Train undisturbed, train again with kills, compare."""
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), random.Random(options.seed)
        settings = make_settings(folder, options.steps)
        if train(settings, folder / "whole").wait() != 0:
            raise RuntimeError("the undisturbed run failed")
        kills = []
        for number in range(options.kills):
            if (killed := disturb(settings, folder / "killed", rng, in_save=number % 2 == 1)) is not None:
                kills.append(killed)
        if train(settings, folder / "killed").wait() != 0:
            raise RuntimeError("the killed run could not be resumed")
        verdict = compare(folder / "whole", folder / "killed", tuple(kills))
    if options.out is not None:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        result = {"date": datetime.now(UTC).date().isoformat(), "command": "python -m benchmarks.resume",
                  "options": {n: v for n, v in asdict(options).items() if n != "out"}, "machine": machine,
                  "versions": _versions(), "verdict": asdict(verdict)}  # fmt: skip
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return verdict


def make_settings(folder: Path, steps: int) -> dict[str, Any]:
    """The debug preset on a small made-up corpus, every step logged, a checkpoint every few steps."""
    from catalog.fake import write_fake_build
    from catalog.publish import publish
    from dsjax import config

    publish([write_fake_build(folder / "build", PATCHES, side_px=64)], folder / "published")
    return config.to_dict(dataclasses.replace(
        config.PRESETS["debug"][1], corpus=str(folder / "published" / "labelled"), out=folder, hold_out=(),
        steps=steps, batch_size=BATCH, log_every=1, checkpoint_every=CHECKPOINT_EVERY,
        compilation_cache=folder / "compiled",
    ))  # fmt: skip


def train(settings: dict[str, Any], out: Path) -> "subprocess.Popen[bytes]":
    """Start a run, or go on with the one in `out`."""
    resume = (out / "checkpoints").is_dir() and any(path.name.isdigit() for path in (out / "checkpoints").iterdir())
    given = settings | {"out": str(out), "resume": resume, "overwrite": not resume}
    return subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(given), f"{out}.order"])


def disturb(settings: dict[str, Any], out: Path, rng: random.Random, *, in_save: bool) -> Kill | None:
    """Let a run go on for some steps and kill it; None where it ended before."""
    process, started_at = train(settings, out), last_step(out)
    after_steps, after_s = rng.randint(1, 2 * CHECKPOINT_EVERY), rng.uniform(0, 0.01)
    while process.poll() is None:
        if last_step(out) >= started_at + after_steps and saving(out) == in_save:
            break
        time.sleep(0.001)
    else:
        return None
    time.sleep(after_s)
    process.kill()
    process.wait()
    step = last_step(out)
    return Kill(step, step % (PATCHES // BATCH), saving(out))


def last_step(out: Path) -> int:
    """Of metrics.jsonl; 0 before the first."""
    path = out / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


def saving(out: Path) -> bool:
    """Whether a checkpoint is half written."""
    return any((out / "checkpoints").glob("*.orbax-checkpoint-tmp*"))


def compare(whole: Path, killed: Path, kills: tuple[Kill, ...]) -> Verdict:
    """Everything two finished runs left."""
    one, two = (_arrays(run) for run in (whole, killed))
    given = [[tuple(json.loads(line)) for line in Path(f"{run}.order").read_text().splitlines()]
             for run in (whole, killed)]  # fmt: skip
    return Verdict(
        kills, len(one),
        same_arrays=one.keys() == two.keys() and all(np.array_equal(one[path], two[path]) for path in one),
        same_metrics=_computed(whole) == _computed(killed),
        same_order=set(given[0]) == set(given[1]),
        steps_done_twice=len(given[1]) - len(given[0]),
    )  # fmt: skip


def _arrays(run: Path) -> dict[str, Any]:
    """Of the last checkpoint, by path, as stored."""
    import jax
    import orbax.checkpoint as ocp

    last = max(int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdigit())
    tree = ocp.PyTreeCheckpointHandler().restore((run / "checkpoints" / str(last) / "state").absolute())
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _computed(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{n: v for n, v in line.items() if n not in ("steps_per_s", "input_wait_share")} for line in lines]


def _versions() -> dict[str, str]:
    from dsjax.runs import code_versions

    return code_versions()


def main() -> None:
    """Run, and say what came of it."""
    verdict = run(tyro.cli(Resume))
    in_save = sum(kill.in_save for kill in verdict.kills)
    sys.stdout.write(
        f"{len(verdict.kills)} kills, {in_save} while saving: arrays {'same' if verdict.same_arrays else 'DIFFER'}, "
        f"metrics {'same' if verdict.same_metrics else 'DIFFER'}, order {'same' if verdict.same_order else 'DIFFERS'}\n"
    )
    sys.exit(not verdict.same)


if __name__ == "__main__":
    main()
