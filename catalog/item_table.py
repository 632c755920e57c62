"""Items as Arrow: one flat table, as stac-geoparquet 1.1 lays it out, with types that are given, not inferred."""

import datetime as dt
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import shapely

from catalog import split_items
from catalog.assets import PICTURES

_STRINGS = pa.list_(pa.string())
_NUMBERS = pa.list_(pa.float64())
PROPERTIES: Mapping[str, pa.DataType] = {
    "title": pa.string(),
    "datetime": pa.string(),
    "start_datetime": pa.string(),
    "end_datetime": pa.string(),
    "platform": pa.string(),
    "constellation": pa.string(),
    "instruments": _STRINGS,
    "gsd": pa.int32(),
    "version": pa.string(),
    "proj:code": pa.string(),
    "proj:shape": pa.list_(pa.int32()),
    "proj:transform": _NUMBERS,
    "proj:bbox": _NUMBERS,
    "grid:code": pa.string(),
    "sar:instrument_mode": pa.string(),
    "sar:frequency_band": pa.string(),
    "sar:polarizations": _STRINGS,
    "sat:orbit_state": pa.string(),
    "sat:relative_orbit": pa.int32(),
    "eo:cloud_cover": pa.float64(),
    "eo:snow_cover": pa.float64(),
    "deepsentinel:s1_item_id": pa.string(),
    "deepsentinel:s1_platform": pa.string(),
    "deepsentinel:s1_datetime": pa.string(),
    "deepsentinel:s1_orbit_state": pa.string(),
    "deepsentinel:s1_relative_orbit": pa.int32(),
    "deepsentinel:s2_item_id": pa.string(),
    "deepsentinel:s2_orbit_state": pa.string(),
    "deepsentinel:s2_relative_orbit": pa.int32(),
    "deepsentinel:s2_baseline": pa.string(),
    "deepsentinel:s2_scene_cloud_cover": pa.float64(),
    "deepsentinel:gap_hours": pa.float64(),
    "deepsentinel:boa_offset_applied": pa.bool_(),
    "deepsentinel:s1_zone_changed": pa.bool_(),
    "deepsentinel:s1_valid_share": pa.float64(),
    "deepsentinel:s2_valid_share": pa.float64(),
    "deepsentinel:cloud_share": pa.float64(),
    "deepsentinel:shadow_share": pa.float64(),
    "deepsentinel:snow_share": pa.float64(),
    "deepsentinel:s1_shift_east_m": pa.float64(),
    "deepsentinel:s1_shift_north_m": pa.float64(),
    "deepsentinel:s1_shift_peak": pa.float64(),
    "deepsentinel:corine_classes": pa.list_(pa.int32()),
    "deepsentinel:corine_known_share": pa.float64(),
    "deepsentinel:corine_majority": pa.int32(),
    "deepsentinel:osm_classes": _STRINGS,
    "deepsentinel:worldcover_classes": pa.list_(pa.int32()),
    "deepsentinel:worldcover_known_share": pa.float64(),
    **split_items.PROPERTIES,
    "deepsentinel:shard": pa.int64(),
    "deepsentinel:index": pa.int64(),
}
"""Type of every item property that the index keeps: given, not inferred, so that all indices are alike."""

_TEXTS = {name: pa.string() for name in ("href", "title", "type")}
_FILE = {**_TEXTS, "roles": _STRINGS, "file:size": pa.int64(), "file:checksum": pa.string()}
_CLASS = {"value": pa.int32(), "name": pa.string(), "title": pa.string(), "color_hint": pa.string()}
_CLASSES = pa.list_(pa.struct(_CLASS))
_FIELD = {"name": pa.string(), "offset": pa.int32(), "length": pa.int32(), "classes": _CLASSES}
_BAND = {
    **{name: pa.string() for name in ("name", "data_type", "unit", "eo:common_name")},
    "nodata": pa.int32(),
    "gsd": pa.int32(),
    "raster:scale": pa.float64(),
    "classification:classes": _CLASSES,
    "classification:bitfields": pa.list_(pa.struct(_FIELD)),
}
_ZARR = {"zarr:node_type": pa.string(), "zarr:zarr_format": pa.int32(), "zarr:consolidated": pa.bool_()}
_BANDS = pa.list_(pa.struct(_BAND))
_PATCH = {"type": pa.string(), "values": _STRINGS, "description": pa.string()}
_TIMES = ("datetime", "start_datetime", "end_datetime")  # the columns that the format wants as timestamps
_TIME = pa.timestamp("us", tz="UTC")
_CUBE = "cube:dimensions"
_BOX = ("xmin", "ymin", "xmax", "ymax")
_OUTSIDE = (
    "type", "stac_version", "stac_extensions", "id", "collection", "geometry", "bbox", "links", "assets",
)  # of an item's members, those that are no properties  # fmt: skip
_DATA = {**_TEXTS, "roles": _STRINGS, **_ZARR, "bands": _BANDS}
_ASSETS = {"data": pa.struct(_DATA), **{name: pa.struct(_FILE) for name in (*PICTURES, "objects")}}
_FLAT = {
    "type": pa.string(),
    "stac_version": pa.string(),
    "stac_extensions": _STRINGS,
    "id": pa.string(),
    "collection": pa.string(),
    "links": pa.list_(pa.struct({"rel": pa.string(), **_TEXTS})),
}


