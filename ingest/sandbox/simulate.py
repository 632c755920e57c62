"""Write a simulated archive: scenes, items and labels of some regions.

One liberty is taken with the real archives: a scene's footprint is the simulated window, not the satellite's swath
or the whole tile, so that a patch outside the window finds no scene. Rasters have their real full size and place.
"""

import datetime as dt
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import shapely
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from catalog.errors import DeepSentinelError, OutputExistsError
from catalog.mgrs import TILE_SIDE_PX, tile_origin
from ingest.sandbox import optical, radar
from ingest.sandbox.clouds import Sky
from ingest.sandbox.cogs import Window, write_sparse_cog
from ingest.sandbox.corinemap import Corine, corine, in_europe, write_corine
from ingest.sandbox.earth import Ground, ground
from ingest.sandbox.items import S2_GSD_M, blob_path, s1_item, s2_item, write_item
from ingest.sandbox.noise import Frame, mix, uniform
from ingest.sandbox.osmdata import OsmBuilder, add_region
from ingest.sandbox.passes import OpticalPass, RadarPass, optical_passes, radar_passes
from ingest.sandbox.regions import PRESETS, S1_MARGIN_PX, SimulatedRegion
from ingest.sandbox.settlements import works
from ingest.sandbox.sun import sun_at
from ingest.sandbox.worldcovermap import classes_of, write_worldcover

MAX_GAP = dt.timedelta(days=3)  # Kruitwagen 2020, section 3: radar scenes further from every optical one are of no use
_S1_WIDTH_PX, _S1_HEIGHT_PX = 27_000, 20_500  # of a typical IW slice in the Planetary Computer's archive
_S1_WEST_PX, _S1_NORTH_PX = 9_301, 7_207  # where in the slice the window lies; off the blocks, as in nature

_ROUNDING_M = 10  # a footprint is this much wider than its pixels, so that rounding loses no patch at the rim


@dataclass(frozen=True, slots=True)
class _Task:
    """One thing to make in a worker process."""

    region: SimulatedRegion
    seed: int
    out: Path
    ground: Path
    """Folder of the saved ground."""
    scene: OpticalPass | RadarPass | None
    """None: make the ground itself."""


def simulate(
    regions: Sequence[SimulatedRegion] | str, out: Path, *, seed: int = 0, workers: int | None = None
) -> dict[str, Any]:
    """Write an archive that `ingest.sandbox.server` serves.

    Args:
        regions: what to simulate, or the name of a preset.
        out: a new or empty folder.
        seed: of everything; the same seed gives the same bytes.
        workers: processes; 1 makes everything in this one, None takes one a core.

    Returns:
        What is written to `archive.json`.

    Raises:
        OutputExistsError: `out` is not empty.
        DeepSentinelError: no such preset, two regions of one name, or a region without scenes.
    """
    chosen = _chosen(regions)
    if out.exists() and any(out.iterdir()):
        raise OutputExistsError(f"{out} is not empty; give a new folder or delete it first")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".ground-") as scratch, _progress() as progress:
        folders = {region.name: Path(scratch) / region.name for region in chosen}
        bare = [_Task(region, seed, out, folders[region.name], None) for region in chosen]
        scenes = [
            _Task(task.region, seed, out, task.ground, scene) for task in bare for scene in _passes(task.region, seed)
        ]
        for title, tasks in (("Ground", bare), ("Scenes", scenes)):
            for _ in progress.track(
                _run_all(tasks, workers or os.cpu_count() or 1), total=len(tasks), description=title
            ):
                pass
        _write_labels(out, bare, seed)
    return _write_description(out, chosen, seed)


def _chosen(regions: Sequence[SimulatedRegion] | str) -> Sequence[SimulatedRegion]:
    if isinstance(regions, str):
        if regions not in PRESETS:
            raise DeepSentinelError(f"no simulated archive {regions!r}; choose from {', '.join(sorted(PRESETS))}")
        return PRESETS[regions]
    names = [region.name for region in regions]
    if len(set(names)) != len(names):
        raise DeepSentinelError(f"regions are called {', '.join(names)}; each needs a name of its own")
    return regions


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns) as progress:
        yield progress


