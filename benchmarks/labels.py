"""How fast labels are made: an .osm.pbf to tables, and patches labelled from tables and a CORINE raster.

    python -m benchmarks.labels HELSINKI.osm.pbf CORINE.tif --out benchmarks/results/labels.json

The extract is copied side by side, as often as makes about 40 MB, 54 km2 a copy: the mean density of Germany's extract
(4.5 GB over 357,000 km2). Patches are drawn at random over all of it, and once more over the copies' own town centres.
Each step runs in a process of its own, whose peak memory is what the system counted (ru_maxrss). Seconds of the CPU
stand beside those of the clock, for machines that do other work at the same time.
"""

import dataclasses
import datetime as dt
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import tyro

LON_STEP, LAT_STEP = 0.131, 0.066  # degrees: 7.3 x 7.4 km at 60 degrees north
COLUMNS = 10
NODE_STEP, WAY_STEP, RELATION_STEP = 10**11, 10**10, 10**9  # beyond every id of the copied extract


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measure extraction and labelling."""

    pbf: Annotated[Path, tyro.conf.Positional]
    """A small .osm.pbf to make copies of."""
    corine: Annotated[Path, tyro.conf.Positional]
    """A CORINE raster; places are taken inside it for its share of the labelling."""
    out: Path = Path("benchmarks/results/labels.json")
    copies: int = 66
    patches: int = 1000


def tile(pbf: Path, out: Path, copies: int) -> tuple[float, float]:
    """Write shifted copies of an extract as one; the longitude and latitude of its first copy's centre."""
    import osmium

    shifts = [(i, i % COLUMNS * LON_STEP, i // COLUMNS * LAT_STEP) for i in range(copies)]
    things = list(_elements(pbf))
    mutable = osmium.osm.mutable
    with osmium.SimpleWriter(str(out)) as writer:
        for i, east, north in shifts:
            for kind, number, where, tags in things:
                if kind == "n":
                    place = (where[0] + east, where[1] + north)
                    writer.add_node(mutable.Node(id=number + i * NODE_STEP, version=1, location=place, tags=tags))
        for i, _, _ in shifts:
            for kind, number, nodes, tags in things:
                if kind == "w":
                    moved = [node + i * NODE_STEP for node in nodes]
                    writer.add_way(mutable.Way(id=number + i * WAY_STEP, version=1, nodes=moved, tags=tags))
        for i, _, _ in shifts:
            for kind, number, members, tags in things:
                if kind == "r":
                    steps = {"n": NODE_STEP, "w": WAY_STEP, "r": RELATION_STEP}
                    refs = [(k, ref + i * steps[k], role) for k, ref, role in members]
                    relation = mutable.Relation(id=number + i * RELATION_STEP, version=1, members=refs, tags=tags)
                    writer.add_relation(relation)
    lons, lats = zip(*(where for kind, _, where, _ in things if kind == "n"), strict=True)
    return sum(lons) / len(lons), sum(lats) / len(lats)


def _elements(pbf: Path) -> Any:
    import osmium

    for thing in osmium.FileProcessor(str(pbf)):
        tags = {tag.k: tag.v for tag in thing.tags}
        if thing.is_node():
            yield "n", thing.id, (thing.location.lon, thing.location.lat), tags
        elif thing.is_way():
            yield "w", thing.id, [node.ref for node in thing.nodes], tags
        else:
            yield "r", thing.id, [(member.type, member.ref, member.role) for member in thing.members], tags


def extraction(pbf: Path, out: Path) -> dict[str, Any]:
    """Extract, timed."""
    from ingest.osm import extract

    started, cpu = time.perf_counter(), time.process_time()
    found = extract(pbf, out)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    size_mb = pbf.stat().st_size / 1e6
    return {
        "features": found.features.total(), "broken": {kind: len(ids) for kind, ids in found.broken.items()},
        "seconds": seconds, "cpu_s": cpu_s, "mb_per_s": size_mb / seconds, "mb_per_cpu_s": size_mb / cpu_s,
    }  # fmt: skip


def labelling(folder: Path, corine: Path, places: list[tuple[float, float]]) -> dict[str, Any]:
    """Label patches with both sources, timed; CORINE at as many places of its own raster."""
    import numpy as np
    import rasterio

    from catalog.grid import PatchGrid
    from catalog.mgrs import transformer, utm_epsg
    from ingest.corine import open_corine
    from ingest.osm import OsmFeatures

    def grids(points: Any) -> list[PatchGrid]:
        found = []
        for lon, lat in points:
            epsg = int(utm_epsg(lon, lat))
            x_m, y_m = transformer(4326, epsg).transform(lon, lat)
            found.append(PatchGrid(epsg, int(x_m // 10 * 10), int(y_m // 10 * 10)))
        return found

    with rasterio.open(corine) as image:
        west, south, east, north = image.bounds
    rng = np.random.default_rng(0)
    points = rng.uniform((west + 5000, south + 5000), (east - 5000, north - 5000), (len(places), 2))
    covered = grids(zip(*transformer(3035, 4326).transform(points[:, 0], points[:, 1]), strict=True))
    features = OsmFeatures(folder)
    wanted = grids(places)
    started, cpu = time.perf_counter(), time.process_time()
    known = sum(float((features.labels(grid) > 0).mean()) for grid in wanted) / len(places)
    osm_s = time.process_time() - cpu
    with open_corine(str(corine)) as raster:
        for grid in covered:
            raster.labels(grid)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    return {
        "patches": len(places), "seconds": seconds, "cpu_s": cpu_s,
        "patches_per_s": len(places) / seconds, "patches_per_cpu_s": len(places) / cpu_s,
        "osm_cpu_ms": 1e3 * osm_s / len(places), "corine_cpu_ms": 1e3 * (cpu_s - osm_s) / len(places),
        "osm_known_share": known,
    }  # fmt: skip


def apart(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run a step in a fresh process and add its peak memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, arguments))


def _measured(work: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> dict[str, Any]:
    found = work(*arguments)
    return found | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def run(options: Bench) -> dict[str, Any]:
    """Measure everything and write the results."""
    import numpy as np

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiled = folder / "tiled.osm.pbf"
        lon, lat = tile(options.pbf, tiled, options.copies)
        size_mb = tiled.stat().st_size / 1e6
        extracted = apart(extraction, tiled, folder / "osm")
        rng = np.random.default_rng(0)
        extent = (COLUMNS * LON_STEP, -(-options.copies // COLUMNS) * LAT_STEP)
        spread = (np.array([lon, lat]) + rng.uniform((0, 0), extent, (options.patches, 2))).tolist()
        copies = rng.integers(options.copies, size=options.patches // 10)
        centres = [
            (lon - 0.02 + c % COLUMNS * LON_STEP, lat + 0.012 + c // COLUMNS * LAT_STEP) for c in copies.tolist()
        ]
        found = {
            "command": f"python -m benchmarks.labels {options.pbf.name} {options.corine.name}",
            "copies": options.copies,
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "versions": {n: version(n) for n in ("osmium", "shapely", "pyarrow", "rasterio", "pyproj")},
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "cores": os.cpu_count(),
            "load_average_1min": os.getloadavg()[0],
            "pbf_mb": size_mb,
            "extract": extracted,
            "label_1000_of_mean_density": apart(labelling, folder / "osm", options.corine, spread),
            "label_100_town_centres": apart(labelling, folder / "osm", options.corine, centres),
        }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    return found


if __name__ == "__main__":
    from rich import print_json

    print_json(data=run(tyro.cli(Bench, description=__doc__)))
