"""Train for half an hour and watch the process: does its memory or the number of its open files grow?"""

import dataclasses
import json
import os
import platform
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

CHILD = """
import json, sys
from dsjax import config, pretrain
pretrain.run(config.from_dict(json.loads(sys.argv[1])))
"""


@dataclass(frozen=True)
class Endurance:
    """Train for some minutes and watch memory and open files."""

    minutes: float = 30
    """How long."""
    warmup_minutes: float = 5
    """Left out of the slopes: compilation, caches that fill."""
    patches: int = 192
    """Of the made-up corpus, 128 px each."""
    checkpoint_every: int = 100
    """Steps; a small model makes them in seconds."""
    every_s: float = 5
    """Between samples."""
    out: Path | None = None
    """Where to write the result (.json)."""


@dataclass(frozen=True)
class Sample:
    """What the process held at one moment."""

    seconds: float
    resident_mb: float
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Growth:
    """How the process changed after the warm-up."""

    steps: int
    checkpoints_every_steps: int
    mb_a_minute: float
    """Least-squares slope of resident memory."""
    mb_a_minute_error: float
    """Standard error of it."""
    kb_a_checkpoint: float
    """The same growth for each checkpoint that was written meanwhile."""
    resident_mb_first: float
    """Mean of the first minute after the warm-up."""
    resident_mb_last: float
    """Mean of the last minute."""
    descriptors: tuple[int, int]
    """Fewest and most in the first minute after the warm-up; the most while a checkpoint was being written."""
    descriptors_last: tuple[int, int]
    """The same in the last minute."""


def run(options: Endurance) -> tuple[Growth, list[Sample]]:
    """Train in a process of its own until the time is over."""
    with tempfile.TemporaryDirectory() as name:
        settings = _settings(Path(name), options)
        process = subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(settings)])
        try:
            samples = watch(process, options.minutes * 60, options.every_s)
        finally:
            process.kill()
            process.wait()
        lines = (Path(settings["out"]) / "metrics.jsonl").read_text().splitlines()
        growth = judge(
            samples, options.warmup_minutes * 60, json.loads(lines[-1])["step"], settings["checkpoint_every"]
        )
    if options.out is not None:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        result = {"date": datetime.now(UTC).date().isoformat(), "command": "python -m benchmarks.endurance",
                  "options": {n: v for n, v in asdict(options).items() if n != "out"}, "machine": machine,
                  "versions": _versions(), "growth": asdict(growth),
                  "samples": [list(dataclasses.astuple(sample)) for sample in samples[::6]]}  # fmt: skip
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return growth, samples


def _settings(folder: Path, options: Endurance) -> dict[str, Any]:
    """The debug preset, endless, on a corpus made for it."""
    from catalog.fake import write_fake_build
    from catalog.publish import publish
    from dsjax import config

    publish([write_fake_build(folder / "build", options.patches, side_px=128)], folder / "published")
    debug = config.PRESETS["debug"][1]
    corpus = str(folder / "published" / "labelled")
    return config.to_dict(dataclasses.replace(
        debug, corpus=corpus, out=folder / "run", hold_out=(), steps=10**7, log_every=20,
        checkpoint_every=options.checkpoint_every,
    ))  # fmt: skip


def watch(process: "subprocess.Popen[bytes]", seconds: float, every_s: float) -> list[Sample]:
    """Look at the process now and then, as Linux shows it."""
    samples, started = [], time.monotonic()
    while (now := time.monotonic() - started) < seconds:
        if process.poll() is not None:
            raise RuntimeError(f"training ended after {now:.0f} s with status {process.returncode}")
        folder = Path(f"/proc/{process.pid}")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        resident_mb = int(status["VmRSS"].split()[0]) / 1024
        samples.append(Sample(round(now, 1), resident_mb, len(list((folder / "fd").iterdir())), int(status["Threads"])))
        time.sleep(every_s)
    return samples


def judge(samples: list[Sample], warmup_s: float, steps: int, checkpoint_every: int) -> Growth:
    """Slopes and ends of what was seen after the warm-up."""
    kept = [sample for sample in samples if sample.seconds >= warmup_s]
    minutes = np.array([sample.seconds for sample in kept]) / 60
    resident = np.array([sample.resident_mb for sample in kept])
    (slope, _), covariance = np.polyfit(minutes, resident, 1, cov=True)
    checkpoints_a_minute = steps / checkpoint_every / (samples[-1].seconds / 60)
    first = [sample for sample in kept if sample.seconds < warmup_s + 60]
    last = [sample for sample in kept if sample.seconds > kept[-1].seconds - 60]
    return Growth(
        steps, checkpoint_every, round(float(slope), 3), round(float(np.sqrt(covariance[0, 0])), 3),
        round(1e3 * float(slope) / checkpoints_a_minute, 1),
        *(round(float(np.mean([sample.resident_mb for sample in some])), 1) for some in (first, last)),
        *((min(s.descriptors for s in some), max(s.descriptors for s in some)) for some in (first, last)),
    )  # fmt: skip


def _versions() -> dict[str, str]:
    from dsjax.runs import code_versions

    return code_versions()


def main() -> None:
    """Run, and say whether anything grew."""
    growth, _ = run(tyro.cli(Endurance))
    sys.stdout.write(json.dumps(asdict(growth), indent=1) + "\n")
    sys.exit(growth.mb_a_minute >= 1 or growth.descriptors_last[0] > growth.descriptors[0])


if __name__ == "__main__":
    main()
