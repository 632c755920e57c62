"""Match a million places with 300,000 footprints on one core: seconds and peak memory.

Footprints have the shapes and density of the real ones. Sentinel-2: squares of 110 km on the tiles of the lattice,
whole or cut slantwise by the swath's edge, each tile on about as many days as two satellites give. Sentinel-1:
slices of 250 by 200 km along slanted tracks over the same land.
"""

import ctypes
import dataclasses
import datetime as dt
import gc
import json
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pyproj
import shapely
import tyro

from catalog.mgrs import TILE_SIDE_PX, tile_origin, transformer
from catalog.patch import Scene
from catalog.program import main
from catalog.schema import SHARD_ROWS
from ingest.arrange import arrange
from ingest.candidates import Paired, candidates_of
from ingest.footprints import continuous
from ingest.match import Matcher
from ingest.pairing import Rules
from ingest.places import Places, to_us
from ingest.regions import LAND, region
from ingest.sample import Plan, draw_places, strata, write_plan
from ingest.scene_table import SceneTable

START = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
JOBS = 50  # shards whose jobs are made, to time it
SLICE_M = (250_000, 200_000)  # swath, along track (ESA, Sentinel-1 product specification, IW GRD)


@dataclasses.dataclass(frozen=True)
class Match:
    """Match synthetic footprints with drawn places and record what it took."""

    out: Annotated[Path, tyro.conf.Positional] = Path("benchmarks/results/match.json")
    """Record to write."""
    places: int = 1_000_000
    """Places drawn on land."""
    s2: int = 300_000
    """Sentinel-2 footprints: about a month of the real ones."""
    s1: int = 30_000
    """Sentinel-1 footprints: about a month and a half of the real ones."""
    days: int = 30
    """Length of the period."""
    seed: int = 0


