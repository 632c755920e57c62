"""What an index says about itself, asked of its tables: counts, queryables, values, and how far times reach."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from catalog.serving.queryables import MAX_VALUES, Kind, Queryable
from catalog.serving.sql import quoted


def describe(database: sqlite3.Connection, asked: Sequence[Queryable]) -> dict[str, Any]:
    """All of `meta` but the state that the index is of, and the dictionary of its documents."""
    counts, reaches, stated, complete = {}, [], {}, [True] * len(asked)
    for collection, count, before, after, *found in database.execute(_of_collections(asked)):
        counts[collection] = count
        reaches.append((before, after))
        stated[collection] = [one.name for one, known in zip(asked, found, strict=True) if known]
        complete = [whole and known == count for whole, known in zip(complete, found, strict=True)]
    values = {one.name: _values(database, number, one) for number, one in enumerate(asked)}
    return {
        "count": sum(counts.values()),
        "counts": counts,
        "queryables": [[one.name, one.kind.name] for one in asked],
        "of_collection": stated,
        "values": {name: found for name, found in values.items() if 0 < len(found) <= MAX_VALUES},
        "complete": sorted(one.name for one, whole in zip(asked, complete, strict=True) if whole),
        "reach": [max([0, *(reach[side] for reach in reaches)]) for side in (0, 1)],
    }


def _of_collections(asked: Sequence[Queryable]) -> str:
    """Of each collection: items, how far they start before and end after their datetime, and how many state what."""
    known = "".join(f", count({quoted(one.name)})" for one in asked)
    return (
        f'SELECT collection, count(*), max("datetime" - _start), max(_end - "datetime"){known} '
        'FROM item INDEXED BY "by collection" GROUP BY collection'
    )


def _values(database: sqlite3.Connection, number: int, asked: Queryable) -> list[Any]:
    """The values of a property, in order; of many one more than the limit. Times and numbers are not listed."""
    if asked.kind.is_array:
        found = _distinct(database, "value", "tag", f"property = {number}")
    elif asked.kind in (Kind.TEXT, Kind.TRUTH):
        found = _distinct(database, quoted(asked.name), "item", "1")
    else:
        return []
    return [bool(value) for value in found] if asked.kind is Kind.TRUTH else found


def _distinct(database: sqlite3.Connection, column: str, table: str, test: str) -> list[Any]:
    """From one value to the next through an index, so that many items of one value cost nothing."""
    text = (
        f"WITH RECURSIVE seen(found) AS (SELECT min({column}) FROM {table} WHERE {test} UNION ALL "
        f"SELECT (SELECT min({column}) FROM {table} WHERE {test} AND {column} > found) FROM seen "
        f"WHERE found IS NOT NULL LIMIT {MAX_VALUES + 2}) SELECT found FROM seen WHERE found IS NOT NULL"
    )
    return [value for (value,) in database.execute(text)]
