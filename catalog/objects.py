"""The table of objects of a labelled corpus: objects.parquet, one row an object and class, for detection.

A database of its own beside the pixels: (c) OpenStreetMap contributors, ODbL 1.0.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.geoparquet import GEO

NAME = "objects.parquet"
SCHEMA = pa.schema(
    {
        "patch_id": pa.string(),
        "class": pa.string(),
        "osm_type": pa.string(),
        "osm_id": pa.int64(),
        "x_min": pa.float32(),  # 10 m pixels from the patch's north-west corner, x to the east, y to the south
        "y_min": pa.float32(),
        "x_max": pa.float32(),
        "y_max": pa.float32(),
        "area_m2": pa.float32(),  # of what the patch shows
        "seen_share": pa.float32(),  # 0..1 of the whole object
        "geometry": pa.binary(),  # WKB of what the patch shows
    },
    {"geo": GEO, "licence": "ODbL 1.0, (c) OpenStreetMap contributors"},
)


def objects_path(build: Path, shard: int) -> Path:
    """Where a build keeps the objects of a shard."""
    return build / "objects" / f"{shard:06d}.parquet"


def merge_objects(paths: Iterable[Path], out: Path) -> int:
    """Join the objects of shards into one table, which appears whole or not at all; its number of rows."""
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    rows = 0
    with pq.ParquetWriter(aside, SCHEMA, compression="zstd") as writer:
        for path in paths:
            table = pq.read_table(path, schema=SCHEMA)
            rows += table.num_rows
            writer.write_table(table)
    aside.replace(out)
    return rows
