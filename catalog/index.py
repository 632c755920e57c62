"""The index of a collection: every item as one row of a stac-geoparquet file, neighbours on the ground together.

Rows lie in z-order of the footprints' centres, in groups of a few thousand, so that a search by place reads a few
groups and not the file, also from far away. `read_index` gives them in the order of shards and rows.
"""

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from catalog.errors import CorpusError
from catalog.item_table import PROPERTIES, to_batch, to_items

ROW_GROUP_ROWS = 4096  # a search by place or time then reads a few groups, not the file
DAMAGE = (pa.ArrowException, ValueError, OSError)
"""What pyarrow, and json for what it says about itself, raise over a damaged parquet file."""
BATCH_ROWS = 128  # an item of Python objects takes 60 kB, as Arrow 5 kB; more at once are no faster


def write_index(path: Path, items: Iterable[Mapping[str, Any]], collection: Mapping[str, Any]) -> None:
    """Write items, in the order given, as stac-geoparquet; the file appears whole or not at all.

    Args:
        items: at least one; hrefs relative to the index's folder; best in the order that `z_order` gives.
        collection: kept in the file's metadata.
    """
    rest = iter(items)
    write_batches(path, map(to_batch, iter(lambda: list(itertools.islice(rest, BATCH_ROWS)), [])), collection)


def write_batches(path: Path, batches: Iterable[pa.RecordBatch], collection: Mapping[str, Any]) -> None:
    """The same of items that are rows of Arrow already.

    Args:
        batches: at least one, as `catalog.item_table.to_batch` makes them.
        collection: kept in the file's metadata.
    """
    rest = iter(batches)
    first = next(rest)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        schema = first.schema.with_metadata(_metadata(collection))
        with pq.ParquetWriter(aside, schema, compression="zstd", write_page_checksum=True) as writer:
            for group in _row_groups(itertools.chain([first], rest)):
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
                del group  # 20 MB, while the next one is made
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def z_order(lon_deg: ArrayLike, lat_deg: ArrayLike) -> NDArray[np.intp]:
    """The order of points along Morton's curve, on which neighbours on the ground mostly lie together; stable."""
    cells = 2**16  # about 600 m of longitude at the equator
    x = np.clip((np.asarray(lon_deg, np.float64) + 180) / 360 * cells, 0, cells - 1).astype(np.uint32)
    y = np.clip((np.asarray(lat_deg, np.float64) + 90) / 180 * cells, 0, cells - 1).astype(np.uint32)
    return np.argsort(_spread(x) | _spread(y) << np.uint32(1), kind="stable")


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
    return read_open_index(path, str(path), columns)


def read_open_index(source: Path | BinaryIO, where: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The same from a file that is there, or from one opened on a remote store.

    Args:
        where: its address, for errors.

    Raises:
        CorpusError: it is damaged or no index of a corpus.
    """
    wanted = ["id", "geometry", *PROPERTIES] if columns is None else list(columns)
    keys = ["deepsentinel:shard", "deepsentinel:index"]
    try:
        # Neighbouring columns come in one request.
        with pq.ParquetFile(source, pre_buffer=True, page_checksum_verification=True) as file:
            known = {"id", "geometry", *PROPERTIES, *file.schema_arrow.names}
            if unknown := [name for name in wanted if name not in known]:
                raise CorpusError(f"{where} has no column {', '.join(unknown)}; it has {', '.join(sorted(known))}")
            absent = set(PROPERTIES) - {*file.schema_arrow.names, *keys}
            asked = [name for name in dict.fromkeys([*wanted, *keys, "bbox"]) if name not in absent]
            if missing := [name for name in asked if name not in file.schema_arrow.names]:
                raise pa.ArrowInvalid(f"it lacks {', '.join(missing)}")
            table = file.read(columns=asked)
            stated_fingerprint(table.schema.metadata)  # which the caller will ask for
    except DAMAGE as error:
        reason = str(error).partition("\n")[0][:200]
        raise CorpusError(f"{where} is damaged or of another version ({reason}); publish the build again") from error
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


def read_items(path: Path) -> Iterator[dict[str, Any]]:
    """The items of an index, row group by row group, as they stand in their JSON files but for where hrefs start.

    Raises:
        CorpusError: there is no index, or it is damaged.
    """
    if not path.is_file():
        raise CorpusError(f"there is no index {path}; publish the build with catalog.publish")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                yield from to_items(file.read_row_group(group))
    except DAMAGE as error:
        raise CorpusError(f"{path} is damaged ({str(error)[:200]}); publish the build again") from error


def indexed_fingerprint(path: Path) -> str | None:
    """Fingerprint of the collection that an index was written for; None where it states none."""
    return stated_fingerprint(pq.read_metadata(path).metadata)


def stated_fingerprint(metadata: Mapping[bytes, bytes] | None) -> str | None:
    """The same from the metadata of an index, or of a table that was read from one."""
    stated = json.loads((metadata or {}).get(b"stac-geoparquet", b"{}"))
    found = [collection.get("deepsentinel:fingerprint") for collection in stated.get("collections", {}).values()]
    return found[0] if found else None


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    waiting, rows = [], 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        while rows >= ROW_GROUP_ROWS:
            table, rows = pa.Table.from_batches(waiting), rows - ROW_GROUP_ROWS
            waiting, group = table.slice(ROW_GROUP_ROWS).to_batches(), table.slice(0, ROW_GROUP_ROWS)
            del table  # nothing but the next rows is kept while the group is written
            yield group.combine_chunks()
    if rows:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _metadata(collection: Mapping[str, Any]) -> dict[str, str]:
    """What the formats GeoParquet 1.1 and stac-geoparquet 1.1 say about the file as a whole."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["Polygon", "MultiPolygon"],
        "edges": "planar",
        "covering": {"bbox": {edge: ["bbox", edge] for edge in ("xmin", "ymin", "xmax", "ymax")}},
    }  # no crs: longitude and latitude
    if "extent" in collection:
        column["bbox"] = collection["extent"]["spatial"]["bbox"][0]
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    stac = {"version": "1.1.0", "collections": {collection["id"]: collection}}
    return {"geo": json.dumps(geo), "stac-geoparquet": json.dumps(stac)}


def _spread(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """16 bits, each followed by a zero (Morton 1966, by the shifts of Warren 2013, section 7-2)."""
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        bits = (bits | bits << np.uint32(shift)) & np.uint32(mask)
    return bits
