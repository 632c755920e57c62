"""What a search backend gives to stand behind the API: a stac-fastapi client, its queryables, and how it starts."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from fastapi import FastAPI
from pydantic import BaseModel
from stac_fastapi.extensions.filter.client import AsyncBaseFiltersClient, BaseFiltersClient
from stac_fastapi.types.config import ApiSettings
from stac_fastapi.types.core import AsyncBaseCoreClient, BaseCoreClient


class Backend(Protocol):
    """One way to answer searches; `catalog.serving.app.create_app` asks it for its parts, once each."""

    @property
    def search_model(self) -> type[BaseModel]:
        """Base of the model of POST /search; the extensions of the API add their fields to it."""

    def settings(self, title: str, description: str) -> ApiSettings:
        """Settings of stac-fastapi: plain ones, or the backend's own kind."""

    def core(self, search_model: type[BaseModel]) -> BaseCoreClient | AsyncBaseCoreClient:
        """Answers landing page, collections, items and searches.

        Args:
            search_model: the finished model of POST /search.
        """

    def filters(self) -> BaseFiltersClient | AsyncBaseFiltersClient:
        """Answers what can be filtered on."""

    def lifespan(self, app: FastAPI) -> AbstractAsyncContextManager[None]:
        """Hold connections while the server runs; entered before the first request, left after the last."""
