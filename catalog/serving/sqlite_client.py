"""The clients of stac-fastapi that read the SQLite index."""

import itertools
import queue
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attr
from stac_fastapi.extensions.filter.client import BaseFiltersClient
from starlette.requests import Request

from catalog.serving.client import PublishedClient
from catalog.serving.published import Published
from catalog.serving.queryables import json_schema
from catalog.serving.requests import search_of
from catalog.serving.sqlite_file import Meta, connect
from catalog.serving.sqlite_search import Page, Searcher


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
class SqliteClient(PublishedClient):
    """Searches one index."""

    index: Index = attr.ib(kw_only=True)

    def search_page(self, stated: Mapping[str, Any]) -> Page:
        """One page of a search."""
        searcher = self.index.searcher
        search = search_of(searcher.predicates, stated)
        with self.index.connection() as connection:
            return searcher.search(connection, search)

    def find_item(self, collection_id: str, item_id: str) -> bytes | None:
        """One item as it is stored, or None."""
        with self.index.connection() as connection:
            return self.index.searcher.item(connection, collection_id, item_id)


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
