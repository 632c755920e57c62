"""Tables of embeddings as STAC: one item a GeoParquet file, linked to the model that made it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from catalog.assets import EXTENSIONS, PARQUET_TYPE, STAC_VERSION
from catalog.collections import link
from catalog.errors import CorpusError
from catalog.models import FOLDER as MODELS

FOLDER = "embeddings"
COLLECTION_ID = "deepsentinel-embeddings"
TITLE = "DeepSentinel embeddings"
NAME = "embeddings.parquet"
COLUMNS: dict[str, str] = {
    "id": "id of the embedded patch or crop",
    "geometry": "outline or centre, WKB, longitude and latitude",
    "datetime": "when it was seen, UTC",
    "embedding": "vector, float32",
}
"""Columns that a table of embeddings must have."""
CROPS: dict[str, str] = {
    "crop_row": "row of the crop in its patch, from the north",
    "crop_column": "column of the crop in its patch, from the west",
    "s1_valid_share": "share of the crop that Sentinel-1 measured in all bands",
    "s2_valid_share": "share of the crop that Sentinel-2 measured in all bands of 10 m",
}
"""Columns that the program embed adds."""


def build_embeddings_item(
    table: Path, item_id: str, model: Mapping[str, Any], file: Mapping[str, Any]
) -> dict[str, Any]:
    """The item of one table, with links relative to `embeddings/ID/`.

    Args:
        table: GeoParquet with `COLUMNS`.
        model: the published item of the model.
        file: what the file extension says about the table.

    Raises:
        CorpusError: the table lacks a column, or is empty.
    """
    schema, rows = pq.read_schema(table), pq.read_metadata(table).num_rows
    if missing := [name for name in COLUMNS if name not in schema.names]:
        raise CorpusError(f"{table} lacks the columns {', '.join(missing)}; write them with the program embed")
    if not rows:
        raise CorpusError(f"{table} holds no row; embed some patches first")
    columns = pq.read_table(table, columns=["geometry", "datetime"])
    west, south, east, north = map(float, shapely.total_bounds(shapely.from_wkb(columns["geometry"].to_numpy())))
    times = columns["datetime"].cast(pa.timestamp("us", tz="UTC")).to_numpy()
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    described = [{"name": name, "description": (COLUMNS | CROPS).get(name, name)} for name in schema.names]
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [EXTENSIONS["table"], EXTENSIONS["file"]],
        "id": item_id,
        "collection": COLLECTION_ID,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {
            "title": f"{rows:,} embeddings by {model['id']}",
            "datetime": None,
            "start_datetime": f"{times.min().astype('datetime64[s]')}Z",
            "end_datetime": f"{times.max().astype('datetime64[s]')}Z",
            "table:columns": described,
            "table:row_count": rows,
            "table:primary_geometry": "geometry",
            "deepsentinel:model": model["id"],
        },
        "links": [
            link("root", "../../catalog.json", "DeepSentinel"),
            link("parent", "../collection.json", TITLE),
            link("collection", "../collection.json", TITLE),
            link("derived_from", f"../../{MODELS}/{model['id']}/{model['id']}.json", model["properties"]["title"]),
        ],
        "assets": {
            "embeddings": {
                "href": f"./{NAME}", "title": "Embeddings", "type": PARQUET_TYPE, "roles": ["data"], **file,
            }
        },
    }  # fmt: skip


def build_embeddings(items: Sequence[Mapping[str, Any]], links: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The collection of embeddings.

    Args:
        items: at least one.
        links: to the items, in their order.
    """
    boxes = list(zip(*(item["bbox"] for item in items), strict=True))
    bbox = [min(boxes[0]), min(boxes[1]), max(boxes[2]), max(boxes[3])]
    start = min(item["properties"]["start_datetime"] for item in items)
    end = max(item["properties"]["end_datetime"] for item in items)
    return {
        "type": "Collection",
        "id": COLLECTION_ID,
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "title": TITLE,
        "description": "Vectors of places, one GeoParquet table an item, made by a model of this catalog. Tables have "
        f"the columns {', '.join(f'`{name}` ({text})' for name, text in COLUMNS.items())}.",
        "license": "CC-BY-4.0",
        "keywords": ["embeddings", "sentinel-1", "sentinel-2"],
        "extent": {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [[start, end]]}},
        "summaries": {"deepsentinel:model": sorted({item["properties"]["deepsentinel:model"] for item in items})},
        "links": [
            link("root", "../catalog.json", "DeepSentinel"),
            link("parent", "../catalog.json", "DeepSentinel"),
            *links,
        ],
    }
