"""Does training wait for its input? A ResNet-18 at 128 px crops on this machine's processors, shards on its disk."""

import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tyro


@dataclass(frozen=True)
class Feed:
    """Train for some steps and tell how long each step waited for input."""

    steps: int = 24
    warmup_steps: int = 4
    """Left out: compilation, and buffers that fill meanwhile."""
    batch_size: int = 16
    crop_px: int = 128
    patches: int = 128
    """Of the made-up corpus, 256 px each, stored as any corpus is."""
    reader_threads: int = 2
    out: Path | None = None
    """Where to write the result (.json)."""


def run(options: Feed) -> dict[str, Any]:
    """Train, and read the run's own metrics."""
    from catalog.fake import write_fake_build
    from catalog.publish import publish
    from dsjax import config, pretrain
    from dsjax.recorder import read_metrics
    from dsjax.runs import code_versions

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        publish([write_fake_build(folder / "build", options.patches, side_px=256)], folder / "published")
        small = config.PRESETS["small"][1]
        settings = replace(
            small, corpus=str(folder / "published" / "labelled"), out=folder / "run", hold_out=(),
            steps=options.steps, batch_size=options.batch_size, crop_px=options.crop_px,
            encoder=config.EncoderConfig("resnet18"), log_every=options.warmup_steps, checkpoint_every=10**6,
            reader_threads=options.reader_threads,
        )  # fmt: skip
        pretrain.run(settings)
        lines = [line for line in read_metrics(folder / "run") if line["step"] > options.warmup_steps]
    seconds = sum(options.warmup_steps / line["steps_per_s"] for line in lines)
    waited = sum(options.warmup_steps / line["steps_per_s"] * line["input_wait_share"] for line in lines)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"
    result = {
        "date": datetime.now(UTC).date().isoformat(), "command": "python -m benchmarks.feed",
        "options": {n: v for n, v in asdict(options).items() if n != "out"}, "machine": machine,
        "versions": code_versions(), "seconds_a_step": round(seconds / (options.steps - options.warmup_steps), 3),
        "input_wait_share": round(waited / seconds, 5),
        "lines": [{n: line[n] for n in ("step", "steps_per_s", "input_wait_share")} for line in lines],
    }  # fmt: skip
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return result


def main() -> None:
    """Run, and fail where input takes more than a twentieth of the time."""
    result = run(tyro.cli(Feed))
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
    sys.exit(result["input_wait_share"] >= 0.05)


if __name__ == "__main__":
    main()
