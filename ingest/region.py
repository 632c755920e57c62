"""A datacube of any area in any projection: Sentinel-1 and Sentinel-2 of a period as one Zarr store, by odc-stac.

Patches are never resampled; an area of a user's own is: by nearest neighbour, which keeps scene classes, speckle and
nodata as they are. Georeferencing comes from the files, since STAC `proj:*` is wrong for part of the archive.
"""

import datetime as dt
import itertools
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from catalog.bands import S2
from catalog.errors import OutputExistsError
from catalog.program import main
from ingest.chunks import CELL_DEG, Chunk
from ingest.errors import PlanError, ReadError
from ingest.images import GDAL_OPTIONS
from ingest.radiometry import DELIVERED_S1_NODATA, boa_add_offset, remove_offset
from ingest.redaction import redact
from ingest.search import search_of
from ingest.sources import PLANETARY_COMPUTER, Source, source_of
from ingest.sources.profile import SCL, processing_age, strip_key

if TYPE_CHECKING:
    import xarray as xr

Item = Mapping[str, Any]

_UNTRUSTED = ("proj:transform", "proj:shape", "proj:bbox", "proj:geometry")
_MAX_PIXELS = 10_000**2  # of one image: all dates of a larger one do not fit in a laptop's memory


@dataclass(frozen=True)
class Region:
    """Write one datacube of Sentinel-1 and Sentinel-2 over an area.

    Example: python -m ingest.region 13.0 52.3 13.4 52.6 --start 2023-06-01 --end 2023-07-01 --out berlin.zarr
    """

    bbox: Annotated[tuple[float, float, float, float], tyro.conf.Positional]
    """West, south, east, north in degrees."""
    out: Path
    """Zarr store to write."""
    start: str = "2023-06-01"
    """First day of the period."""
    end: str = "2023-07-01"
    """Day after the last."""
    crs: str = "utm"
    """Projection, such as EPSG:3035; "utm" for the zone of the area."""
    resolution: float = 10.0
    """Side of a pixel in units of the projection."""
    scene_cloud_max: float = 60.0
    """Largest cloud cover of a Sentinel-2 scene, percent."""
    source: str = PLANETARY_COMPUTER
    """"planetary-computer", or the http address of another STAC API."""
    threads: int = 8
    """Images read side by side."""


def run(options: Region) -> None:
    """Find scenes, load them onto one grid and write the store.

    Raises:
        DeepSentinelError: no scenes, a source that fails, an area too large, or a store that exists.
    """
    if options.out.exists():
        raise OutputExistsError(f"{options.out} already exists; choose another --out or remove it")
    cube = load_region(options, geobox_of(options))
    aside = options.out.with_name(f".{options.out.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    cube.to_zarr(aside, mode="w", zarr_format=3, consolidated=False)
    aside.rename(options.out)


def geobox_of(options: Region) -> Any:
    """The pixel grid of an area (odc.geo GeoBox), its edges at multiples of the resolution as Sentinel-2's own are.

    Raises:
        PlanError: the area is empty or too large.
    """
    from odc.geo.geobox import GeoBox
    from odc.geo.geom import box

    west, south, east, north = options.bbox
    if west >= east or south >= north:
        raise PlanError(f"the area {options.bbox} is empty; give west, south, east, north in degrees")
    grid = GeoBox.from_geopolygon(box(*options.bbox, "EPSG:4326"), resolution=options.resolution, crs=options.crs)
    if math.prod(grid.shape) > _MAX_PIXELS:
        rows, columns = grid.shape
        raise PlanError(f"the area has {rows} x {columns} pixels (limit {_MAX_PIXELS:,}); cut it in parts")
    return grid


def load_region(options: Region, grid: Any) -> "xr.Dataset":
    """Everything of a period on one grid.

    Returns:
        Sentinel-2 bands (time_s2, y, x) as uint16 reflectance x 10000 without offset, 0 nodata; SCL; VV and VH
        (time_s1, y, x) as float32 linear gamma0, NaN nodata.

    Raises:
        PlanError: no scenes.
        ReadError: an image cannot be had now.
    """
    import xarray as xr

    source = source_of(options.source)
    optical = [
        item
        for item in newest(find_items(options, source, source.s2_collection))
        if item["properties"].get("eo:cloud_cover", 0.0) <= options.scene_cloud_max
    ]
    radar = find_items(options, source, source.s1_collection)
    radar = [item for item in radar if all(source.assets[name] in item["assets"] for name in ("VV", "VH"))]
    if not optical and not radar:
        raise PlanError(f"{source.name} has no scenes for this area from {options.start} to {options.end}")
    parts = [_optical(list(group), offset, options, source, grid) for offset, group in _by_offset(optical)]
    cubes = [xr.concat(parts, "time_s2").sortby("time_s2")] if parts else []
    cubes += [_radar(radar, options, source, grid)] if radar else []
    return xr.merge(cubes, compat="override", join="exact", combine_attrs="drop")


def find_items(options: Region, source: Source, collection: str) -> list[Item]:
    """Items of a collection over an area and period, each once, by id.

    Raises:
        SourceError: the provider does not answer.
    """
    west, south, east, north = options.bbox
    start, end = (dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC) for day in (options.start, options.end))
    search = search_of(source)
    spans = (west, east), (south, north)
    cells = itertools.product(*(range(math.floor(a / CELL_DEG), math.ceil(b / CELL_DEG)) for a, b in spans))
    chunks = [Chunk(collection, column * CELL_DEG, row * CELL_DEG, start, end) for column, row in cells]
    found = {item["id"]: item for chunk in chunks for item in search(chunk)}
    return [found[name] for name in sorted(found) if _meets(found[name]["bbox"], options.bbox)]


