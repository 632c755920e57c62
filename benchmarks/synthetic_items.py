"""A published folder of any number of made-up items, without pixels: only the documents and the geoparquet.

A few hundred items are built as publishing builds them; every other row repeats one of them with its own id, place,
times, quality and classes, so that a million rows take half a minute.
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from catalog import schema
from catalog.collections import CorpusRecord
from catalog.fake import fake_patches
from catalog.index import ROW_GROUP_ROWS, z_order
from catalog.item_table import to_batch
from catalog.items import build_item
from catalog.labels import CORINE
from catalog.publish import publish
from catalog.stats import BandStatistics

FIRST, LAST = dt.datetime(2017, 1, 1), dt.datetime(2024, 1, 1)
BOUNDS = (-120.0, -50.0, 150.0, 70.0)  # west, south, east, north in degrees
SIDE_DEG = 0.023  # 2.56 km of latitude
_TEMPLATES = 256
_CODES = np.array([one.code for one in CORINE])


def write_synthetic(folder: Path, build: Path, count: int, seed: int = 0) -> None:
    """Publish a small fake build in `folder`, then put `count` rows in the place of its items."""
    publish([build], folder, workers=1)
    record = CorpusRecord.read(build)
    patches = list(fake_patches(_TEMPLATES, side_px=16))
    items = [build_item(p.provenance, record, i // 64, i % 64, BandStatistics.of(p)) for i, p in enumerate(patches)]
    templates = pa.Table.from_batches([to_batch([_rebased(item) for item in items])])
    rng = np.random.default_rng(seed)
    west, south, east, north = BOUNDS
    lon, lat = rng.uniform(west, east, count), rng.uniform(south, north, count)
    order = z_order(lon, lat)
    path = folder / record.name / "items.parquet"
    metadata = pq.read_schema(path).metadata
    with pq.ParquetWriter(path, templates.schema.with_metadata(metadata), compression="zstd") as writer:
        for start in range(0, count, ROW_GROUP_ROWS):
            rows = order[start : start + ROW_GROUP_ROWS]
            writer.write_table(_rows(templates, start, lon[rows], lat[rows], rng), row_group_size=ROW_GROUP_ROWS)


def write_again(source: Path, folder: Path, seed: int = 0) -> dict[str, int]:
    """Publish in `folder` what `source` would be later: of every 1,000 items 10 more, 5 changed and 1 gone; how many.

    Only the collection's document and index are written, which is what servers look at.
    """
    rng, counts = np.random.default_rng(seed), {"new": 0, "changed": 0, "gone": 0}
    (folder / "labelled").mkdir(parents=True, exist_ok=True)
    for name in ("catalog.json", "labelled/collection.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    path = folder / "labelled" / "items.parquet"
    with (
        pq.ParquetFile(source / "labelled" / "items.parquet") as file,
        pq.ParquetWriter(path, file.schema_arrow, compression="zstd") as writer,
    ):
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group).combine_chunks()
            per_1000 = rows.num_rows / 1000
            gone, changed, new = (round(share * per_1000) for share in (1, 5, 10))
            kept = np.sort(rng.permutation(rows.num_rows)[gone:])
            more = _renamed(rows.take(pa.array(rng.integers(0, rows.num_rows, new))), counts["new"], rng)
            writer.write_table(pa.concat_tables([_resplit(rows.take(pa.array(kept)), changed, rng), more]))
            for name, count in (("new", new), ("changed", changed), ("gone", gone)):
                counts[name] += count
    return counts


def _renamed(rows: pa.Table, first: int, rng: np.random.Generator) -> pa.Table:
    """Rows of other ids and times."""
    times = rows["datetime"].to_numpy() + rng.integers(1, 86_400, len(rows)).astype("timedelta64[s]")
    drawn = {"id": pa.array([f"q{first + i:07d}" for i in range(len(rows))]), "datetime": pa.array(times)}
    return _with(rows, drawn)


def _resplit(rows: pa.Table, count: int, rng: np.random.Generator) -> pa.Table:
    """Some rows in another split."""
    splits = np.array(rows["deepsentinel:split"].to_pylist(), object)
    chosen = rng.permutation(len(rows))[:count]
    splits[chosen] = np.where(splits[chosen] == "train", "none", "train")
    return _with(rows, {"deepsentinel:split": pa.array(splits.tolist())})


def _with(rows: pa.Table, drawn: Mapping[str, pa.Array]) -> pa.Table:
    for name, values in drawn.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), values.cast(rows.schema.field(at).type))
    return rows


def _rebased(item: dict[str, Any]) -> dict[str, Any]:
    from catalog.items import rebase

    return rebase(item, "shard-000000")


def _rows(templates: pa.Table, first: int, lon: Any, lat: Any, rng: np.random.Generator) -> pa.Table:
    """Rows at these places; all else is drawn."""
    count = len(lon)
    span_s = int((LAST - FIRST).total_seconds())
    times = np.datetime64(FIRST, "us") + rng.integers(0, span_s, count).astype("timedelta64[s]")
    gaps = rng.integers(-72 * 3600, 72 * 3600, count).astype("timedelta64[s]")
    zone = pa.timestamp("us", tz="UTC")
    classes = [sorted(map(int, rng.choice(_CODES, 3, replace=False))) for _ in range(count)]
    cloud = np.round(rng.gamma(1.0, 12.0, count).clip(0, 100), 4)
    edges = [pa.array(edge) for edge in (lon, lat, lon + SIDE_DEG, lat + SIDE_DEG)]
    drawn = {
        "id": pa.array([f"p{first + i:07d}-{day}" for i, day in enumerate(times.astype("datetime64[D]").astype(str))]),
        "datetime": pa.array(times).cast(zone),
        "start_datetime": pa.array(np.minimum(times, times + gaps)).cast(zone),
        "end_datetime": pa.array(np.maximum(times, times + gaps)).cast(zone),
        "geometry": pa.array(shapely.to_wkb(shapely.box(lon, lat, lon + SIDE_DEG, lat + SIDE_DEG)), pa.binary()),
        "bbox": pa.StructArray.from_arrays(edges, ("xmin", "ymin", "xmax", "ymax")),
        "platform": pa.array(rng.choice(["sentinel-2a", "sentinel-2b"], count)),
        "eo:cloud_cover": pa.array(cloud),
        "deepsentinel:gap_hours": pa.array(gaps.astype("timedelta64[s]").astype(float) / 3600),
        "deepsentinel:corine_classes": pa.array(classes, pa.list_(pa.int32())),
        "deepsentinel:split": pa.array(
            rng.choice(["train", "test", "validate", "none"], count, p=[0.6, 0.2, 0.1, 0.1])
        ),
        "deepsentinel:shard": pa.array((first + np.arange(count)) // schema.SHARD_ROWS),
        "deepsentinel:index": pa.array((first + np.arange(count)) % schema.SHARD_ROWS),
    }
    return _with(templates.take(pa.array(rng.integers(0, templates.num_rows, count))), drawn)