def _run_all(tasks: Sequence[_Task], workers: int) -> Iterable[None]:
    workers = min(workers, len(tasks))
    if workers == 1:
        yield from map(_run, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_run, task) for task in tasks]):
            yield done.result()


def _run(task: _Task) -> None:
    if task.scene is None:
        ground(task.region.radar_frame, task.seed).save(task.ground)
    elif isinstance(task.scene, OpticalPass):
        _write_optical(task, task.scene)
    else:
        _write_radar(task, task.scene)


def _passes(region: SimulatedRegion, seed: int) -> list[OpticalPass | RadarPass]:
    """Scenes of a region; radar scenes that could pair with none of the optical ones are left out."""
    place = (region.tile, *region.centre_deg)
    seen = optical_passes(*place, region.start, region.end, region.s2_every_days, seed)
    if not seen:
        raise DeepSentinelError(
            f"region {region.name}: no Sentinel-2 pass from {region.start} to {region.end}; widen the period"
        )
    around = radar_passes(*place, region.start - MAX_GAP, region.end + MAX_GAP, seed)
    return [*seen, *(one for one in around if any(abs(one.started - other.time) <= MAX_GAP for other in seen))]


def _write_optical(task: _Task, scene: OpticalPass) -> None:
    region, frame = task.region, task.region.optical_frame
    sun = sun_at(*region.centre_deg, scene.time)
    image = optical.render(
        frame,
        _cropped(Ground.load(task.ground)),
        day=scene.time.timetuple().tm_yday,
        sun=sun,
        sky=_sky(scene, region, task.seed),
        offset=scene.has_offset,
        valid=scene.swath.mask(_at_20m(frame)),
        noise_seed=scene_seed(task.seed, region.tile, scene.time),
    )
    item = s2_item(
        tile=region.tile,
        acquired=scene.time,
        platform=scene.platform,
        relative_orbit=scene.relative_orbit,
        orbit_state="descending",
        baseline=scene.baseline,
        cloud_cover=round(image.cloud_percent, 6),
        footprint=scene.swath.outline(frame, margin_m=_ROUNDING_M),
        solar_zenith=sun.zenith_deg,
        solar_azimuth=sun.azimuth_deg,
    )
    for name, pixels in image.bands.items():
        _write_in_tile(_blob(task.out, item, name), frame, region.tile, S2_GSD_M[name], pixels)
    _write_in_tile(_blob(task.out, item, "SCL"), frame, region.tile, S2_GSD_M["SCL"], image.scl)
    write_item(task.out, item)


