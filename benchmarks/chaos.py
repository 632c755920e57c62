"""Kill builds at random moments, resume them, and compare what they end with: nothing lost, doubled or changed."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from catalog.shard import list_shards, provenance_of, shard_ref


@dataclass(frozen=True)
class Chaos:
    """Kill builds at random moments and resume them."""

    builds: int = 20
    """How many builds."""
    kills: int = 3
    """Kills a build at most; the last run is left alone."""
    workers: int = 2
    """Worker processes of each build."""
    seed: int = 0
    """Of the moments."""
    out: Path | None = None
    """Where to write the result (.json)."""


@dataclass(frozen=True)
class Outcome:
    """What became of one build."""

    killed_after_s: tuple[float, ...]
    """Since the start of each run."""
    shards_at_kill: tuple[int, ...]
    same_bytes: bool
    lost: int
    doubled: int


def run(options: Chaos) -> list[Outcome]:
    """Build the tiny archive undisturbed, then again and again with kills."""
    from ingest.sample import Sample
    from ingest.sample import run as sample
    from ingest.sandbox.server import Sandbox
    from ingest.sandbox.simulate import simulate

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate("tiny", folder / "archive", seed=0)
        region = str(folder / "archive" / "regions" / "tiny.geojson")
        plan = folder / "plan.parquet"
        sample(Sample(plan, region=region, every_cell=True, start="2018-06-01", end="2018-06-10", side_px=64))
        with Sandbox(folder / "archive", latency_s=0.002) as sandbox:
            environ = {**os.environ, **sandbox.environ}
            started = time.monotonic()
            build(plan, folder / "undisturbed", environ, options.workers).wait()
            longest_s = time.monotonic() - started
            rng = random.Random(options.seed)
            outcomes = []
            for number in range(options.builds):
                moments = [rng.uniform(0.2, longest_s) for _ in range(rng.randint(1, options.kills))]
                out = folder / f"{number:03d}"
                outcomes.append(disturb(plan, out, folder / "undisturbed", environ, moments, options.workers))
    if options.out is not None:
        result = {"options": repr(options), "outcomes": [asdict(outcome) for outcome in outcomes]}
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return outcomes


def disturb(
    plan: Path, out: Path, undisturbed: Path, environ: dict[str, str], moments: list[float], workers: int
) -> Outcome:
    """One build, killed after each of some seconds (a run that ends before is left alone), then run to its end."""
    shards = []
    for moment_s in moments:
        process = build(plan, out, environ, workers)
        try:
            process.wait(moment_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        shards.append(len(list_shards(out)))
    status = build(plan, out, environ, workers).wait()
    found, wanted = ids(out), ids(undisturbed)
    return Outcome(
        tuple(round(moment, 3) for moment in moments), tuple(shards),
        same_bytes=status == 0 and contents(out) == contents(undisturbed),
        lost=len(set(wanted) - set(found)), doubled=len(found) - len(set(found)),
    )  # fmt: skip


def build(plan: Path, out: Path, environ: dict[str, str], workers: int) -> "subprocess.Popen[bytes]":
    """Start a build as a user does, with shards of eight patches."""
    options = ["--out", str(out), "--shard-rows", "8", "--workers", str(workers)]
    command = [sys.executable, "-m", "ingest.build", str(plan), *options]
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def contents(root: Path) -> tuple[list[object], dict[str, bytes]]:
    """Checksums of the shards, and the ledger as it is."""
    ledger = {path.name: path.read_bytes() for path in sorted((root / "ledger").glob("*.jsonl"))}
    return [shard_ref(root, index) for index in list_shards(root)], ledger


def ids(root: Path) -> list[str]:
    """Ids of all stored patches."""
    return [one.patch_id for index in list_shards(root) for one in provenance_of(root, index)]


def main() -> None:
    """Run, and say what came of it."""
    outcomes = run(tyro.cli(Chaos))
    same = sum(outcome.same_bytes for outcome in outcomes)
    lost, doubled = sum(o.lost for o in outcomes), sum(o.doubled for o in outcomes)
    kills = sum(len(o.killed_after_s) for o in outcomes)
    sys.stdout.write(f"{same} of {len(outcomes)} builds the same after {kills} kills; {lost} lost, {doubled} doubled\n")
    sys.exit(same != len(outcomes))


if __name__ == "__main__":
    main()
