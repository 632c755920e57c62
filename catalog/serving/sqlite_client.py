"""The clients of stac-fastapi that read the SQLite index."""

import itertools
import queue
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import attr
import orjson
from stac_fastapi.extensions.filter.client import BaseFiltersClient
from stac_fastapi.types.core import BaseCoreClient
from stac_fastapi.types.errors import NotFoundError
from starlette.requests import Request
from starlette.responses import Response

from catalog.collections import link
from catalog.serving.api import PREFIX
from catalog.serving.fields import Fields
from catalog.serving.files import STATIC
from catalog.serving.origin import served_collection, splice
from catalog.serving.published import Published
from catalog.serving.queryables import json_schema
from catalog.serving.requests import search_of
from catalog.serving.sqlite_search import Meta, Page, Searcher, connect

_GEOJSON = "application/geo+json"


class Index:
    """An index that is open to read, by as many threads as there are requests at once."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        with self.connection() as connection:
            self.searcher = Searcher(Meta.read(connection))

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one request."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = connect(self._path)
        try:
            yield connection
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        """Close all connections; none may be in use."""
        while not self._idle.empty():
            self._idle.get_nowait().close()


@attr.s
class SqliteClient(BaseCoreClient):
    """Landing page, collections, items and searches."""

    published: Published = attr.ib(kw_only=True)
    index: Index = attr.ib(kw_only=True)

    def landing_page(self, **kwargs: Any) -> Any:
        """The root of the API, with its collections as children."""
        origin = _origin(kwargs["request"])
        page = super().landing_page(**kwargs)
        page["links"].append(link("alternate", f"{origin}{STATIC}/catalog.json", "The same catalog as static files"))
        for one in self.published.collections:
            href = f"{origin}{PREFIX}/collections/{one.collection_id}"
            page["links"].append(link("child", href, one.document.get("title")))
        return page

    def all_collections(self, **kwargs: Any) -> Any:
        """Every collection."""
        origin = _origin(kwargs["request"])
        found = [served_collection(one.document, one.folder.name) for one in self.published.collections]
        links = [link("self", f"{origin}{PREFIX}/collections"), link("root", f"{origin}{PREFIX}/")]
        whole = {"collections": found, "links": links, "numberMatched": len(found), "numberReturned": len(found)}
        return Response(splice(orjson.dumps(whole), origin), media_type="application/json")

    def get_collection(self, collection_id: str, **kwargs: Any) -> Any:
        """One collection."""
        one = self.published.collection(collection_id)
        document = orjson.dumps(served_collection(one.document, one.folder.name))
        return Response(splice(document, _origin(kwargs["request"])), media_type="application/json")

    def get_item(self, item_id: str, collection_id: str, **kwargs: Any) -> Any:
        """One item."""
        self.published.collection(collection_id)
        with self.index.connection() as connection:
            found = self.index.searcher.item(connection, collection_id, item_id)
        if found is None:
            raise NotFoundError(f"collection {collection_id} has no item {item_id[:200]}")
        return Response(splice(found, _origin(kwargs["request"])), media_type=_GEOJSON)

    def item_collection(self, collection_id: str, *args: Any, **kwargs: Any) -> Any:
        """Items of one collection."""
        self.published.collection(collection_id)
        return self._get(kwargs.pop("request"), {**kwargs, "collections": [collection_id]})

    def get_search(self, *args: Any, **kwargs: Any) -> Any:
        """Search by GET."""
        return self._get(kwargs.pop("request"), kwargs)

    def post_search(self, search_request: Any, **kwargs: Any) -> Any:
        """Search by POST."""
        request: Request = kwargs["request"]
        stated = search_request.model_dump(mode="json", by_alias=True, exclude_unset=True)
        page = self._search(stated | {"limit": search_request.limit})
        wanted = stated.get("fields") if "fields" in stated else None
        fields = None if wanted is None else Fields.of(wanted.get("include"), wanted.get("exclude"))
        following: dict[str, Any] | None = None
        if page.token is not None:
            body = {**stated, "token": page.token}
            following = {**link("next", str(request.url), None, _GEOJSON), "method": "POST", "body": body}
        return _feature_collection(request, page, fields, following)

    def _get(self, request: Request, stated: Mapping[str, Any]) -> Response:
        page = self._search({**stated, "filter": stated.get("filter_expr")})
        fields = None if stated.get("fields") is None else Fields.parse(stated["fields"])
        following = None
        if page.token is not None:
            query = {**dict(request.query_params), "token": page.token}
            href = f"{_origin(request)}{request.url.path}?{urlencode(query)}"
            following = {**link("next", href, None, _GEOJSON), "method": "GET"}
        return _feature_collection(request, page, fields, following)

    def _search(self, stated: Mapping[str, Any]) -> Page:
        searcher = self.index.searcher
        search = search_of(searcher.predicates, stated)
        with self.index.connection() as connection:
            return searcher.search(connection, search)


@attr.s
class SqliteFilters(BaseFiltersClient):
    """What can be filtered on."""

    published: Published = attr.ib(kw_only=True)
    index: Index = attr.ib(kw_only=True)

    def get_queryables(self, collection_id: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Queryables of one collection, or of all of them."""
        meta, title = self.index.searcher.meta, self.published.title
        names = set(itertools.chain(*meta.of_collection.values()))
        if collection_id is not None:
            title = str(self.published.collection(collection_id).document.get("title", collection_id))
            names = set(meta.of_collection.get(collection_id, ()))
        request: Request = kwargs["request"]
        asked = [one for one in meta.asked if one.name in names]
        return json_schema(str(request.url), f"Queryables of {title}", asked, meta.values)


def _origin(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _feature_collection(
    request: Request, page: Page, fields: Fields | None, following: dict[str, Any] | None
) -> Response:
    """Documents as they are stored, put together as bytes: parsing them would take longer than finding them."""
    origin = _origin(request)
    links = [link("root", f"{origin}{PREFIX}/"), link("self", str(request.url), None, _GEOJSON)]
    tail: dict[str, Any] = {"links": [*links, following] if following else links}
    if page.matched is not None:
        tail["numberMatched"] = page.matched
    tail["numberReturned"] = len(page.documents)
    features = splice(b",".join(page.documents), origin)
    if fields is not None:
        kept = [fields.apply(item) for item in orjson.loads(b"[" + features + b"]")]
        features = orjson.dumps(kept)[1:-1]
    body = b'{"type":"FeatureCollection","features":[' + features + b"]," + orjson.dumps(tail)[1:]
    return Response(body, media_type=_GEOJSON)
