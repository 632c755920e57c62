"""Publish 100,000 synthetic items: seconds, peak memory and bytes, for both kinds of corpus.

Measured is everything but pixels: items, sub-catalogs, splits, index, collection. What pixels cost stands beside it, as
the seconds that the statistics and the pictures of one real-sized patch take, on one core. Publishing is one process,
so its peak is the peak of all.
"""

import dataclasses
import datetime as dt
import hashlib
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.progress import Progress

from catalog import preview, schema
from catalog.bands import S1, S2
from catalog.collections import CorpusRecord
from catalog.documents import rarely_collected
from catalog.fake import fake_patches, fake_provenance
from catalog.grid import PatchGrid, cell_at
from catalog.items import build_item
from catalog.labels import CORINE, OSM
from catalog.mgrs import transformer, utm_epsg
from catalog.patch import Provenance
from catalog.program import main
from catalog.publish import finish_collection, publish_root
from catalog.shard import ShardRef
from catalog.shard_items import MadeItem, PublishedShard, make_room, settle_shard
from catalog.splits import SplitRules
from catalog.stats import BandStatistics, Moments

EUROPE, WORLD = (-9.0, 36.0, 30.0, 65.0), (-120.0, -50.0, 150.0, 70.0)
_GOAL = {"seconds": 60, "peak_mb": 500}
_FILE = {"file:size": 14_000, "file:checksum": "1220" + "ab" * 32}


@dataclasses.dataclass(frozen=True)
class Publish:
    """Publish synthetic items and record what it took."""

    out: Annotated[Path, tyro.conf.Positional] = Path("benchmarks/results/publish.json")
    """Record to write."""
    items: int = 100_000
    """Items of each corpus."""
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Stage:
    """Publish one synthetic corpus; a process of its own, so that its peak memory is its own."""

    dest: Annotated[Path, tyro.conf.Positional]
    """Folder of the catalog."""
    items: int = 100_000
    labelled: bool = True
    seed: int = 0


