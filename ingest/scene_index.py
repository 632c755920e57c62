"""The scene index on disk: one parquet file a chunk, with the raw items and the columns that matching needs."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from catalog.patch import Scene
from ingest.chunks import Chunk
from ingest.footprints import continuous
from ingest.scene_table import SceneTable
from ingest.search import Item
from ingest.sources.profile import Source, processing_age, scene_of, strip_key

OLDER_PROCESSING = "older_processing"
NO_SUCH_ASSET = "missing_asset"
"""Lacks an asset this project reads: mostly radar in HH and HV."""

LATEST = dt.timedelta(days=3)
"""After its acquisition a scene is in the index: products come within a day ("Fast-24h"), providers copy them then."""

_KNOWN_UNTIL = b"deepsentinel:known_until"
_SCHEMA = pa.schema(
    {
        "id": pa.string(), "acquired": pa.timestamp("us", tz="UTC"), "epsg": pa.int32(), "cloud": pa.float64(),
        "orbit": pa.string(), "tile": pa.string(), "footprint": pa.binary(), "strip": pa.string(),
        "baseline": pa.float64(), "generated": pa.string(), "usable": pa.bool_(), "item": pa.string(),
    }
)  # fmt: skip
_LIGHT = [name for name in _SCHEMA.names if name != "item"]


@dataclass(frozen=True, eq=False)
class Found:
    """Scenes of both sensors, and how many items were left out."""

    s2: SceneTable
    s1: SceneTable
    dropped: Counter[str]


def save_chunk(items: Iterable[Item], source: Source, path: Path, known_until: dt.datetime) -> None:
    """Write the items of a chunk, all or nothing, sorted by id.

    Args:
        known_until: when the provider was asked, or up to when its snapshot goes: what came later is not in it.
    """
    rows = [_row(item, source) for item in sorted(items, key=lambda item: str(item["id"]))]
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    schema = _SCHEMA.with_metadata({_KNOWN_UNTIL: known_until.isoformat()})
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), aside, compression="zstd")
    aside.rename(path)


def is_open(chunk: Chunk, folder: Path) -> bool:
    """Whether a saved chunk reaches past what was known when it was saved, so that scenes may have come since."""
    stated = (pq.read_schema(chunk.path(folder)).metadata or {}).get(_KNOWN_UNTIL)
    return stated is None or dt.datetime.fromisoformat(stated.decode()) < chunk.end + LATEST


def load_index(chunks: Sequence[Chunk], source: Source, folder: Path) -> Found:
    """The scenes of saved chunks, each once, by id; of several processings of one data strip the newest."""
    dropped: Counter[str] = Counter()
    tables = [
        _load([chunk.path(folder) for chunk in chunks if chunk.collection == collection], source, dropped)
        for collection in (source.s2_collection, source.s1_collection)
    ]
    return Found(tables[0], tables[1], dropped)


def _row(item: Item, source: Source) -> dict[str, Any]:
    scene = scene_of(item, source)
    baseline, generated, _ = processing_age(item)
    row: dict[str, Any] = {
        "id": item["id"], "strip": strip_key(item), "usable": scene is not None, "baseline": baseline,
        "generated": generated, "item": json.dumps(item, sort_keys=True),
    }  # fmt: skip
    if scene is None:
        return row
    return row | {
        "acquired": scene.acquired.astimezone(dt.UTC), "epsg": scene.epsg, "cloud": scene.cloud_cover,
        "orbit": scene.orbit_state, "tile": scene.tile, "footprint": shapely.to_wkb(scene.footprint),
    }  # fmt: skip


def _load(paths: Sequence[Path], source: Source, dropped: Counter[str]) -> SceneTable:
    parts = [pq.read_table(path, columns=_LIGHT) for path in paths]
    sizes = np.array([part.num_rows for part in parts], dtype=np.int64)
    table = pa.concat_tables(parts) if parts else _SCHEMA.empty_table().select(_LIGHT)
    place = np.stack(
        [np.repeat(np.arange(len(paths)), sizes), np.concatenate([np.arange(n) for n in sizes] or [sizes])]
    )
    rows = _unique(table["id"])
    usable = table["usable"].to_numpy()[rows]
    dropped[NO_SUCH_ASSET] += int((~usable).sum())
    newest = _newest(table.take(rows[usable]))
    dropped[OLDER_PROCESSING] += int(usable.sum()) - len(newest)
    kept = rows[usable][newest]
    return _scene_table(table.take(kept), paths, place[:, kept], source)


def _unique(ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Rows of the first occurrence of each id, in the order of ids."""
    rows: NDArray[np.int64] = np.unique(ids.to_numpy().astype(str), return_index=True)[1]
    return rows


def _newest(table: pa.Table) -> NDArray[np.int64]:
    """Rows, rising, of the newest baseline, then the newest generation, then the last id, of each strip key."""
    newest: dict[str, tuple[float, str, str, int]] = {}
    columns = (table[name].to_pylist() for name in ("strip", "baseline", "generated", "id"))
    for row, (strip, *age) in enumerate(zip(*columns, strict=True)):
        newest[strip] = max(newest.get(strip, (-1.0, "", "", -1)), (*age, row))
    return np.sort(np.array([age[-1] for age in newest.values()], dtype=np.int64))


def _scene_table(table: pa.Table, paths: Sequence[Path], place: NDArray[np.int64], source: Source) -> SceneTable:
    def load(rows: NDArray[np.int64]) -> list[Scene]:
        scenes: dict[int, Scene] = {}
        for file in np.unique(place[0, rows]).tolist():
            texts = pq.read_table(paths[file], columns=["item"])["item"]
            for row in rows[place[0, rows] == file].tolist():
                scene = scene_of(json.loads(texts[int(place[1, row])].as_py()), source)
                assert scene is not None, "only usable items are in the table"
                scenes[row] = scene
        return [scenes[row] for row in rows.tolist()]

    return SceneTable(
        item_id=table["id"].to_numpy().astype(object),
        acquired_us=table["acquired"].cast(pa.int64()).to_numpy(),
        epsg=table["epsg"].to_numpy().astype(np.int64),
        cloud=table["cloud"].fill_null(float("nan")).to_numpy(),
        orbit=table["orbit"].fill_null("").to_numpy().astype("U10"),
        tile=table["tile"].fill_null("").to_numpy().astype("U5"),
        footprint=continuous(shapely.from_wkb(table["footprint"].to_numpy())),
        load=load,
    )