def _write_in_tile(path: Path, frame: Frame, tile: str, gsd_m: int, pixels: NDArray[Any]) -> None:
    """Write one band as a raster of the whole tile, sparse outside the frame."""
    epsg, west_m, north_m = tile_origin(tile)
    side_px = TILE_SIDE_PX * 10 // gsd_m
    write_sparse_cog(
        path,
        epsg=epsg,
        west_m=west_m,
        north_m=north_m,
        width_px=side_px,
        height_px=side_px,
        gsd_m=gsd_m,
        windows=[Window((north_m - frame.north_m) // gsd_m, (frame.west_m - west_m) // gsd_m, pixels)],
        nodata=0,
    )


def _write_radar(task: _Task, scene: RadarPass) -> None:
    region, frame = task.region, task.region.radar_frame
    image = radar.render(
        frame,
        Ground.load(task.ground),
        day=scene.started.timetuple().tm_yday,
        orbit_state=scene.orbit_state,
        valid=scene.swath.mask(frame),
        noise_seed=scene_seed(task.seed, region.tile, scene.started),
    )
    grid = _Slice(
        frame.epsg, frame.west_m - _S1_WEST_PX * 10, frame.north_m + _S1_NORTH_PX * 10, _S1_WIDTH_PX, _S1_HEIGHT_PX
    )
    item = s1_item(
        started=scene.started,
        stopped=scene.stopped,
        platform="S1A",
        orbit_state=scene.orbit_state,
        relative_orbit=scene.relative_orbit,
        absolute_orbit=scene.absolute_orbit,
        footprint=scene.swath.outline(frame),
        **grid._asdict(),
    )
    for name, pixels in image.items():
        place = Window(_S1_NORTH_PX, _S1_WEST_PX, pixels)
        path = _blob(task.out, item, name.lower())
        write_sparse_cog(path, **grid._asdict(), gsd_m=10, windows=[place], nodata=radar.NODATA)
    write_item(task.out, item)


class _Slice(NamedTuple):
    """The raster of a radar scene."""

    epsg: int
    west_m: int
    north_m: int
    width_px: int
    height_px: int


def _blob(out: Path, item: dict[str, Any], asset: str) -> Path:
    return out / "blobs" / blob_path(item["assets"][asset]["href"])


def _cropped(wide: Ground) -> Ground:
    """The ground of the optical frame out of that of the radar frame."""
    inside = slice(S1_MARGIN_PX, -S1_MARGIN_PX)
    return wide.window(inside, inside)


def _at_20m(frame: Frame) -> Frame:
    return Frame(frame.epsg, frame.west_m, frame.north_m, frame.rows // 2, frame.cols // 2, 20)


def _sky(scene: OpticalPass, region: SimulatedRegion, seed: int) -> Sky:
    """The day's clouds: mostly clear or mostly overcast, as skies are, with the region's mean."""
    share = scene.cloudy ** (1 / region.cloudiness - 1) if region.cloudiness > 0 else 0.0
    number = scene_seed(seed, region.tile, scene.time)
    height, thin = (float(uniform(mix(number, salt))[0]) for salt in (1, 2))
    return Sky(share, 700 + 2_500 * height, 0.4 * thin if thin > 0.85 and region.cloudiness > 0 else 0.0, number)


def scene_seed(seed: int, tile: str, time: dt.datetime) -> int:
    """The seed of a scene's own noise: another one for each scene of a tile."""
    return int(mix(seed, *tile.encode(), int(time.timestamp()))[0])


def _write_labels(out: Path, bare: Sequence[_Task], seed: int) -> None:
    """CORINE of the regions in Europe, OpenStreetMap and WorldCover of all."""
    maps: list[Corine] = []
    covers: list[tuple[Frame, NDArray[Any]]] = []
    builder = OsmBuilder()
    for task in bare:
        frame, made = task.region.optical_frame, _cropped(Ground.load(task.ground))
        if in_europe(*task.region.centre_deg):
            maps.append(corine(frame, made.zone))
        add_region(builder, frame, made, works(frame, seed))
        covers.append((frame, classes_of(made)))
    if maps:
        write_corine(out / "labels" / "corine.tif", maps)
    write_worldcover(out, covers)
    builder.write(_ready(out / "labels" / "osm.osm.pbf"))


def _ready(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write_description(out: Path, regions: Sequence[SimulatedRegion], seed: int) -> dict[str, Any]:
    described = [_describe(region, seed) for region in regions]
    for region, facts in zip(regions, described, strict=True):
        feature = {"type": "Feature", "properties": facts, "geometry": json.loads(shapely.to_geojson(region.outline))}
        path = _ready(out / "regions" / f"{region.name}.geojson")
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}, indent=1) + "\n")
    archive = {"kind": "simulated", "seed": seed, "regions": described}
    (out / "archive.json").write_text(json.dumps(archive, indent=1) + "\n")
    return archive


def _describe(region: SimulatedRegion, seed: int) -> dict[str, Any]:
    scenes = _passes(region, seed)
    return {
        "name": region.name,
        "tile": region.tile,
        "epsg": region.window.epsg,
        "window_m": list(region.window.bounds_m),
        "first_cell": [region.first_row, region.first_column],
        "cells": [region.rows, region.columns],
        "start": region.start.isoformat(),
        "end": region.end.isoformat(),
        "sentinel_2": [one.time.isoformat() for one in scenes if isinstance(one, OpticalPass)],
        "sentinel_1": [one.started.isoformat() for one in scenes if isinstance(one, RadarPass)],
    }
