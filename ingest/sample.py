"""Draw the places of a corpus: uniform on the sphere over a region, snapped to the Sentinel-2 lattice.

A place is a lattice cell and a 12-day stratum (one Sentinel-1 repeat cycle) of the period. Draws come in a fixed
order decided by the seed: the first ones are wanted, the rest are the reserve that replaces refused ones.
"""

import datetime as dt
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
import tyro
from numpy.typing import NDArray

from catalog.errors import OutputExistsError
from catalog.grid import GSD_M, SIDE_PX, cells_at
from catalog.mgrs import transformer, utm_epsg
from catalog.program import main
from ingest.cells import cells_inside
from ingest.errors import PlanError
from ingest.places import Place, Places, to_us
from ingest.regions import LAND, region

CYCLE = dt.timedelta(days=12)  # Sentinel-1 repeats an orbit every 12 days (ESA, Sentinel-1 mission guide)
_MAX_LAT_DEG = 83.9  # UTM ends at 84 N
_MIN_LAT_DEG = -79.9
_BATCH = 4096
_TIME = pa.timestamp("us", tz="UTC")
_MAX_IDLE_BATCHES = 20  # so many batches in a row without a new place: the region and period are exhausted


Stratum = tuple[dt.datetime, dt.datetime]


@dataclass(frozen=True)
class Sample:
    """Draw places for a corpus and write them as a plan.

    Example: deepsentinel sample plan.parquet --count 1000 --region EU27+GB --start 2021-04-01 --end 2021-10-01
    """

    out: Annotated[Path, tyro.conf.Positional]
    """Plan to write (.parquet)."""
    count: int = 1000
    """Patches wanted."""
    region: str = LAND
    """"land", "EU27+GB", ISO codes such as "DE,FR", or a .geojson or .parquet file."""
    start: str = "2021-01-01"
    """First day of the period."""
    end: str = "2022-01-01"
    """Day after the last."""
    reserve: float = 1.0
    """Extra places drawn for each one wanted, to replace those that cannot be paired or read."""
    every_cell: bool = False
    """Take every lattice cell inside the region instead of drawing; count, reserve and revisits do not apply."""
    tiles: tuple[str, ...] = ()
    """With --every-cell: take the cells of these Sentinel-2 tiles, also where they reach into the next UTM zone."""
    stratum_days: int = CYCLE.days
    """Length of a stratum: a cell gives at most one patch in each."""
    side_px: int = SIDE_PX
    """Side of a patch in 10 m pixels; even."""
    revisits: int = 0
    """For each place drawn, so many more of the same cell in other seasons, evenly spaced over the period."""
    seed: int = 0
    """Equal seeds draw equal places."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Places in the order of draws, and how they were drawn."""

    places: Places
    count: int
    """Patches wanted; the places beyond are the reserve."""
    about: dict[str, Any]