def run(options: Match) -> None:
    """Draw places, make footprints, match, and write the record."""
    rng = np.random.default_rng(options.seed)
    periods = strata(START, START + dt.timedelta(days=options.days))
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    places = draw_places(region(LAND), periods, options.places, side_px=256, seed=options.seed)
    with tempfile.TemporaryDirectory() as folder:
        write_plan(Plan(places, options.places, {}), Path(folder) / "plan.parquet")
    seconds["plan drawn and written"] = time.perf_counter() - started
    s2, s1 = optical_table(places, options, rng), radar_table(options, rng)
    before_mb = _peak_mb()
    started = time.perf_counter()
    matcher = Matcher(s2, s1, Rules())
    matched = matcher.match_rows(places)
    seconds["match"] = time.perf_counter() - started
    reasons, refusals = dict(matched.reasons()), dict(matched.refusals)
    started = time.perf_counter()
    arranged = arrange(candidates_of(Paired(places, matcher, matched)), len(matched.place), SHARD_ROWS)
    seconds["arrange"] = time.perf_counter() - started
    peak_mb = _peak_mb()
    del matcher, matched, s2, s1
    gc.collect()
    held_mb = _held_mb()
    started = time.perf_counter()
    sampled = range(0, arranged.shards, -(-arranged.shards // JOBS))
    for index in sampled:
        arranged.job(index)
    seconds["a job"] = (time.perf_counter() - started) / len(sampled)
    record = {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "command": "python -m benchmarks.match " + " ".join(sys.argv[1:]),
        "options": {"places": options.places, "s2": options.s2, "s1": options.s1, "days": options.days},
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "peak_mb": round(peak_mb),
        "peak_mb_before_the_match": round(before_mb),
        "held_mb_while_shards_are_filled": round(held_mb),
        "shards": arranged.shards,
        "places_by_reason": reasons,
        "scene_refusals": refusals,
        "goal": {"plan seconds": 300, "match seconds": 90, "peak_mb": 2000},
        "versions": {"python": platform.python_version(), "shapely": shapely.__version__, "numpy": np.__version__,
                     "geos": shapely.geos_version_string, "pyproj": pyproj.__version__},
        "cpu": _cpu(),
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


def optical_table(places: Places, options: Match, rng: np.random.Generator) -> SceneTable:
    """Scenes of the tiles on which the places lie, spread evenly over tiles and days."""
    tiles = np.unique(places.tiles())
    tile = np.sort(tiles[rng.integers(len(tiles), size=options.s2)])
    outline = {name: _tile_outline(name) for name in tiles.tolist()}
    corners = np.array([outline[name] for name in tile.tolist()])
    cut = rng.uniform(size=options.s2) < 0.4  # where a swath's edge crosses the tile
    share = rng.uniform(0.1, 0.9, (options.s2, 2))
    for corner, side, part in ((1, 0, share[:, 0]), (2, 3, share[:, 1])):  # move the two east corners to the west
        west, east = corners[:, side], corners[:, corner]
        corners[cut, corner] = (west + (east - west) * part[:, None])[cut]
    bends = np.linspace(0, 1, 3)[:-1]  # real outlines have 4 to 43 corners
    ring = np.concatenate([corners, corners[:, :1]], axis=1)
    dense = np.concatenate(
        [ring[:, i, None] + bends[:, None] * (ring[:, i + 1] - ring[:, i])[:, None] for i in range(4)], 1
    )
    days = rng.integers(options.days, size=options.s2)
    return SceneTable(
        item_id=np.array([f"S2-{i:07d}" for i in range(options.s2)], dtype=object),
        acquired_us=to_us(START) + days * 86_400_000_000 + 39_600_000_000,
        epsg=np.zeros(options.s2, dtype=np.int64),
        cloud=rng.beta(0.5, 0.5, options.s2) * 100,  # mostly clear or mostly covered
        orbit=np.full(options.s2, "descending"),
        tile=tile,
        footprint=continuous(shapely.polygons(dense)),
        load=lambda rows: [_scene(f"S2-{row:07d}", 13) for row in rows.tolist()],
    )


def radar_table(options: Match, rng: np.random.Generator) -> SceneTable:
    """Slanted slices centred on land."""
    centres = draw_places(region(LAND), strata(START, START + dt.timedelta(days=12)), options.s1, side_px=256, seed=1)
    x = centres.west_m + rng.uniform(-1e5, 1e5, options.s1)
    y = centres.north_m + rng.uniform(-1e5, 1e5, options.s1)
    up = rng.integers(0, 2, options.s1)
    slant = np.radians(np.where(up, -12, 12))
    across, along = np.array(SLICE_M) / 2
    square = np.array([(-across, -along), (across, -along), (across, along), (-across, along)])
    xs = x[:, None] + square[:, 0] * np.cos(slant)[:, None] - square[:, 1] * np.sin(slant)[:, None]
    ys = y[:, None] + square[:, 0] * np.sin(slant)[:, None] + square[:, 1] * np.cos(slant)[:, None]
    lon, lat = np.empty_like(xs), np.empty_like(ys)
    for zone in np.unique(centres.epsg).tolist():
        rows = centres.epsg == zone
        lon[rows], lat[rows] = transformer(zone, 4326).transform(xs[rows], ys[rows])
    lon = lon[:, :1] + (lon - lon[:, :1] + 180) % 360 - 180
    hours = rng.integers(-72, 24 * options.days + 72, options.s1)
    return SceneTable(
        item_id=np.array([f"S1-{i:07d}" for i in range(options.s1)], dtype=object),
        acquired_us=to_us(START) + hours * 3_600_000_000,
        epsg=centres.epsg,
        cloud=np.full(options.s1, np.nan),
        orbit=np.where(up, "ascending", "descending"),
        tile=np.full(options.s1, ""),
        footprint=continuous(shapely.polygons(np.stack([lon, lat], axis=-1))),
        load=lambda rows: [_scene(f"S1-{row:07d}", 2) for row in rows.tolist()],
    )


def _scene(name: str, images: int) -> Scene:
    """As large as a real one: addresses of 230 characters."""
    hrefs = {f"B{i:02d}": f"https://blob/{name}/{i:02d}".ljust(230, "x") for i in range(images)}
    return Scene(name, "made up", START, "P", None, None, 32633, shapely.box(0, 0, 1, 1), hrefs, tile="33UUU")


def _tile_outline(tile: str) -> np.ndarray:
    epsg, west, north = tile_origin(tile)
    side = TILE_SIDE_PX * 10
    x, y = np.array([west, west + side, west + side, west]), np.array([north - side, north - side, north, north])
    lon, lat = transformer(epsg, 4326).transform(x, y)
    return np.stack([lon[0] + (lon - lon[0] + 180) % 360 - 180, lat], axis=1)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _held_mb() -> float:
    """Resident now; pages that the allocator keeps for later are given back first."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main(Match, run)