def newest(items: Iterable[Item]) -> list[Item]:
    """Of several processings of one data strip the newest."""
    kept: dict[str, Item] = {}
    for item in items:
        key = strip_key(item)
        if key not in kept or processing_age(item) > processing_age(kept[key]):
            kept[key] = item
    return list(kept.values())


def _optical(items: Sequence[Item], add_offset: int, options: Region, source: Source, grid: Any) -> "xr.Dataset":
    names = [band.name for band in S2]
    cube = _load(items, [*names, SCL], "solar_day", options, source, grid).rename(time="time_s2")
    for name in names:
        cube[name] = cube[name].copy(data=remove_offset(cube[name].values, add_offset))
    return cube


def _radar(items: Sequence[Item], options: Region, source: Source, grid: Any) -> "xr.Dataset":
    cube = _load(items, ["VV", "VH"], "id", options, source, grid).rename(time="time_s1")
    return cube.where(np.isfinite(cube) & (cube > 0) & (cube != DELIVERED_S1_NODATA))


def _load(
    items: Sequence[Item], names: Sequence[str], groupby: str, options: Region, source: Source, grid: Any
) -> "xr.Dataset":
    import odc.stac
    import pystac
    from rasterio.errors import RasterioError

    assets = {source.assets[name]: name for name in names}
    odc.stac.configure_rio(**GDAL_OPTIONS)
    try:
        cube = odc.stac.load(
            [pystac.Item.from_dict(without_projection(item)) for item in items], bands=list(assets), geobox=grid,
            groupby=groupby, resampling="nearest", fail_on_error=True, pool=options.threads, patch_url=source.sign,
            stac_cfg={"*": {"warnings": "ignore"}} | _types_of(source),
        )  # fmt: skip
    except RasterioError as error:
        raise ReadError(f"an image cannot be read now ({redact(str(error))[:200]}); run it again") from error
    return cube.rename(assets)


def without_projection(item: Item) -> dict[str, Any]:
    """An item without the georeferencing that its files state better; the projection's code stays."""
    properties = {name: value for name, value in item["properties"].items() if name not in _UNTRUSTED}
    assets = {
        key: {name: value for name, value in asset.items() if name not in _UNTRUSTED}
        for key, asset in item["assets"].items()
    }
    return {**item, "properties": properties, "assets": assets}


def _types_of(source: Source) -> dict[str, Any]:
    """Types by collection: items of the Planetary Computer state none."""
    optical = {"*": {"data_type": "uint16", "nodata": 0}, source.assets[SCL]: {"data_type": "uint8", "nodata": 0}}
    radar = {"*": {"data_type": "float32", "nodata": DELIVERED_S1_NODATA}}
    return {source.s2_collection: {"assets": optical}, source.s1_collection: {"assets": radar}}


def _by_offset(items: Sequence[Item]) -> Iterable[tuple[int, Iterable[Item]]]:
    def offset(item: Item) -> int:
        return boa_add_offset(item["properties"]["s2:processing_baseline"])

    return itertools.groupby(sorted(items, key=offset), offset)


def _meets(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] <= other[2] and one[2] >= other[0] and one[1] <= other[3] and one[3] >= other[1]


if __name__ == "__main__":
    main(Region, run)
