"""Patches a second, requests and bytes a patch: this project's reader, odc-stac and stackstac on the same scenes."""

import datetime as dt
import json
import math
import os
import platform
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tyro

S2_BANDS = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12", "B01", "B09", "SCL")
RESULT = Path(__file__).parent / "results" / "ingest.json"


@dataclass(frozen=True)
class Ingest:
    """Read the 16 patches of one pair of scenes over HTTP in each way, one patch after the other."""

    latency_ms: float = 30.0
    """Added to every answer of the server."""
    threads: int = 15
    """Images read side by side, in every way."""
    out: Path = RESULT
    """Where to write the result."""


@dataclass(frozen=True)
class Measured:
    """One way of reading."""

    seconds: float
    patches_per_s: float
    requests_per_patch: float
    bytes_per_patch: float


def run(options: Ingest) -> dict[str, Any]:
    """Measure every way and write the result."""
    from ingest.sandbox.regions import SimulatedRegion
    from ingest.sandbox.server import Sandbox
    from ingest.sandbox.simulate import simulate

    days = dt.date(2018, 6, 1), dt.date(2018, 6, 9)
    with tempfile.TemporaryDirectory() as name:
        archive = Path(name) / "archive"
        simulate([SimulatedRegion("bench", "33UUU", 12, 14, 4, 4, *days, cloudiness=0.0)], archive, seed=0)
        ways = {"deepsentinel": ours, "odc_stac": with_odc, "stackstac": with_stackstac}
        measured = {}
        for way, read in ways.items():
            with Sandbox(archive, latency_s=options.latency_ms / 1000) as sandbox, sandbox.applied():
                measured[way] = measure(read, *scenes_and_grids(archive), options.threads, sandbox)
        touched = compressed_bytes(archive, *scenes_and_grids(archive))
    first = measured["deepsentinel"]
    result = {
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
        "command": " ".join(["python", "-m", "benchmarks.ingest", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("rasterio", "odc-stac", "stackstac", "numpy")},
        "latency_ms": options.latency_ms,
        "threads": options.threads,
        "ways": {way: asdict(one) for way, one in measured.items()},
        "times_odc_stac": first.patches_per_s / measured["odc_stac"].patches_per_s,
        "times_stackstac": first.patches_per_s / measured["stackstac"].patches_per_s,
        "bytes_over_blocks_touched": 16 * first.bytes_per_patch / touched,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    return result


def scenes_and_grids(archive: Path) -> tuple[list[dict[str, Any]], list[Any]]:
    """The optical and the radar item, and the 16 grids."""
    from catalog.grid import grid_of_cell

    items = [
        json.loads(sorted(archive.glob(f"items/{c}/*.json"))[0].read_text())
        for c in ("sentinel-2-l2a", "sentinel-1-rtc")
    ]
    return items, [grid_of_cell(f"33uuu-{row:03d}-{col:03d}") for row in range(12, 16) for col in range(14, 18)]


def measure(
    read: Callable[..., None], items: Sequence[dict[str, Any]], grids: Sequence[Any], threads: int, sandbox: Any
) -> Measured:
    """Time one way over all grids."""
    before, started = sandbox.counters, time.perf_counter()
    read(items, grids, threads)
    seconds, after = time.perf_counter() - started, sandbox.counters
    count = len(grids)
    return Measured(
        seconds, count / seconds, (after.blob_requests - before.blob_requests) / count,
        (after.blob_bytes - before.blob_bytes) / count,
    )  # fmt: skip


def ours(items: Sequence[dict[str, Any]], grids: Sequence[Any], threads: int) -> None:
    """As a build reads: images opened once, all bands side by side."""
    from catalog.patch import ScenePair
    from ingest.images import Access
    from ingest.read import SceneReader, read_patch
    from ingest.sources import planetary_computer
    from ingest.sources.profile import scene_of

    source = planetary_computer()
    s2, s1 = (scene_of(item, source) for item in items)
    access = Access(source)
    with ThreadPoolExecutor(threads) as pool, SceneReader(s2, access) as optical, SceneReader(s1, access) as radar:
        for grid in grids:
            read_patch(ScenePair(grid, s1, s2), optical, radar, pool)


def with_odc(items: Sequence[dict[str, Any]], grids: Sequence[Any], threads: int) -> None:
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
                [pystac.Item.from_dict(item)], bands=bands, geobox=box, stac_cfg=types, patch_url=sign, pool=threads
            )
            assert all(np.asarray(cube[band]).any() for band in bands)


def with_stackstac(items: Sequence[dict[str, Any]], grids: Sequence[Any], threads: int) -> None:
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
            with dask.config.set(scheduler="threads", num_workers=threads):
                assert np.isfinite(stack.compute().values).any()


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
