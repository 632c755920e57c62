"""Build the search index of a published folder: one SQLite file, made aside and renamed when it is whole.

Tables: `item`, one narrow row an item in the default order of results (the newest first), with a typed column for
every queryable; `area`, an R*Tree of footprints; `tag`, the values of array properties; `document`, the items as
compressed JSON, in the order of the geoparquet and so with neighbours on the ground together; `meta`, JSON by key.
"""

import hashlib
import itertools
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from catalog.errors import CorpusError
from catalog.serving.documents import read_documents
from catalog.serving.origin import served_item
from catalog.serving.published import Published, PublishedCollection
from catalog.serving.queryables import Kind, Queryable, queryables_of
from catalog.serving.sql import index_of, quoted
from catalog.serving.sqlite_file import compress
from catalog.serving.tally import Tally, column_value
from catalog.serving.times import to_us

FORMAT = 1  # raise it when the tables change
_OWN_COLUMNS = (
    "collection TEXT, _document INTEGER, _start INTEGER, _end INTEGER, _west REAL, _south REAL, _east REAL, _north REAL"
)
_BATCH = 2048
_DICTIONARY_BYTES = 16_384  # zlib looks twice as far back, but hashes all of it for every document
_SQL_TYPES = {Kind.NUMBER: "REAL", Kind.TRUTH: "INTEGER", Kind.TIME: "INTEGER"}

Report = Callable[[int], None]


def state_of(published: Published) -> str:
    """Changes with every publishing that changes something, and with the tables' format."""
    text = json.dumps([FORMAT, [one.state() for one in published.collections]])
    return hashlib.sha256(text.encode()).hexdigest()


