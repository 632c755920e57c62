"""The whole way once, in the order a user would go it: `make demo`, or `python -m benchmarks.demo --help`.

Each stage is one of the project's programs with ordinary options; the commands are printed as they run. A stage
that is finished is not done again, so an interrupted demo goes on where it stopped.
"""

import contextlib
import datetime as dt
import itertools
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from benchmarks.demo_report import report
from catalog.program import main
from dsjax.recorder import read_metrics
from ingest.sandbox.server import Sandbox

LABELLED, UNLABELLED = "labelled", "unlabelled"
RESERVE = 0.4  # of the places; clouds, swath edges and days without radar refuse some
_console = Console()
# The labelled region is 25 km wide, half a block of the default: no patch would test. Of its 256 patches these let 120
# train and 69 test, with the buffer between them.
SPLIT = ("--split-block-deg", "0.25", "--split-buffer-m", "640")


@dataclass(frozen=True)
class Demo:
    """Scenes, corpus, catalog, pre-training and probe on a small scale, then a report.

    Example: python -m benchmarks.demo --out runs/demo
    """

    out: Path = Path("runs/demo")
    """Folder for everything."""
    source: Literal["sandbox", "planetary-computer"] = "sandbox"
    """The sandbox simulates an Earth and needs no network; the Planetary Computer gives real scenes."""
    archive: str = "demo"
    """Preset of the simulated Earth."""
    unlabelled: int = 512
    """Patches to pre-train on."""
    labelled: int = 256
    """Patches to probe on."""
    side_px: int = 256
    """Side of a patch in 10 m pixels."""
    preset: str = "demo"
    """Preset of the pre-training."""
    corine: Path | None = None
    """CORINE raster, for real scenes; without one there is no probe."""
    workers: int = 2
    """Processes."""
    seed: int = 0
    """Of everything."""


@dataclass(frozen=True)
class Region:
    """Where and when a corpus is drawn."""

    name: str
    outline: str
    start: str
    end: str
    stratum_days: int


class Stages:
    """Runs the stages as a user would, on the command line, and takes their time."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, module: str, *arguments: str, name: str = "") -> None:
        """Show a command and run it; its failure ends the demo with its status."""
        _console.print(f"\n[bold]$ python -m {module} {shlex.join(arguments)}[/bold]", highlight=False, soft_wrap=True)
        started = time.monotonic()
        status = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
        if status:
            raise SystemExit(status)
        self.seconds[f"{module} {name}".strip()] = time.monotonic() - started


def run(options: Demo) -> Path:
    """Go the whole way; returns the report's page."""
    options.out.mkdir(parents=True, exist_ok=True)
    stages = Stages()
    with provider(options, stages) as (regions, labels):
        for region in regions:
            ingest(options, stages, region, labels if region.name == LABELLED else [])
    names, catalog = [region.name for region in regions], options.out / "catalog"
    stages.run("catalog.publish", *(str(options.out / name) for name in names), str(catalog), *SPLIT)
    stages.run("catalog.validate", str(catalog))
    pretrain(options, stages, catalog / UNLABELLED)
    if LABELLED in names:
        stages.run("dsjax.evaluate", str(options.out / "run"), "--corpus", str(catalog / LABELLED))
    return report(options.out, names, stages.seconds)


@contextlib.contextmanager
def provider(options: Demo, stages: Stages) -> Iterator[tuple[list[Region], list[str]]]:
    """Regions to draw from, and where labels come from, while the provider of scenes is up."""
    if options.source == "planetary-computer":
        regions = [Region(UNLABELLED, "LU", "2021-04-01", "2021-10-01", 12)]
        if options.corine is not None:
            regions.append(Region(LABELLED, "LU", "2018-04-01", "2018-10-01", 12))
        yield regions, ["--corine", str(options.corine)]
        return
    archive = options.out / "archive"
    if not archive.exists():
        arguments = ("--simulate", options.archive, "--seed", str(options.seed), "--workers", str(options.workers))
        stages.run("ingest.sandbox", "archive", *arguments, "--out", str(archive))
    with Sandbox(archive) as sandbox, sandbox.applied():
        _console.print(f"[dim]the sandbox stands in for the Planetary Computer at {sandbox.stac_url}[/dim]")
        labels = ["--corine", str(archive / "labels/corine.tif"), "--osm", str(archive / "labels/osm.osm.pbf")]
        yield simulated_regions(archive), labels


def simulated_regions(archive: Path) -> list[Region]:
    """The regions of an archive, cut into strata that each hold one of its optical dates."""
    regions = []
    for described in json.loads((archive / "archive.json").read_text())["regions"]:
        days = [dt.date.fromisoformat(time[:10]) for time in described["sentinel_2"]]
        spacing = min((b - a).days for a, b in itertools.pairwise(days)) if len(days) > 1 else 12
        outline = archive / "regions" / f"{described['name']}.geojson"
        end = days[-1] + dt.timedelta(days=spacing)
        regions.append(Region(described["name"], str(outline), f"{days[0]}", f"{end}", spacing))
    return sorted(regions, key=lambda region: region.name, reverse=True)


def ingest(options: Demo, stages: Stages, region: Region, labels: Sequence[str]) -> None:
    """Draw places and build one corpus."""
    plan = options.out / f"{region.name}.parquet"
    count = options.labelled if region.name == LABELLED else options.unlabelled
    if not plan.exists():
        period = ("--start", region.start, "--end", region.end, "--stratum-days", str(region.stratum_days))
        size = ("--count", str(count), "--reserve", str(RESERVE), "--side-px", str(options.side_px))
        stages.run(
            "ingest.sample", str(plan), "--region", region.outline, *period, *size, "--seed", str(options.seed),
            name=region.name,
        )  # fmt: skip
    rows = max(1, count // (2 * options.workers))  # small shards, so that every worker has some
    where = ("--out", str(options.out / region.name), "--source", "planetary-computer")
    how = ("--shard-rows", str(rows), "--workers", str(options.workers))
    stages.run("ingest.build", str(plan), *where, *labels, *how, name=region.name)


def pretrain(options: Demo, stages: Stages, corpus: Path) -> None:
    """Train, or go on with a run that was interrupted; a finished run is left alone."""
    run_folder = options.out / "run"
    settings = run_folder / "config.json"
    begun = settings.exists()
    if begun and any(line["step"] == json.loads(settings.read_text())["steps"] for line in read_metrics(run_folder)):
        return
    where = ("--corpus", str(corpus), "--out", str(run_folder), "--seed", str(options.seed))
    stages.run("dsjax.pretrain", options.preset, *where, *(["--resume"] if begun else []))


if __name__ == "__main__":
    main(Demo, run)
