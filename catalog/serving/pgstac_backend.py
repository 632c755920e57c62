"""The backend for those who outgrow one file: PostgreSQL with PostGIS and pgstac, searched by many servers at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from fastapi import FastAPI
from psycopg_pool import ConnectionPool
from pydantic import BaseModel
from stac_fastapi.types.config import ApiSettings
from stac_fastapi.types.search import BaseSearchPostRequest

from catalog.serving.pgstac_client import PgstacClient, PgstacFilters
from catalog.serving.published import Published
from catalog.serving.sqlite_backend import api_settings
from catalog.serving.stated import Stated

MAX_CONNECTIONS = 8  # PostgreSQL's default allows 100 to all servers together
_SESSION = "-csearch_path=pgstac,public -cpgstac.context=auto"  # exact counts where they are cheap


class PgstacBackend:
    """Answers from a database that `pgstac_load.load` has filled.

    Attributes:
        search_model: base of the model of POST /search.
    """

    search_model: type[BaseModel] = BaseSearchPostRequest

    def __init__(self, published: Published, database: str) -> None:
        self._published = published
        self._stated = Stated.of(published)
        self._pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            database, min_size=1, max_size=MAX_CONNECTIONS, open=False,
            kwargs={"autocommit": True, "options": _SESSION},
        )  # fmt: skip

    def settings(self, title: str, description: str) -> ApiSettings:
        """Settings of stac-fastapi, none of them from the environment."""
        return api_settings(self._published, title, description)

    def core(self, search_model: type[BaseModel]) -> PgstacClient:
        """Landing page, collections, items and searches."""
        return PgstacClient(
            published=self._published, pool=self._pool, stated=self._stated,
            landing_page_id=str(self._published.root["id"]),
        )  # fmt: skip

    def filters(self) -> PgstacFilters:
        """What can be filtered on."""
        return PgstacFilters(published=self._published, stated=self._stated)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Hold connections while the server runs."""
        with self._pool:
            yield
