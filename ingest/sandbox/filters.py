"""Which items a search wants: the `query` and CQL2-JSON `filter` extensions, `datetime`, `sortby`.

Values compare as their JSON types do; a comparison with a missing property or another type is false.
"""

import datetime as dt
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from catalog.errors import DeepSentinelError
from catalog.patch import parse_time

Item = Mapping[str, Any]
Predicate = Callable[[Item], bool]
Interval = tuple[dt.datetime, dt.datetime]

_FIRST, _LAST = dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)
_QUERY: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "in": lambda value, choices: value in choices,
}
_CQL2: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, choices: value in choices,
}


class BadRequestError(DeepSentinelError):
    """A search that the API cannot answer; the message goes to the client with status 400."""


def property_of(item: Item, name: str) -> Any:
    """A property by its name in a search: of the item itself or of its `properties`; None where absent."""
    name = name.removeprefix("properties.")
    return item[name] if name in ("id", "collection") else item["properties"].get(name)


def query_predicate(query: Mapping[str, Mapping[str, Any]]) -> Predicate:
    """All conditions of the `query` extension: {property: {operator: value}}.

    Raises:
        BadRequestError: an unknown operator, or not of this form.
    """
    if not isinstance(query, Mapping) or not all(isinstance(tests, Mapping) for tests in query.values()):
        raise BadRequestError("query must be an object of objects, such as {'eo:cloud_cover': {'lt': 20}}")
    tests = [(name, op, value) for name, tests in query.items() for op, value in tests.items()]
    unknown = sorted({op for _, op, _ in tests} - set(_QUERY))
    if unknown:
        raise BadRequestError(f"query operators {unknown} are not supported; use one of {sorted(_QUERY)}")
    return lambda item: all(_holds(_QUERY[op], property_of(item, name), value) for name, op, value in tests)


def cql2_predicate(expression: Any) -> Predicate:
    """A CQL2-JSON expression of and, or, not, comparisons, between and in; properties come first.

    Raises:
        BadRequestError: any other operator or form.
    """
    if not isinstance(expression, Mapping) or not isinstance(expression.get("args"), Sequence):
        raise BadRequestError(f"filter must be CQL2-JSON with op and args, not {expression!r}")
    op, args = expression.get("op"), expression["args"]
    if op in ("and", "or"):
        parts = [cql2_predicate(part) for part in args]
        combine = all if op == "and" else any
        return lambda item: combine(part(item) for part in parts)
    if op == "not" and len(args) == 1:
        negated = cql2_predicate(args[0])
        return lambda item: not negated(item)
    name = args[0].get("property") if args and isinstance(args[0], Mapping) else None
    if isinstance(name, str) and op == "between" and len(args) == 3:
        low, high = args[1:]
        return lambda item: (
            _holds(_CQL2[">="], property_of(item, name), low) and _holds(_CQL2["<="], property_of(item, name), high)
        )
    if isinstance(name, str) and op in _CQL2 and len(args) == 2:
        return lambda item: _holds(_CQL2[op], property_of(item, name), args[1])
    raise BadRequestError(f"filter {expression!r} is not supported; use and, or, not, between or one of {list(_CQL2)}")


def parse_interval(text: str) -> Interval:
    """First and last moment of a `datetime` parameter: one time, or two joined by "/", ".." or empty for open.

    Raises:
        BadRequestError: not times of RFC 3339, open on both sides, or last before first.
    """
    ends = text.split("/") if isinstance(text, str) else []
    try:
        first = _FIRST if ends[0] in ("", "..") else parse_time(ends[0])
        last = _LAST if ends[-1] in ("", "..") else parse_time(ends[-1])
    except (ValueError, IndexError):
        raise BadRequestError(f"datetime {text!r} is not RFC 3339, nor two such times joined by a slash") from None
    if len(ends) > 2 or last < first or (first, last) == (_FIRST, _LAST):
        raise BadRequestError(f"datetime {text!r} is not an interval; give first/last, one of which may be ..")
    return first, last


def item_interval(item: Item) -> Interval:
    """First and last moment of an item: its start and end where it has them, else its `datetime` twice."""
    properties = item["properties"]
    start, end = (properties.get(name) or properties["datetime"] for name in ("start_datetime", "end_datetime"))
    return parse_time(start), parse_time(end)


def sort_items(items: Sequence[Item], sortby: Sequence[Mapping[str, str]]) -> list[Item]:
    """Items in the order of `sortby`, ties by id from Z to A; by start time, latest first, when it is empty.

    Items without a property come last in both directions, as in the database behind the real API.

    Raises:
        BadRequestError: not a list of {"field": name, "direction": "asc" or "desc"}.
    """
    items = sorted(items, key=lambda item: str(item["id"]), reverse=True)
    for rule in reversed(sortby or [{"field": "datetime", "direction": "desc"}]):
        if not isinstance(rule, Mapping) or rule.get("direction", "asc") not in ("asc", "desc") or "field" not in rule:
            raise BadRequestError(f"sortby {rule!r} is not a field and a direction, asc or desc")
        present = [item for item in items if _sort_key(item, rule["field"]) is not None]
        absent = [item for item in items if _sort_key(item, rule["field"]) is None]
        descending = rule.get("direction") == "desc"
        try:
            present.sort(key=lambda item, field=rule["field"]: _sort_key(item, field), reverse=descending)  # type: ignore[misc]
        except TypeError:
            raise BadRequestError(f"cannot sort by {rule['field']}: its values are of several types") from None
        items = present + absent
    return items


def _sort_key(item: Item, field: str) -> Any:
    return item_interval(item)[0] if field in ("datetime", "properties.datetime") else property_of(item, field)


def _holds(test: Callable[[Any, Any], Any], value: Any, wanted: Any) -> bool:
    try:
        return value is not None and bool(test(value, wanted))
    except TypeError:
        return False
