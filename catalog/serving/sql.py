"""Conditions that items must meet, as SQL over the index's tables; every value is bound.

Where an index can list the items of a condition, the condition comes with the query that lists them, so that a search
can start from the rarest.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import shapely

from catalog.serving.guards import RequestError

MAX_VALUES = 10_000  # of one list


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL and the values that are bound in it, in order."""

    text: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of a row of `item`."""

    test: Sql
    listers: tuple[Sql, ...] = ()
    """Each selects, from an index, as `n` every item that may meet it; none where only looking at each row tells."""


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def joined(word: str, parts: Sequence[Sql]) -> Sql:
    """Tests with AND or OR between them."""
    text = f" {word} ".join(f"({part.text})" for part in parts)
    return Sql(text, tuple(value for part in parts for value in part.values))


def listed(column: str, test: Sql) -> Condition:
    """A condition on one indexed column."""
    lister = Sql(f"SELECT n FROM item INDEXED BY {index_of(column)} WHERE {test.text}", test.values)
    return Condition(test, (lister,))


def index_of(column: str) -> str:
    """Name of the index of a column, quoted."""
    return quoted(f"by {column}")


def in_list(column: str, values: Sequence[Any]) -> Sql:
    """Whether a column holds one of many values.

    Args:
        column: already quoted.

    Raises:
        RequestError: there are more than the limit.
    """
    if len(values) > MAX_VALUES:
        raise RequestError(f"a list of {len(values):,} values (limit {MAX_VALUES:,}); ask in parts")
    return Sql(f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(list(values)),))


def in_ids(ids: Sequence[str]) -> Condition:
    """Items of these ids."""
    return listed("id", in_list("id", ids))


def in_bbox(west: float, south: float, east: float, north: float) -> Condition:
    """Items whose footprint touches a box in degrees; west > east crosses the antimeridian."""
    if west > east:
        left, right = in_bbox(west, south, 180, north), in_bbox(-180, south, east, north)
        (one,), (other,) = left.listers, right.listers
        both = Sql(f"{one.text} UNION ALL {other.text}", one.values + other.values)
        return Condition(joined("OR", [left.test, right.test]), (both,))
    test, lister = _near(west, south, east, north)
    inside = Sql(
        "_west >= ? AND _east <= ? AND _west <= _east AND _south >= ? AND _north <= ?", (west, east, south, north)
    )  # spares most items the look at their outline
    outline = Sql("intersects(_geometry, ?)", (shapely.to_wkb(shapely.box(west, south, east, north)),))
    return Condition(joined("AND", [test, joined("OR", [inside, outline])]), (lister,))


def in_shape(shape: shapely.Geometry) -> Condition:
    """Items whose footprint touches a shape in degrees."""
    test, lister = _near(*shape.bounds)
    return Condition(joined("AND", [test, Sql("intersects(_geometry, ?)", (shapely.to_wkb(shape),))]), (lister,))


def in_interval(start_us: int, end_us: int) -> Condition:
    """Items whose time, from the earlier of their scenes to the later, touches an interval."""
    return Condition(Sql("_start <= ? AND _end >= ?", (end_us, start_us)))


def _near(west: float, south: float, east: float, north: float) -> tuple[Sql, Sql]:
    """Whether the box of an item touches a box, and the query that lists such items."""
    test = Sql(
        "_south <= ? AND _north >= ? AND CASE WHEN _west <= _east THEN _west <= ? AND _east >= ? "
        "ELSE _west <= ? OR _east >= ? END",
        (north, south, east, west, east, west),
    )
    lister = Sql(
        "SELECT k >> 1 AS n FROM area WHERE west <= ? AND east >= ? AND south <= ? AND north >= ?",
        (east, west, north, south),
    )
    return test, lister
