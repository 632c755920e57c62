"""Temporal relations of CQL2 (section 7.9), between the time of an item and a stated time."""

import re
from collections.abc import Mapping
from typing import Any

from catalog.serving.guards import RequestError
from catalog.serving.operands import Columns, exactly
from catalog.serving.queryables import Kind
from catalog.serving.sql import Condition, Sql
from catalog.serving.times import ALWAYS_US, to_us

RELATIONS: Mapping[str, str] = {
    "t_after": "{a} > {d}",
    "t_before": "{b} < {c}",
    "t_contains": "{a} < {c} AND {b} > {d}",
    "t_disjoint": "{a} > {d} OR {b} < {c}",
    "t_during": "{a} > {c} AND {b} < {d}",
    "t_equals": "{a} = {c} AND {b} = {d}",
    "t_finishedby": "{a} < {c} AND {b} = {d}",
    "t_finishes": "{a} > {c} AND {b} = {d}",
    "t_intersects": "{a} <= {d} AND {b} >= {c}",
    "t_meets": "{b} = {c}",
    "t_metby": "{a} = {d}",
    "t_overlappedby": "{a} > {c} AND {a} < {d} AND {b} > {d}",
    "t_overlaps": "{a} < {c} AND {b} > {c} AND {b} < {d}",
    "t_startedby": "{a} = {c} AND {b} > {d}",
    "t_starts": "{a} = {c} AND {b} < {d}",
}
"""Allen's relations (1983) of one time, from a to b, with another, from c to d."""


def relation(columns: Columns, operator: str, args: Any) -> Condition:
    """One of RELATIONS; the property `datetime` stands for the whole time of an item, from its start to its end.

    Raises:
        RequestError: an argument is no time.
    """
    (a, b), (c, d) = (_span(columns, arg) for arg in exactly(2, operator, args))
    pieces = {"a": a, "b": b, "c": c, "d": d}
    order = re.findall(r"{(.)}", RELATIONS[operator])
    text = RELATIONS[operator].format(**{name: piece.text for name, piece in pieces.items()})
    return Condition(Sql(text, tuple(value for name in order for value in pieces[name].values)))


def _span(columns: Columns, stated: Any) -> tuple[Sql, Sql]:
    """First and last microsecond of a property, an instant or an interval."""
    match stated:
        case {"interval": [start, end]}:
            return _end(columns, start, ALWAYS_US[0]), _end(columns, end, ALWAYS_US[1])
        case {"property": "datetime" | "properties.datetime"}:
            return Sql("_start"), Sql("_end")
    instant = _end(columns, stated, 0)
    return instant, instant


def _end(columns: Columns, stated: Any, open_us: int) -> Sql:
    if stated == "..":
        return Sql("?", (open_us,))
    operand = columns.operand(stated)
    if operand.kind is None:
        return Sql("?", (to_us(operand.sql.values[0]),))
    if operand.kind is not Kind.TIME:
        raise RequestError(f"{str(stated)[:100]} is no time")
    return operand.sql
