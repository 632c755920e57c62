"""From the parameters of a request to a search of the index."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from catalog.serving.filters import query_to_cql2
from catalog.serving.geometries import check_bbox, shape_of
from catalog.serving.guards import RequestError
from catalog.serving.predicates import Predicates
from catalog.serving.sql import Condition, in_bbox, in_ids, in_shape
from catalog.serving.sqlite_search import Search
from catalog.serving.times import to_interval_us


def search_of(predicates: Predicates, stated: Mapping[str, Any]) -> Search:
    """The search that a request asks for.

    Args:
        stated: parameters by the names of POST requests; what is null was not stated. `intersects`, `filter` and
            `query` may be text of JSON.

    Raises:
        RequestError: one of them cannot be answered.
    """
    collections, interval = stated.get("collections"), stated.get("datetime")
    return Search(
        collections=frozenset(collections) if collections else None,
        conditions=tuple(_conditions(predicates, stated)),
        interval_us=to_interval_us(interval) if interval else None,
        sort=_sort(predicates, stated.get("sortby") or ()),
        limit=stated.get("limit") or 10,
        token=stated.get("token"),
    )


def _conditions(predicates: Predicates, stated: Mapping[str, Any]) -> list[Condition]:
    found: list[Condition] = []
    if stated.get("ids"):
        found.append(in_ids(stated["ids"]))
    if stated.get("bbox"):
        found.append(in_bbox(*check_bbox(stated["bbox"])))
    if stated.get("intersects"):
        if stated.get("bbox"):
            raise RequestError("bbox and intersects exclude each other; give one of them")
        found.append(in_shape(shape_of(_object("intersects", stated["intersects"]))))
    if stated.get("query"):
        found += predicates.conditions(query_to_cql2(_object("query", stated["query"])))
    if stated.get("filter"):
        found += predicates.conditions(_object("filter", stated["filter"]))
    return found


def _sort(predicates: Predicates, stated: Sequence[Any]) -> tuple[tuple[str, bool], ...]:
    """Columns to sort by: of GET requests names with a sign, of POST requests objects with field and direction."""
    keys: dict[str, bool] = {}
    for one in stated:
        if isinstance(one, str):
            name, descends = one.lstrip("+- "), one.startswith("-")
        else:
            name, descends = one["field"], one["direction"] == "desc"
        column, kind = predicates.columns.property(name)
        if kind.is_array:
            raise RequestError(f"{name!r} is an array; sort by a property with one value")
        keys.setdefault(column, descends)
    return tuple(keys.items())


def _object(name: str, stated: Any) -> Any:
    """What a GET request states as text of JSON, as the object that it is."""
    if not isinstance(stated, str):
        return stated
    try:
        return json.loads(stated)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{name} is no JSON: {error}") from error