def to_batch(items: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """Items as rows of the index.

    Args:
        items: of one collection, as `catalog.items.build_item` makes them.
    """
    columns = {name: pa.array([item[name] for item in items], kind) for name, kind in _FLAT.items()}
    columns["geometry"] = _geometries(items)
    edges = np.array([item["bbox"] for item in items], np.float64).T
    columns["bbox"] = pa.StructArray.from_arrays([pa.array(edge) for edge in edges], _BOX)
    columns["assets"] = pa.array([item["assets"] for item in items], pa.struct(_ASSETS))
    for name, kind in PROPERTIES.items():
        values = [item["properties"].get(name) for item in items]
        columns[name] = _times(values) if name in _TIMES else pa.array(values, kind)
    columns[_CUBE] = pa.array([item["properties"][_CUBE] for item in items], pa.struct({"patch": pa.struct(_PATCH)}))
    return pa.RecordBatch.from_pydict(columns)


def to_items(rows: pa.Table | pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Rows of an index, all columns of them, as the items that they were; the inverse of `to_batch`.

    Also reads items of models and embeddings, whose index stac-geoparquet wrote.
    """
    columns = {name: values_of(rows[name]) for name in rows.schema.names}
    columns["geometry"] = [json.loads(shape) for shape in shapely.to_geojson(shapely.from_wkb(columns["geometry"]))]
    columns["bbox"] = [[box[edge] for edge in _BOX] for box in columns["bbox"]]
    for name in _TIMES:
        columns[name] = [_zulu(time) for time in columns.get(name, [None] * rows.num_rows)]
    names = [name for name in columns if name not in _OUTSIDE]
    stated = zip(*(columns[name] for name in names), strict=True)
    for outside, values in zip(zip(*(columns[name] for name in _OUTSIDE), strict=True), stated, strict=True):
        item = dict(zip(_OUTSIDE, outside, strict=True))
        kept = {name: value for name, value in zip(names, values, strict=True) if value is not None or name in _TIMES}
        rest = {name: item.pop(name) for name in ("links", "assets")}
        yield {**item, "properties": kept, **rest}


def values_of(array: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Elements as Python objects; what is null in a struct is left out of it."""
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if pa.types.is_struct(array.type):
        names = [field.name for field in array.type]
        members = zip(*(values_of(array.field(i)) for i in range(len(names))), strict=True)
        found: list[Any] = [
            {name: value for name, value in zip(names, row, strict=True) if value is not None} for row in members
        ]
    elif pa.types.is_list(array.type):
        ends = array.offsets.to_pylist()
        inner = values_of(array.values.slice(ends[0], ends[-1] - ends[0]))
        found = [inner[start - ends[0] : end - ends[0]] for start, end in itertools.pairwise(ends)]
    else:
        return list(array.to_pylist())
    if array.null_count:
        return [value if valid else None for value, valid in zip(found, array.is_valid().to_pylist(), strict=True)]
    return found


def _zulu(time: dt.datetime | None) -> str | None:
    return None if time is None else time.isoformat().replace("+00:00", "Z")


def _geometries(items: Sequence[Mapping[str, Any]]) -> pa.Array:
    shapes = shapely.from_geojson([orjson.dumps(item["geometry"]) for item in items])
    return pa.array(shapely.to_wkb(shapes, byte_order=1), pa.binary())  # little endian on every machine


def _times(values: Sequence[str]) -> pa.Array:
    return pa.array(np.array([value.removesuffix("Z") for value in values], "datetime64[us]")).cast(_TIME)