def build_index(published: Published, path: Path, report: Report = lambda _: None) -> None:
    """Write the index of a published folder; it appears whole or not at all.

    Args:
        report: called with the number of items done since the last call.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside, staging = (path.with_name(f".{path.name}.{os.getpid()}{suffix}") for suffix in ("", ".staging"))
    state = state_of(published)
    try:
        with closing(sqlite3.connect(aside, isolation_level=None)) as database:
            database.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-262144")
            database.execute("ATTACH ? AS staging", (str(staging),))
            database.execute("PRAGMA staging.journal_mode=OFF")
            meta = _fill(database, published, report) | {"state": state}
            rows = [(key, value if key == "dictionary" else json.dumps(value)) for key, value in meta.items()]
            database.executemany("INSERT INTO meta VALUES (?, ?)", rows)
            database.execute("COMMIT")
        if state_of(published) != state:
            raise CorpusError(f"{published.folder} was published again while it was being indexed; start again")
        _sync(aside)
        aside.replace(path)
    finally:
        for file in (aside, staging):
            file.unlink(missing_ok=True)


def _fill(database: sqlite3.Connection, published: Published, report: Report) -> dict[str, Any]:
    """Fill all tables but `meta`; returns what belongs there."""
    collections = [one for one in published.collections if one.has_items]
    found = itertools.chain(*(queryables_of(pq.read_schema(one.items)) for one in collections))
    asked = tuple({one.name: one for one in found}.values())
    _create(database, asked)
    tally = Tally(asked)
    database.execute("BEGIN")
    dictionary = _dictionary(collections)
    first_document, of_collection = 0, {}
    for collection, places in zip(collections, _places(collections), strict=True):
        documents = range(first_document, first_document + len(places))
        items = zip(documents, places.tolist(), _items(collection), strict=True)
        while batch := list(itertools.islice(items, _BATCH)):
            _insert(database, batch, asked, dictionary, tally)
            report(len(batch))
        first_document += len(places)
        of_collection[collection.collection_id] = [one.name for one in asked if one.name in tally.stated]
        tally.stated.clear()
    _sort_in(database, asked)
    return {
        "count": first_document,
        "counts": dict(database.execute("SELECT collection, count(*) FROM item GROUP BY 1").fetchall()),
        "queryables": [[one.name, one.kind.name] for one in asked],
        "of_collection": of_collection,
        "values": tally.few(),
        "complete": sorted({one.name for one in asked} - tally.lacking),
        "reach": _reach(database),
        "dictionary": dictionary,
    }


def _create(database: sqlite3.Connection, asked: Sequence[Queryable]) -> None:
    typed = ", ".join(f"{quoted(one.name)} {_SQL_TYPES.get(one.kind, 'TEXT')}" for one in asked)
    columns = f"{_OWN_COLUMNS}, {typed}, id TEXT, _geometry BLOB"
    database.execute(f"CREATE TABLE item (n INTEGER PRIMARY KEY, {columns})")
    database.execute(f"CREATE TABLE staging.item (n, {columns})")
    database.execute("CREATE TABLE staging.tag (property, value, n)")
    key = "PRIMARY KEY (property, value, n)"
    database.execute(f"CREATE TABLE tag (property INTEGER, value, n INTEGER, {key}) WITHOUT ROWID")
    database.execute("CREATE VIRTUAL TABLE area USING rtree(k, west, east, south, north)")
    database.execute("CREATE TABLE document (d INTEGER PRIMARY KEY, body BLOB)")
    database.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value)")


def _places(collections: Sequence[PublishedCollection]) -> list[NDArray[np.int64]]:
    """Of every item of every collection, its place in the default order: by datetime, the newest first, then by id."""
    parts = [pq.read_table(one.items, columns=["datetime", "id"]) for one in collections]
    if not parts:
        return []
    times = pa.chunked_array([chunk for part in parts for chunk in _as_us(part["datetime"]).chunks], pa.int64())
    ids = pa.chunked_array([chunk for part in parts for chunk in part["id"].chunks], pa.string())
    table = pa.table({"time": times, "id": ids})
    order = pa.compute.sort_indices(table, [("time", "descending"), ("id", "descending")]).to_numpy()
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return np.split(places, np.cumsum([len(part) for part in parts])[:-1])


def _as_us(times: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(times.type):
        return times.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return pa.chunked_array([pa.array([to_us(text) for text in times.to_pylist()], pa.int64())])


def _items(collection: PublishedCollection) -> Iterator[dict[str, Any]]:
    for item in read_documents(collection.items):
        yield served_item(item, collection.folder.name)


def _dictionary(collections: Sequence[PublishedCollection]) -> bytes:
    """Items to compress the others against: they share nearly all of their text."""
    samples = [orjson.dumps(item) for one in collections for item in itertools.islice(_items(one), 4)]
    return b"".join(samples)[-_DICTIONARY_BYTES:]


def _insert(
    database: sqlite3.Connection,
    batch: Sequence[tuple[int, int, dict[str, Any]]],
    asked: Sequence[Queryable],
    dictionary: bytes,
    tally: Tally,
) -> None:
    items = [item for _, _, item in batch]
    shapes = shapely.to_wkb(shapely.from_geojson([orjson.dumps(item["geometry"]) for item in items]))
    arrays = [(number, one.name) for number, one in enumerate(asked) if one.kind.is_array]
    rows, tags, areas, documents = [], [], [], []
    for (document, place, item), shape in zip(batch, shapes, strict=True):
        properties, (west, south, east, north) = item["properties"], _edges(item["bbox"])
        values = [column_value(one, properties.get(one.name), tally) for one in asked]
        start, end = (
            to_us(properties.get(key) or properties["datetime"]) for key in ("start_datetime", "end_datetime")
        )
        rows.append(
            (place, item["collection"], document, start, end, west, south, east, north, *values, item["id"], shape)
        )
        tags += [(number, value, place) for number, name in arrays for value in set(properties.get(name) or ())]
        spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
        areas += [(2 * place + part, *span, south, north) for part, span in enumerate(spans)]
        documents.append((document, compress(orjson.dumps(item), dictionary)))
    marks = ", ".join("?" * len(rows[0]))
    database.executemany(f"INSERT INTO staging.item VALUES ({marks})", rows)
    database.executemany("INSERT INTO staging.tag VALUES (?, ?, ?)", tags)
    database.executemany("INSERT INTO area VALUES (?, ?, ?, ?, ?)", areas)
    database.executemany("INSERT INTO document VALUES (?, ?)", documents)


def _edges(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    half = len(bbox) // 2
    return bbox[0], bbox[1], bbox[half], bbox[half + 1]


def _sort_in(database: sqlite3.Connection, asked: Sequence[Queryable]) -> None:
    """Move what was staged into its final order, and index the columns that tell items apart."""
    database.execute("INSERT INTO main.item SELECT * FROM staging.item ORDER BY n")
    database.execute("INSERT INTO main.tag SELECT * FROM staging.tag ORDER BY property, value, n")
    for name in ("collection", "id", *(one.name for one in asked if not one.kind.is_array)):
        database.execute(f"CREATE INDEX {index_of(name)} ON item ({quoted(name)})")


def _reach(database: sqlite3.Connection) -> list[int]:
    """The furthest that an item's start lies before, and its end after, its datetime: microseconds."""
    row = database.execute('SELECT max("datetime" - _start), max(_end - "datetime") FROM item').fetchone()
    return [max(0, reach or 0) for reach in row]


def _sync(path: Path) -> None:
    """Let no power cut leave a file of the right name with the wrong bytes."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
