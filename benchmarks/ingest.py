"""Patches a second, requests and bytes a patch: this project's reader, odc-stac and stackstac on the same scenes."""

import datetime as dt
import json
import math
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from catalog.patch import Patch
from ingest.read import BANDS_AT_ONCE

PATCHES = 16
S2_BANDS = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12", "B01", "B09", "SCL")
RESULT = Path(__file__).parent / "results" / "ingest.json"


@dataclass(frozen=True)
class Ingest:
    """Read the 16 patches of one pair of scenes over HTTP in each way.

    Every reading is done by a process of its own, so that each begins with cold caches of GDAL and a memory of its own,
    with all modules imported and tokens at hand; the ways take turns, in another order each round. The server is a
    process too.
    """

    latency_ms: float = 30.0
    """Added to every answer of the server."""
    repeats: int = 5
    """Rounds; medians are given."""
    out: Path = RESULT
    """Where to write the result."""


@dataclass(frozen=True)
class Measured:
    """One way of reading, once."""

    seconds: float
    cpu_seconds: float
    requests_per_patch: float
    bytes_per_patch: float
    peak_memory_mb: float


def run(options: Ingest) -> dict[str, Any]:
    """Measure every way and write the result."""
    from ingest.sandbox.regions import SimulatedRegion
    from ingest.sandbox.simulate import simulate

    days = dt.date(2018, 6, 1), dt.date(2018, 6, 9)
    with tempfile.TemporaryDirectory() as name:
        archive = Path(name) / "archive"
        simulate([SimulatedRegion("bench", "33UUU", 12, 14, 4, 4, *days, cloudiness=0.0)], archive, seed=0)
        runs: dict[str, list[Measured]] = {way: [] for way in WAYS}
        for number in range(options.repeats):
            for turn in range(len(WAYS)):
                way = list(WAYS)[(turn + number) % len(WAYS)]
                runs[way].append(measure(way, archive, options.latency_ms / 1000))
        touched = compressed_bytes(archive, *scenes_and_grids(archive))
    middle = {way: median_of(some) for way, some in runs.items()}
    first = middle["deepsentinel"]
    result = {
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
        "command": " ".join(["python", "-m", "benchmarks.ingest", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average": round(os.getloadavg()[0], 1),
        "versions": {name: version(name) for name in ("rasterio", "odc-stac", "stackstac", "numpy")},
        "latency_ms": options.latency_ms,
        "threads": BANDS_AT_ONCE,
        "medians": {way: asdict(one) | {"patches_per_s": PATCHES / one.seconds} for way, one in middle.items()},
        "seconds": {way: [round(one.seconds, 3) for one in some] for way, some in runs.items()},
        "times_odc_stac": middle["odc_stac"].seconds / first.seconds,
        "times_stackstac": middle["stackstac"].seconds / first.seconds,
        "bytes_over_blocks_touched": PATCHES * first.bytes_per_patch / touched,
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    return result


def median_of(runs: Sequence[Measured]) -> Measured:
    """The median of each number."""
    return Measured(*(statistics.median(getattr(one, field.name) for one in runs) for field in fields(Measured)))


def measure(way: str, archive: Path, latency_s: float) -> Measured:
    """One way over all grids, against a fresh server, both in new processes."""
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=serve, args=(archive, latency_s, theirs))
    server.start()
    environ = ours.recv()
    with ProcessPoolExecutor(1, spawn) as reader:
        seconds, cpu_seconds, peak_mb = reader.submit(read_in, way, archive, environ).result()
    ours.send("stop")
    requests, nbytes = ours.recv()
    server.join()
    return Measured(seconds, cpu_seconds, requests / PATCHES, nbytes / PATCHES, peak_mb)


def serve(archive: Path, latency_s: float, pipe: Any) -> None:
    """Serve until told to stop, then say how much was asked for."""
    from ingest.sandbox.server import Sandbox

    with Sandbox(archive, latency_s=latency_s) as sandbox:
        pipe.send(sandbox.environ)
        pipe.recv()
        pipe.send((sandbox.counters.blob_requests, sandbox.counters.blob_bytes))


def read_in(way: str, archive: Path, environ: dict[str, str]) -> tuple[float, float, float]:
    """Seconds, seconds of CPU and peak memory (MB) of reading all grids in one way, in this process."""
    import dask  # noqa: F401 - so that no way pays for the import of what it shares with another
    import odc.stac  # noqa: F401
    import stackstac  # noqa: F401

    import ingest.fill  # noqa: F401
    from ingest.sources import planetary_computer

    warnings.simplefilter("ignore")
    os.environ |= environ
    items, grids = scenes_and_grids(archive)
    for item in items:
        planetary_computer().sign(next(iter(item["assets"].values()))["href"])
    started, cpu = time.perf_counter(), time.process_time()
    WAYS[way](items, grids)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def scenes_and_grids(archive: Path) -> tuple[list[dict[str, Any]], list[Any]]:
    """The optical and the radar item, and the 16 grids."""
    from catalog.grid import grid_of_cell

    items = [
        json.loads(sorted(archive.glob(f"items/{c}/*.json"))[0].read_text())
        for c in ("sentinel-2-l2a", "sentinel-1-rtc")
    ]
    return items, [grid_of_cell(f"33uuu-{row:03d}-{col:03d}") for row in range(12, 16) for col in range(14, 18)]


def ours(items: Sequence[dict[str, Any]], grids: Sequence[Any]) -> None:
    """As a build reads: images opened once, all bands side by side, measured and checked."""
    from catalog.patch import ScenePair
    from ingest.arrange import Candidate
    from ingest.fill import LabelSources, PatchReader
    from ingest.images import Access
    from ingest.limits import Limits
    from ingest.sources import planetary_computer
    from ingest.sources.profile import scene_of

    source = planetary_computer()
    s2, s1 = (scene_of(item, source) for item in items)
    assert s2 is not None
    assert s1 is not None
    candidates = [Candidate(draw, ScenePair(grid, s1, s2)) for draw, grid in enumerate(grids)]
    with ExitStack() as stack:
        reader = PatchReader(Access(source), LabelSources(None, None), Limits(physics="warn"), stack)
        assert all(isinstance(patch, Patch) for _, patch in reader.read_all(candidates))


def with_odc(items: Sequence[dict[str, Any]], grids: Sequence[Any]) -> None:
    """odc.stac.load for each patch and sensor."""
    import odc.stac
    import pystac
    from odc.geo.geobox import GeoBox
    from rasterio.transform import Affine

    from ingest.sources import planetary_computer

    odc.stac.configure_rio(cloud_defaults=True)
    sign = planetary_computer().sign
    types = {
        "sentinel-2-l2a": {"assets": {"*": {"data_type": "uint16", "nodata": 0}}}, "*": {"warnings": "ignore"}
    }  # fmt: skip
    for grid in grids:
        box = GeoBox((grid.side_px, grid.side_px), Affine(*grid.transform), f"EPSG:{grid.epsg}")
        for item, bands in zip(items, (S2_BANDS, ("vv", "vh")), strict=True):
            cube = odc.stac.load(
                [pystac.Item.from_dict(item)], bands=bands, geobox=box, stac_cfg=types, patch_url=sign,
                pool=BANDS_AT_ONCE,
            )  # fmt: skip
            assert all(np.asarray(cube[band]).any() for band in bands)


def with_stackstac(items: Sequence[dict[str, Any]], grids: Sequence[Any]) -> None:
    """stackstac.stack for each patch and sensor, in Dask's threads."""
    import dask
    import stackstac

    from ingest.sources import planetary_computer

    sign = planetary_computer().sign
    for grid in grids:
        for item, bands in zip(items, (S2_BANDS, ("vv", "vh")), strict=True):
            assets = {key: {**asset, "href": sign(asset["href"])} for key, asset in item["assets"].items()}
            stack = stackstac.stack(
                [{**item, "assets": assets}], assets=list(bands), epsg=grid.epsg, bounds=grid.bounds_m, resolution=10,
                rescale=False, chunksize=256, errors_as_nodata=(),
            )  # fmt: skip
            with dask.config.set(scheduler="threads", num_workers=BANDS_AT_ONCE):
                assert np.isfinite(stack.compute().values).any()


WAYS = {"deepsentinel": ours, "odc_stac": with_odc, "stackstac": with_stackstac}


def compressed_bytes(archive: Path, items: Sequence[dict[str, Any]], grids: Sequence[Any]) -> int:
    """Size of the compressed blocks that the grids touch, each counted once."""
    import rasterio

    from ingest.sandbox.items import blob_path

    total = 0
    for item, bands in zip(items, (S2_BANDS, ("vv", "vh")), strict=True):
        for band in bands:
            with rasterio.open(archive / "blobs" / blob_path(item["assets"][band]["href"])) as image:
                gsd_m, west, north = image.transform.a, image.transform.c, image.transform.f
                blocks = set()
                for grid in grids:
                    left, bottom, right, top = grid.bounds_m
                    rows = range(
                        math.floor((north - top) / gsd_m) // 512, (math.ceil((north - bottom) / gsd_m) - 1) // 512 + 1
                    )
                    cols = range(
                        math.floor((left - west) / gsd_m) // 512, (math.ceil((right - west) / gsd_m) - 1) // 512 + 1
                    )
                    blocks |= {(row, col) for row in rows for col in cols}
                total += sum(int(image.get_tag_item(f"BLOCK_SIZE_{c}_{r}", "TIFF", bidx=1) or 0) for r, c in blocks)
    return total


def main() -> None:
    """Run, and print the result."""
    options = tyro.cli(Ingest)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.stdout.write(json.dumps(run(options), indent=1) + "\n")


if __name__ == "__main__":
    main()