def strata(start: dt.datetime, end: dt.datetime, length: dt.timedelta = CYCLE) -> list[Stratum]:
    """Cut a period into strata; a remainder shorter than a stratum joins the last one.

    Raises:
        PlanError: the period is empty.
    """
    if end <= start:
        raise PlanError(f"the period from {start:%Y-%m-%d} to {end:%Y-%m-%d} is empty; the end must be after the start")
    edges = [start + i * length for i in range(max(1, (end - start) // length))] + [end]
    return list(itertools.pairwise(edges))


def draw_points(outline: shapely.Geometry, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Batches of points (longitude, latitude) uniform by area on the sphere inside an outline, without end.

    Equal areas lie between equal steps of longitude and of the sine of latitude (Archimedes).
    """
    west, south, east, north = outline.bounds
    low, high = np.sin(np.radians([max(south, _MIN_LAT_DEG), min(north, _MAX_LAT_DEG)]))
    while True:
        lon = rng.uniform(west, east, _BATCH)
        lat = np.degrees(np.arcsin(rng.uniform(low, high, _BATCH)))
        yield np.stack([lon, lat], axis=1)[shapely.contains_xy(outline, lon, lat)]


def draw_places(
    outline: shapely.Geometry, periods: Sequence[Stratum], count: int, *, side_px: int, seed: int, revisits: int = 0
) -> Places:
    """Draw distinct places.

    Args:
        revisits: so many further strata of each drawn cell follow it in the order of draws.

    Raises:
        PlanError: the region and period hold fewer distinct places than asked for.
    """
    if revisits >= len(periods):
        raise PlanError(
            f"{revisits} revisits of a cell need {revisits + 1} strata and the period has {len(periods)}; "
            "lengthen the period or shorten --stratum-days"
        )
    rng = np.random.default_rng(seed)
    found: dict[tuple[int, ...], int] = {}  # cell (and stratum) to stratum, in order of draws
    idle_batches = 0
    for points in draw_points(outline, rng):
        before = len(found)
        strata_drawn = rng.integers(len(periods), size=len(points))
        for *cell, stratum in _cells_of(points, strata_drawn, side_px):
            found.setdefault(tuple(cell) if revisits else (*cell, stratum), stratum)
        if len(found) >= count:
            return _places(list(found.items())[:count], periods, side_px, revisits)
        idle_batches = 0 if len(found) > before else idle_batches + 1
        if idle_batches == _MAX_IDLE_BATCHES:
            break
    raise PlanError(
        f"the region holds only {len(found)} distinct places of {count} wanted, with cells of {side_px} px and "
        f"{len(periods)} strata; ask for fewer, or widen the region or the period"
    )


def every_place(
    outline: shapely.Geometry, periods: Sequence[Stratum], *, side_px: int, tiles: Sequence[str] = ()
) -> Places:
    """Every cell inside an outline in every stratum.

    Raises:
        PlanError: no cell fits.
    """
    cells = cells_inside(outline, side_px, tiles)
    if not cells:
        raise PlanError(f"no cell of {side_px} px lies inside the region; use smaller patches (--side-px)")
    wanted = enumerate(itertools.product(periods, cells))
    return Places.of([Place(draw, cell, *period) for draw, (period, cell) in wanted])


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan as one parquet table with its description in the metadata."""
    places = plan.places
    side = np.full(len(places), places.side_px)
    columns = {
        "draw": places.draw, "epsg": places.epsg, "west_m": places.west_m, "north_m": places.north_m,
        "side_px": side, "gsd_m": np.full_like(side, GSD_M),
        "start": pa.array(places.start_us, _TIME), "end": pa.array(places.end_us, _TIME),
    }  # fmt: skip
    about = json.dumps({**plan.about, "count": plan.count}, sort_keys=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    pq.write_table(pa.table(columns).replace_schema_metadata({"deepsentinel:plan": about}), aside)
    aside.rename(path)


def read_plan(path: Path) -> Plan:
    """Read what `write_plan` wrote.

    Raises:
        PlanError: no plan is there.
    """
    if not path.is_file():
        raise PlanError(f"there is no plan {path}; make one with: deepsentinel sample {path}")
    table = pq.read_table(path)
    described = (table.schema.metadata or {}).get(b"deepsentinel:plan")
    if described is None:
        raise PlanError(f"{path} is a parquet file, but not a plan; make one with: deepsentinel sample")
    about = json.loads(described)
    lattice = (table[name].to_numpy() for name in ("draw", "epsg", "west_m", "north_m"))
    times = (table[name].cast(pa.int64()).to_numpy() for name in ("start", "end"))
    places = Places(table["side_px"][0].as_py(), *lattice, *times)
    return Plan(places, about.pop("count"), about)


def run(options: Sample) -> Plan:
    """Draw and write a plan.

    Raises:
        PlanError: the options cannot be met.
        OutputExistsError: the plan exists.
    """
    if options.out.exists():
        raise OutputExistsError(f"{options.out} exists; remove it or choose another name")
    if options.count < 1 or options.reserve < 0:
        raise PlanError(f"count is {options.count} and reserve {options.reserve:g}; they must be >= 1 and >= 0")
    if options.revisits < 0:
        raise PlanError(f"revisits is {options.revisits}; it must be 0 or more")
    if options.stratum_days < 1:
        raise PlanError(f"stratum-days is {options.stratum_days}; it must be at least 1")
    periods = strata(_day(options.start), _day(options.end), dt.timedelta(days=options.stratum_days))
    outline = region(options.region)
    if options.every_cell:
        places = every_place(outline, periods, side_px=options.side_px, tiles=options.tiles)
    else:
        wanted = int(np.ceil(options.count * (1 + options.reserve) / (1 + options.revisits)))
        places = draw_places(
            outline, periods, wanted, side_px=options.side_px, seed=options.seed, revisits=options.revisits
        )
    kept = ("region", "start", "end", "stratum_days", "every_cell", "tiles", "reserve", "side_px", "revisits", "seed")
    about = json.loads(json.dumps({name: getattr(options, name) for name in kept}))
    plan = Plan(places, len(places) if options.every_cell else options.count, about)
    write_plan(plan, options.out)
    return plan


def _cells_of(
    points: NDArray[np.float64], strata_drawn: NDArray[np.int64], side_px: int
) -> Iterator[tuple[int, int, int, int]]:
    """EPSG code, west edge, north edge and stratum of each point that lies in a cell, in order."""
    lon, lat = points.T
    epsg = utm_epsg(lon, lat)
    x_m, y_m = np.empty_like(lon), np.empty_like(lat)
    for zone in np.unique(epsg).tolist():
        rows = epsg == zone
        x_m[rows], y_m[rows] = transformer(4326, zone).transform(lon[rows], lat[rows])
    west_m, north_m, exists = cells_at(epsg, x_m, y_m, side_px)
    columns = (epsg, west_m, north_m, strata_drawn)
    return zip(*(column[exists].tolist() for column in columns), strict=True)


def _places(
    found: Sequence[tuple[tuple[int, ...], int]], periods: Sequence[Stratum], side_px: int, revisits: int
) -> Places:
    """Drawn cells as places, each followed by its revisits."""
    visits = 1 + revisits
    cells = np.array([cell[:3] for cell, _ in found], dtype=np.int64).repeat(visits, axis=0)
    shift = np.arange(visits) * len(periods) // visits
    stratum = (np.array([stratum for _, stratum in found])[:, None] + shift).ravel() % len(periods)
    edges = np.array([[to_us(start), to_us(end)] for start, end in periods])[stratum]
    return Places(side_px, np.arange(len(cells)), *cells.T, *edges.T)


def _day(text: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
    except ValueError as error:
        raise PlanError(f"{text!r} is not a day; write it as 2021-04-01") from error


if __name__ == "__main__":
    main(Sample, run)
