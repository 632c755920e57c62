"""The backend that comes with this package: an index in one SQLite file, built when the catalog was published anew."""

import hashlib
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from stac_fastapi.types.config import ApiSettings
from stac_fastapi.types.search import BaseSearchPostRequest

from catalog.serving.published import Published
from catalog.serving.sqlite_build import Report, build_index, state_of
from catalog.serving.sqlite_client import Index, SqliteClient, SqliteFilters
from catalog.serving.sqlite_file import Meta, connect
from catalog.serving.sqlite_renew import renew_index


class SqliteBackend:
    """Answers from an index that `ensure_index` has made.

    Attributes:
        search_model: base of the model of POST /search.
    """

    search_model: type[BaseModel] = BaseSearchPostRequest

    def __init__(self, published: Published, index: Path) -> None:
        self._published = published
        self._index = Index(index)

    def settings(self, title: str, description: str) -> ApiSettings:
        """Settings of stac-fastapi, none of them from the environment."""
        return api_settings(self._published, title, description)

    def core(self, search_model: type[BaseModel]) -> SqliteClient:
        """Landing page, collections, items and searches."""
        return SqliteClient(
            published=self._published, index=self._index, landing_page_id=str(self._published.root["id"])
        )

    def filters(self) -> SqliteFilters:
        """What can be filtered on."""
        return SqliteFilters(published=self._published, index=self._index)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Close the index when the server ends."""
        try:
            yield
        finally:
            self._index.close()


def api_settings(published: Published, title: str, description: str) -> ApiSettings:
    """Settings of stac-fastapi, none of them from the environment."""
    stated: dict[str, Any] = {
        "stac_fastapi_title": title,
        "stac_fastapi_description": description,
        "stac_fastapi_landing_id": published.root["id"],
        "stac_fastapi_version": str(published.root["stac_version"]),
        "_env_file": None,
    }
    return ApiSettings(**stated)


def default_index(folder: Path) -> Path:
    """Where the index of a published folder lies unless another place is named: in the user's cache.

    Never in the folder itself, which may be read-only, and is replaced, copied and uploaded as a whole.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return cache / "deepsentinel" / f"{folder.resolve().name}-{place}.sqlite"


def ensure_index(published: Published, path: Path, report: Report = lambda _: None) -> bool:
    """Make the index of a published folder, unless it is there already; returns whether it was made.

    Of one that is there from before the folder was published anew, what did not change is taken over.

    Args:
        report: called with the number of items done since the last call.
    """
    state = _state(path)
    if state == state_of(published):
        return False
    if state is None or not renew_index(published, path, path, report):
        build_index(published, path, report)
    return True


def _state(path: Path) -> str | None:
    """State that an index was built for; None where there is none, or no whole one."""
    if not path.is_file():
        return None
    try:
        with closing(connect(str(path))) as connection:
            return Meta.read(connection).state
    except (sqlite3.DatabaseError, json.JSONDecodeError, KeyError, TypeError):
        return None
