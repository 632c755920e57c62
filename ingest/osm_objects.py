"""Objects of OpenStreetMap on patches, for detection: what has an outline, with its box, class, area and geometry."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from catalog.grid import PatchGrid
from catalog.objects import SCHEMA
from catalog.osm_classes import OSM, OsmClass
from ingest.osm import Features, OsmFeatures
from ingest.osm_draw import projector, solid

_MIN_SEEN_M2 = 25.0  # a quarter of a pixel: less of an object at a patch's edge is no object


def objects_of(features: Features, patch_id: str, grid: PatchGrid) -> pa.Table:
    """Objects that a patch shows, one row for each and class, by class and id; columns of `catalog.objects`."""
    tables = [
        _objects_of_class(features, osm, patch_id, grid)
        for osm in OSM
        if osm.kinds != ("line",) and (features.bits & np.uint32(osm.value)).any()
    ]
    return pa.concat_tables(tables) if tables else SCHEMA.empty_table()


def write_objects(folder: Path | None, patches: Sequence[tuple[str, PatchGrid]], out: Path) -> None:
    """Write the objects of patches, in their order, as one table; nothing without a `folder` of features."""
    if folder is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    found = OsmFeatures(folder)
    aside = out.with_name(f".{out.name}.part")
    with pq.ParquetWriter(aside, SCHEMA, compression="zstd") as writer:
        for patch_id, grid in patches:
            writer.write_table(objects_of(found.near(grid), patch_id, grid))
    aside.rename(out)


def _objects_of_class(features: Features, osm: OsmClass, patch_id: str, grid: PatchGrid) -> pa.Table:
    chosen = features.bits & np.uint32(osm.value) > 0
    chosen &= shapely.get_dimensions(features.shapes) != 1  # a runway's middle line has no outline
    whole = solid(features.shapes[chosen], osm)
    seen = shapely.intersection(whole, shapely.box(*grid.bounds_m))
    areas_m2 = shapely.area(seen)
    kept = areas_m2 >= _MIN_SEEN_M2
    seen, areas_m2 = seen[kept], areas_m2[kept]
    boxes = _boxes_px(seen, grid)
    degrees = shapely.transform(seen, projector(grid.epsg, 4326))
    columns: dict[str, Any] = {
        "patch_id": [patch_id] * len(seen),
        "class": [osm.name] * len(seen),
        "osm_type": features.osm_types[chosen][kept],
        "osm_id": features.osm_ids[chosen][kept],
        **dict(zip(("x_min", "y_min", "x_max", "y_max"), boxes, strict=True)),
        "area_m2": areas_m2,
        "seen_share": areas_m2 / shapely.area(whole)[kept],
        "geometry": shapely.to_wkb(degrees),
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    return pa.table(arrays, schema=SCHEMA).sort_by([("osm_type", "ascending"), ("osm_id", "ascending")])


def _boxes_px(shapes: NDArray[Any], grid: PatchGrid) -> Iterator[NDArray[np.float32]]:
    """Left, top, right, bottom of each shape in 10 m pixels from the patch's north-west corner."""
    west, south, east, north = shapely.bounds(shapes).reshape(-1, 4).T
    for offsets in (west - grid.west_m, grid.north_m - north, east - grid.west_m, grid.north_m - south):
        yield (offsets / grid.gsd_m).astype(np.float32)