def synthetic_catalog(dest: Path, count: int, *, labelled: bool = True, seed: int = 0) -> dict[str, float]:
    """Publish made-up items under `dest`, shards and pictures left out; seconds by part.

    Labelled items lie in Europe, others on all longitudes; clouds, gaps, orbits, days and classes vary.
    """
    name = "labelled" if labelled else "unlabelled"
    record = CorpusRecord(name, f"DeepSentinel {name} patches", 256, "0.1.0", schema.SCHEMA_VERSION)
    folder, parts = dest / name, {}
    seconds = {"made up, not counted": 0.0, "items": 0.0}
    cells = _cells(count, EUROPE if labelled else WORLD, np.random.default_rng(seed))
    for shard in range(-(-count // schema.SHARD_ROWS)):
        started = time.perf_counter()
        grids = list(itertools.islice(cells, schema.SHARD_ROWS))
        made = [_made_up(grid, shard * schema.SHARD_ROWS + row, labelled=labelled) for row, grid in enumerate(grids)]
        between = time.perf_counter()
        parts[shard] = _publish_shard(folder, shard, record, made)
        seconds["made up, not counted"] += between - started
        seconds["items"] += time.perf_counter() - between
    started = time.perf_counter()
    finish_collection(folder, parts, SplitRules(), Progress(disable=True))
    publish_root(dest)
    return {**seconds, "splits, index and collection": time.perf_counter() - started}


def _cells(count: int, bounds: tuple[float, float, float, float], rng: np.random.Generator) -> Iterator[PatchGrid]:
    """Different cells of the lattice."""
    west, south, east, north = bounds
    seen = set()
    while len(seen) < count:
        lon, lat = rng.uniform(west, east), rng.uniform(south, north)
        epsg = int(utm_epsg(lon, lat))
        grid = cell_at(epsg, *transformer(4326, epsg).transform(lon, lat))
        if grid is not None and grid not in seen:
            seen.add(grid)
            yield grid


def _publish_shard(
    folder: Path,
    shard: int,
    record: CorpusRecord,
    made: Sequence[tuple[Provenance, BandStatistics]],
) -> PublishedShard:
    fresh = make_room(folder, shard)
    labelled = bool(made[0][1].corine)
    names = ("thumbnail", "overview", "false_colour", *(("corine", "osm") if labelled else ()))
    files = dict.fromkeys(names, _FILE)

    items = []
    for row, (provenance, statistics) in enumerate(made):
        item = build_item(provenance, record, shard, row, statistics, files)
        items.append(MadeItem.of(item, provenance.grid, statistics))
    digest = hashlib.sha256(str(shard).encode()).hexdigest()
    arrays = tuple(spec.name for spec in schema.ARRAYS if labelled or not spec.is_label)
    ref = ShardRef(f"shards/{shard:06d}.zarr", len(made), 164_000_000, digest)
    return settle_shard(folder, shard, record, ref, arrays, items, objects=False, fresh=fresh)


def _made_up(grid: PatchGrid, seed: int, *, labelled: bool) -> tuple[Provenance, BandStatistics]:
    return fake_provenance(grid, seed), _statistics(seed, labelled=labelled)


def _statistics(seed: int, *, labelled: bool) -> BandStatistics:
    moments = {band.name: Moments(65536, 0.1 + seed % 7 / 100, 50.0, 0.0, 1.0) for band in (*S2, *S1)}
    if not labelled:
        return BandStatistics(1, moments)
    corine = {CORINE[(seed * step) % len(CORINE)].code: 65536 // 4 for step in (1, 3, 7, 11)}
    osm = {OSM[(seed * step) % len(OSM)].name: 900 for step in (1, 5)}
    return BandStatistics(1, moments, corine, osm)


def run_stage(options: Stage) -> None:
    """Publish, and print the record of it as JSON."""
    before = time.process_time()
    with rarely_collected():  # as catalog.publish does
        seconds = synthetic_catalog(options.dest, options.items, labelled=options.labelled, seed=options.seed)
    cpu_s = time.process_time() - before
    folder = options.dest / ("labelled" if options.labelled else "unlabelled")
    files = [path.stat().st_size for path in folder.rglob("*.json")]
    found = {
        "items": options.items,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "counted_seconds": round(sum(value for name, value in seconds.items() if "not counted" not in name), 1),
        "cpu_seconds": round(cpu_s, 1),
        "load_average": round(os.getloadavg()[0], 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "json_files": len(files),
        "json_mb": round(sum(files) / 1e6, 1),
        "index_mb": round((folder / "items.parquet").stat().st_size / 1e6, 1),
    }
    sys.stdout.write(json.dumps(found) + "\n")


def _pixel_seconds(count: int = 24) -> dict[str, float]:
    """Seconds a patch of 256 px takes beyond its item."""
    patches = list(fake_patches(count, side_px=256))
    started = time.perf_counter()
    for patch in patches:
        BandStatistics.of(patch)
    between = time.perf_counter()
    for patch in patches:
        preview.draw(patch)
    return {
        "statistics of a patch": round((between - started) / count, 4),
        "five pictures of a patch": round((time.perf_counter() - between) / count, 4),
    }


def run(options: Publish) -> None:
    """Publish both kinds, each in its own process, and write the record."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        for kind in ("labelled", "unlabelled"):
            words = [
                place,
                "--items",
                options.items,
                "--seed",
                options.seed,
                f"--{'' if kind == 'labelled' else 'no-'}labelled",
            ]
            command = [sys.executable, "-m", "benchmarks.publish", "stage", *map(str, words)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[kind] = json.loads(done.stdout.splitlines()[-1])
    record = {
        "date": f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}",
        "command": "python -m benchmarks.publish run",
        "options": {"items": options.items, "seed": options.seed},
        **found,
        "pixel_seconds": _pixel_seconds(),
        "goal": _GOAL,
        "machine": {"python": platform.python_version(), "platform": platform.platform(), "cores_used": 2},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


def start(
    options: Annotated[Publish, tyro.conf.subcommand("run")] | Annotated[Stage, tyro.conf.subcommand("stage")],
) -> None:
    """Run the benchmark, or one stage of it."""
    run(options) if isinstance(options, Publish) else run_stage(options)


if __name__ == "__main__":
    main(Annotated[Publish, tyro.conf.subcommand("run")] | Annotated[Stage, tyro.conf.subcommand("stage")], start)
