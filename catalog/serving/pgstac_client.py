"""Searches of a pgstac database, asked and answered as the SQLite index is."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attr
import orjson
import psycopg
import shapely
import shapely.geometry
from psycopg_pool import ConnectionPool
from stac_fastapi.extensions.filter.client import BaseFiltersClient
from starlette.requests import Request

from catalog.serving.client import PublishedClient
from catalog.serving.filters import query_to_cql2
from catalog.serving.guards import RequestError
from catalog.serving.pgstac_load import OWN_TIME
from catalog.serving.predicates import Predicates
from catalog.serving.published import Published
from catalog.serving.queryables import json_schema
from catalog.serving.requests import search_of
from catalog.serving.sqlite_search import Page
from catalog.serving.stated import Stated

_KEPT = ("collections", "ids", "bbox", "datetime", "limit", "token")  # parameters that pgstac takes as they are
_DEFAULT_ORDER = ({"field": OWN_TIME, "direction": "desc"}, {"field": "id", "direction": "desc"})


@attr.s
class PgstacClient(PublishedClient):
    """Searches one database."""

    pool: "ConnectionPool[psycopg.Connection[Any]]" = attr.ib(kw_only=True)
    stated: Stated = attr.ib(kw_only=True)

    def search_page(self, stated: Mapping[str, Any]) -> Page:
        """One page of a search."""
        search_of(Predicates(self.stated.all()), {**stated, "token": None})  # refuses what SQLite's would refuse
        search = pgstac_search(stated)
        found = self._found(search)
        following = next((one["href"].partition("token=")[2] for one in found["links"] if one["rel"] == "next"), None)
        token = None if following is None else f"{_order(search)}.{following}"
        return Page([self._document(item) for item in found["features"]], token, found.get("numberMatched"))

    def find_item(self, collection_id: str, item_id: str) -> bytes | None:
        """One item as it is stored, or None."""
        found = self._found({"collections": [collection_id], "ids": [item_id], "limit": 1})["features"]
        return self._document(found[0]) if found else None

    def _found(self, search: Mapping[str, Any]) -> dict[str, Any]:
        with self.pool.connection() as connection:
            try:
                row = connection.execute("SELECT search(%s::jsonb)::text", (orjson.dumps(search).decode(),)).fetchone()
            except (psycopg.DataError, psycopg.InternalError, psycopg.errors.RaiseException) as error:
                raise RequestError(f"the search cannot be answered: {str(error).splitlines()[0][:300]}") from error
        assert row is not None
        found: dict[str, Any] = orjson.loads(row[0])
        return found

    def _document(self, item: dict[str, Any]) -> bytes:
        """An item as it was loaded: without the property of its own, assets in the order that JSONB does not keep."""
        del item["properties"][OWN_TIME]
        assets = item["assets"]
        known = self.published.collection(item["collection"]).document.get("item_assets", {})
        item["assets"] = {name: assets[name] for name in (*(n for n in known if n in assets), *(assets.keys() - known))}
        return orjson.dumps(item)


@attr.s
class PgstacFilters(BaseFiltersClient):
    """What can be filtered on."""

    published: Published = attr.ib(kw_only=True)
    stated: Stated = attr.ib(kw_only=True)

    def get_queryables(self, collection_id: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Queryables of one collection, or of all of them."""
        title, asked = self.published.title, self.stated.all()
        if collection_id is not None:
            title = str(self.published.collection(collection_id).document.get("title", collection_id))
            asked = self.stated.of_collection.get(collection_id, ())
        request: Request = kwargs["request"]
        return json_schema(str(request.url), f"Queryables of {title}", asked, self.stated.values)


def pgstac_search(stated: Mapping[str, Any]) -> dict[str, Any]:
    """The search that pgstac understands.

    Args:
        stated: parameters by the names of POST requests, checked before.
    """
    search = {name: stated[name] for name in _KEPT if stated.get(name)}
    if "bbox" in search:
        search |= _area(search.pop("bbox"))
    if stated.get("intersects"):
        search["intersects"] = _parsed(stated["intersects"])
    filters = [_parsed(stated["filter"])] if stated.get("filter") else []
    if stated.get("query"):
        filters.append(query_to_cql2(_parsed(stated["query"])))
    if filters:
        search["filter"] = _renamed({"op": "and", "args": filters} if len(filters) > 1 else filters[0])
    search["sortby"] = [*_sort(stated.get("sortby") or ()), *_DEFAULT_ORDER]
    if "token" in search:
        order, _, search["token"] = search["token"].partition(".")
        if order != _order(search) or not search["token"].startswith("next:"):
            raise RequestError(
                "the token is of another order, or not of this server; take it from the link to the next page"
            )
    return search


def _order(search: Mapping[str, Any]) -> str:
    """Names the order of a search, in its tokens: pgstac would take one of another order and lose items."""
    return hashlib.sha256(orjson.dumps(search["sortby"])).hexdigest()[:8]


def _area(bbox: Sequence[float]) -> dict[str, Any]:
    """A box without heights; across the antimeridian, where pgstac would take what remains, two boxes cut there."""
    west, south, east, north = (bbox[i] for i in ((0, 1, 2, 3) if len(bbox) == 4 else (0, 1, 3, 4)))
    if west <= east:
        return {"bbox": [west, south, east, north]}
    parts = shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)
    return {"intersects": shapely.geometry.mapping(shapely.MultiPolygon(parts))}


def _name(stated: str) -> str:
    name = stated.removeprefix("properties.")
    return OWN_TIME if name == "datetime" else name


def _sort(stated: Sequence[Any]) -> Iterator[dict[str, str]]:
    for one in stated:
        if isinstance(one, str):
            yield {"field": _name(one.lstrip("+- ")), "direction": "desc" if one.startswith("-") else "asc"}
        else:
            yield {"field": _name(one["field"]), "direction": one["direction"]}


def _renamed(expression: Any) -> Any:
    """The same filter with pgstac's names of properties and operators."""
    if isinstance(expression, list):
        return [_renamed(part) for part in expression]
    if not isinstance(expression, dict):
        return expression
    if isinstance(expression.get("property"), str):
        return {"property": _name(expression["property"])}
    return {key: _renamed(value) for key, value in expression.items()} | _operator(expression)


def _operator(expression: Mapping[str, Any]) -> dict[str, str]:
    return {"op": "a_contained_by"} if str(expression.get("op")).lower() == "a_containedby" else {}


def _parsed(stated: Any) -> Any:
    return orjson.loads(stated) if isinstance(stated, str) else stated
