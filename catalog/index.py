"""The index of a collection: every item as one row of a stac-geoparquet file, in the order of shards and rows."""

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalog import split_items
from catalog.errors import CorpusError

ROW_GROUP_ROWS = 4096  # a search by place or time then reads a few groups, not the file

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
    **split_items.PROPERTIES,
    "deepsentinel:shard": pa.int64(),
    "deepsentinel:index": pa.int64(),
}
"""Type of every item property that the index keeps: given, not inferred, so that all indices are alike."""

_TEXTS = {name: pa.string() for name in ("href", "title", "type")}
_ZARR = {"zarr:node_type": pa.string(), "zarr:zarr_format": pa.int32(), "zarr:consolidated": pa.bool_()}
_PATCH = {"type": pa.string(), "values": _STRINGS, "description": pa.string()}


def write_index(path: Path, items: Iterable[dict[str, Any]], collection: Mapping[str, Any]) -> None:
    """Write items, in the order given, as stac-geoparquet; the file appears whole or not at all.

    Args:
        items: at least one; hrefs relative to the index's folder.
        collection: kept in the file's metadata.
    """
    from stac_geoparquet.arrow import to_parquet

    groups = _row_groups(items)
    first = next(groups)
    rows = pa.RecordBatchReader.from_batches(first.schema, itertools.chain([first], groups))
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        to_parquet(rows, aside, collections={collection["id"]: collection}, compression="zstd")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_index(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read an index, one row a patch, sorted by shard and row.

    Args:
        columns: item properties (and "id", "geometry" as WKB); all of them where None. `deepsentinel:shard` and
            `deepsentinel:index` are always there, and so are `west`, `south`, `east` and `north` in degrees
            (west > east across the antimeridian). A property that the index is too old to hold is null.

    Raises:
        CorpusError: there is no index, or one that is damaged or no index of a corpus.
    """
    if not path.is_file():
        raise CorpusError(f"there is no index {path}; publish the build with catalog.publish")
    wanted = ["id", "geometry", *PROPERTIES] if columns is None else list(columns)
    keys = ["deepsentinel:shard", "deepsentinel:index"]
    try:
        absent = set(PROPERTIES) - {*pq.read_schema(path).names, *keys}
        asked = [name for name in dict.fromkeys([*wanted, *keys, "bbox"]) if name not in absent]
        table = pq.read_table(path, columns=asked)
    except pa.ArrowInvalid as error:
        reason = str(error).partition("\n")[0][:200]
        raise CorpusError(f"{path} is damaged or of another version ({reason}); publish the build again") from error
    for name in [name for name in wanted if name in absent]:  # published before items had it: stated by none
        table = table.append_column(name, pa.nulls(table.num_rows, PROPERTIES[name]))
    edges = table["bbox"].combine_chunks()
    for name, field in {"west": "xmin", "south": "ymin", "east": "xmax", "north": "ymax"}.items():
        table = table.append_column(name, pa.chunked_array([edges.field(field)]))
    table = table.drop_columns("bbox")
    shard, row = (table[key].to_numpy() for key in keys)
    steps = np.diff(shard), np.diff(row)
    if np.all((steps[0] > 0) | ((steps[0] == 0) & (steps[1] > 0))):
        return table  # as it was written; sorting would hold a million items twice
    return table.sort_by([(key, "ascending") for key in keys])


def indexed_fingerprint(path: Path) -> str | None:
    """Fingerprint of the collection that an index was written for; None where it states none."""
    stated = json.loads((pq.read_metadata(path).metadata or {}).get(b"stac-geoparquet", b"{}"))
    found = [collection.get("deepsentinel:fingerprint") for collection in stated.get("collections", {}).values()]
    return found[0] if found else None


def _row_groups(items: Iterable[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    # The public parse_stac_items_to_arrow gives its result the schema of its input and fails with one that is given
    # (stac-geoparquet 0.8), so each group goes through the function below it.
    from stac_geoparquet.arrow._api import stac_items_to_arrow

    rest, item_schema = iter(items), _item_schema()
    while group := list(itertools.islice(rest, ROW_GROUP_ROWS)):
        yield stac_items_to_arrow(group, schema=item_schema)


def _item_schema() -> pa.Schema:
    """How an item looks as Arrow, before stac-geoparquet turns properties into columns."""
    picture = pa.struct({**_TEXTS, "roles": _STRINGS})
    properties = {**PROPERTIES, "cube:dimensions": pa.struct({"patch": pa.struct(_PATCH)})}
    fields = {
        "type": pa.string(),
        "stac_version": pa.string(),
        "stac_extensions": _STRINGS,
        "id": pa.string(),
        "collection": pa.string(),
        "geometry": pa.binary(),
        "bbox": _NUMBERS,
        "properties": pa.struct(properties),
        "links": pa.list_(pa.struct({"rel": pa.string(), **_TEXTS})),
        "assets": pa.struct(
            {"data": pa.struct({**_TEXTS, "roles": _STRINGS, **_ZARR}), "thumbnail": picture, "overview": picture}
        ),
    }
    return pa.schema(fields)
