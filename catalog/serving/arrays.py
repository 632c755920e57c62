"""Array operators of CQL2 (section 7.10): arrays are sets, whose values the `tag` table lists by property."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from catalog.serving.guards import RequestError
from catalog.serving.operands import exactly
from catalog.serving.queryables import Kind, Queryable
from catalog.serving.sql import Condition, Sql, in_list, joined, quoted


def array_condition(asked: Sequence[Queryable], operator: str, args: Any) -> Condition:
    """One of OPERATORS.

    Args:
        asked: in the order in which the `tag` table numbers them.

    Raises:
        RequestError: the arguments are not an array property and a list of its kind.
    """
    stated, values = exactly(2, operator, args)
    name = str(stated.get("property")).removeprefix("properties.") if isinstance(stated, Mapping) else None
    found = [(number, one) for number, one in enumerate(asked) if one.name == name and one.kind.is_array]
    if not found:
        arrays = ", ".join(one.name for one in asked if one.kind.is_array)
        raise RequestError(
            f"{operator} compares an array property with a list; {str(stated)[:100]} is none of {arrays}"
        )
    number, one = found[0]
    values = values if isinstance(values, list) else [values]
    wanted = (int, float) if one.kind is Kind.NUMBERS else (str,)
    if not values or not all(isinstance(value, wanted) and not isinstance(value, bool) for value in values):
        raise RequestError(f"{name!r} is an {one.kind.value}; {operator} needs a list of such values")
    condition = OPERATORS[operator](number, quoted(one.name), values)
    test = Sql(f"CASE WHEN {quoted(one.name)} IS NOT NULL THEN {condition.test.text} END", condition.test.values)
    return Condition(test, condition.listers)


def _contains(number: int, column: str, values: Sequence[Any]) -> Condition:
    """All of the values are in the array."""
    has = "EXISTS (SELECT 1 FROM tag WHERE property = ? AND value = ? AND tag.n = item.n)"
    lists = "SELECT n FROM tag WHERE property = ? AND value = ?"
    distinct = sorted(set(values))
    return Condition(
        joined("AND", [Sql(has, (number, value)) for value in distinct]),
        tuple(Sql(lists, (number, value)) for value in distinct),
    )


def _overlaps(number: int, column: str, values: Sequence[Any]) -> Condition:
    """One of the values is in the array."""
    bound = (number, json.dumps(list(values)))
    where = "FROM tag WHERE property = ? AND value IN (SELECT value FROM json_each(?))"
    return Condition(Sql(f"EXISTS (SELECT 1 {where} AND tag.n = item.n)", bound), (Sql(f"SELECT n {where}", bound),))


def _contained(number: int, column: str, values: Sequence[Any]) -> Condition:
    """The array holds none but the values."""
    inside = in_list("own.value", values)
    return Condition(
        Sql(f"NOT EXISTS (SELECT 1 FROM json_each({column}) AS own WHERE NOT {inside.text})", inside.values)
    )


def _equals(number: int, column: str, values: Sequence[Any]) -> Condition:
    """The array holds the values and no others."""
    contains = _contains(number, column, values)
    return Condition(joined("AND", [contains.test, _contained(number, column, values).test]), contains.listers)


OPERATORS: Mapping[str, Callable[[int, str, Sequence[Any]], Condition]] = {
    "a_contains": _contains,
    "a_overlaps": _overlaps,
    "a_containedby": _contained,
    "a_equals": _equals,
}
