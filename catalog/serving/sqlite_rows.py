"""Rows of an index of items as rows of the tables of a search index, column by column."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from catalog.serving.documents import documents
from catalog.serving.places import as_us
from catalog.serving.queryables import Kind, Queryable
from catalog.serving.sqlite_file import compress

OWN_COLUMNS = (
    "collection TEXT, _document INTEGER, _start INTEGER, _end INTEGER, _west REAL, _south REAL, _east REAL, _north REAL"
)
"""Before those of the queryables; after them follow id and _geometry."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of each table."""

    item: list[tuple[Any, ...]]
    tag: list[tuple[int, Any, int]]
    area: list[tuple[float, ...]]
    document: list[tuple[int, bytes]]
    origin: list[tuple[int, int]]


def rows_of(
    rows: pa.Table,
    places: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    first_document: int,
    asked: Sequence[Queryable],
    folder: str,
    dictionary: bytes,
) -> Rows:
    """What the tables hold of some items of one collection.

    Args:
        places: of the items.
        hashes: of their rows.
        first_document: number of the document of the first.
        folder: name of the collection's folder.
    """
    n = places.tolist()
    numbers = range(first_document, first_document + len(n))
    box = rows["bbox"].combine_chunks()
    edges = [box.field(edge).to_pylist() for edge in ("xmin", "ymin", "xmax", "ymax")]
    values = [_values(rows, one) for one in asked]
    times = (_times(rows, name) for name in ("start_datetime", "end_datetime"))
    columns = (rows["collection"].to_pylist(), numbers, *times, *edges, *map(_cells, asked, values))
    outside = (rows["id"].to_pylist(), rows["geometry"].to_pylist())
    bodies = [compress(document, dictionary) for document in documents(rows, folder)]
    return Rows(
        list(zip(n, *columns, *outside, strict=True)),
        [tag for k, one in enumerate(asked) if one.kind.is_array for tag in _tags(k, values[k], n)],
        [area for row in zip(n, *edges, strict=True) for area in _areas(*row)],
        list(zip(numbers, bodies, strict=True)),
        list(zip(n, hashes.view(np.int64).tolist(), strict=True)),
    )


def _values(rows: pa.Table, asked: Queryable) -> list[Any]:
    """A property of each row; a collection need not have those of another."""
    if asked.name not in rows.schema.names:
        return [None] * rows.num_rows
    column = rows[asked.name]
    return list((as_us(column) if asked.kind is Kind.TIME else column).to_pylist())


def _cells(asked: Queryable, values: list[Any]) -> list[Any]:
    """Values as their column holds them."""
    if not asked.kind.is_array:
        return values
    return [None if value is None else orjson.dumps(value).decode() for value in values]


def _times(rows: pa.Table, name: str) -> list[int]:
    """Start or end of each row, which is its `datetime` where it states none."""
    time = as_us(rows["datetime"])
    stated = as_us(rows[name]) if name in rows.schema.names else time
    return list(pc.coalesce(stated.combine_chunks(), time.combine_chunks()).to_pylist())


def _tags(number: int, values: list[Any], places: list[int]) -> list[tuple[int, Any, int]]:
    return [(number, one, n) for value, n in zip(values, places, strict=True) for one in set(value or ())]


def _areas(n: int, west: float, south: float, east: float, north: float) -> list[tuple[float, ...]]:
    """One box, or two across the antimeridian."""
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    return [(2 * n + part, *span, south, north) for part, span in enumerate(spans)]
