"""The STAC API under `/api`: stac-fastapi with extensions that every backend answers alike."""

import json
from typing import Annotated, Any, Literal

import attr
from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel, BeforeValidator, Field
from stac_fastapi.api.app import StacApi
from stac_fastapi.api.models import ItemCollectionUri, create_post_request_model, create_request_model
from stac_fastapi.extensions.fields import FieldsConformanceClasses, FieldsExtension
from stac_fastapi.extensions.filter import FilterConformanceClasses, FilterExtension
from stac_fastapi.extensions.pagination import TokenPaginationExtension
from stac_fastapi.extensions.query import QueryConformanceClasses, QueryExtension
from stac_fastapi.extensions.sort import SortConformanceClasses, SortExtension
from stac_fastapi.types.extension import ApiExtension
from stac_fastapi.types.search import APIRequest, BaseSearchGetRequest
from stac_pydantic.api.search import Intersection
from stac_pydantic.shared import BBox

from catalog.serving.backend import Backend
from catalog.serving.filters import parse_filter
from catalog.serving.geometries import check_bbox, count_corners
from catalog.serving.guards import RequestError

PREFIX = "/api"
_CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
# LIKE, BETWEEN and IN work, too, but stac-api-validator 0.6 tests who says so with a property that is not there.
_FILTER_CLASSES: list[str] = [
    FilterConformanceClasses.FILTER,
    FilterConformanceClasses.SEARCH,
    FilterConformanceClasses.ITEMS,
    FilterConformanceClasses.BASIC_CQL2,
    FilterConformanceClasses.CQL2_JSON,
    FilterConformanceClasses.CQL2_TEXT,
    FilterConformanceClasses.BASIC_SPATIAL_FUNCTIONS,
    FilterConformanceClasses.ARRAY_FUNCTIONS,
]
_SORT_CLASSES: list[str] = [
    SortConformanceClasses.ITEM_SEARCH_SORT,
    SortConformanceClasses.FEATURES_SORT,
    "https://api.stacspec.org/v1.0.0/item-search#sort",  # the one that pystac-client 0.9 looks for
]


def add_api(app: FastAPI, backend: Backend, *, title: str, description: str) -> None:
    """Put the routes of the STAC API on an application."""
    extensions = _extensions(backend)
    search_model = create_post_request_model(extensions, base_model=backend.search_model)
    StacApi(
        settings=backend.settings(title, description),
        client=backend.core(search_model),
        extensions=extensions,
        exceptions={},  # the application answers errors itself, without a traceback in the log
        title=title,
        description=description,
        app=app,
        router=APIRouter(prefix=PREFIX),
        search_get_request_model=_get_model("SearchGet", BaseSearchGetRequest, extensions),
        search_post_request_model=search_model,
        items_get_request_model=_get_model("ItemsGet", ItemCollectionUri, extensions),
        middlewares=[],  # one CORS for the whole origin stands before it; compression is a reverse proxy's work
    )


def _extensions(backend: Backend) -> list[ApiExtension]:
    return [
        TokenPaginationExtension(),
        FieldsExtension(conformance_classes=[FieldsConformanceClasses.SEARCH, FieldsConformanceClasses.ITEMS]),
        SortExtension(conformance_classes=_SORT_CLASSES),
        QueryExtension(conformance_classes=[QueryConformanceClasses.SEARCH, QueryConformanceClasses.ITEMS]),
        _filter(backend),
    ]


def _filter(backend: Backend) -> FilterExtension:
    """The filter extension with checked requests; no subclass, for stac-fastapi asks for it by its class's name."""
    extension = FilterExtension(client=backend.filters(), conformance_classes=_FILTER_CLASSES)
    extension.GET, extension.POST = _CheckedGet, _CheckedPost
    return extension


def _get_model(name: str, base: type[APIRequest], extensions: list[ApiExtension]) -> type[APIRequest]:
    model = create_request_model(name, base_model=base, extensions=extensions, request_type="GET")
    assert issubclass(model, APIRequest)
    return model


def _checked_bbox(stated: Any) -> Any:
    if isinstance(stated, list | tuple) and all(isinstance(edge, int | float) for edge in stated):
        check_bbox(stated)
    return stated


def _checked_geometry(stated: Any) -> Any:
    if isinstance(stated, dict):
        count_corners(stated)
    return stated


def _checked_crs(stated: Any) -> Any:
    if stated not in (None, _CRS84):
        raise RequestError(f"filter-crs is {str(stated)[:200]}; this server knows {_CRS84} alone")
    return stated


def _parsed_language(stated: Any) -> Any:
    """What the filter is in once it is parsed."""
    return "cql2-json" if stated == "cql2-text" else stated


@attr.s
class _CheckedGet(APIRequest):
    """Parameters of GET requests, checked before any backend sees them."""

    filter_expr: Annotated[str | None, Query(alias="filter", description="CQL2, as text or JSON")] = attr.ib(
        default=None
    )
    filter_crs: Annotated[str | None, Query(alias="filter-crs")] = attr.ib(default=None)
    filter_lang: Annotated[Literal["cql2-json", "cql2-text"] | None, Query(alias="filter-lang")] = attr.ib(
        default="cql2-text"
    )

    def __attrs_post_init__(self) -> None:
        _checked_bbox(getattr(self, "bbox", None))
        _checked_crs(self.filter_crs)
        if self.filter_expr is not None:
            # stac-fastapi-pgstac unquotes the filter of GET requests a second time
            self.filter_expr = (
                json.dumps(parse_filter(self.filter_expr)).replace("%", "\\u0025").replace("+", "\\u002b")
            )
            self.filter_lang = "cql2-json"


class _CheckedPost(BaseModel):
    """Members of POST requests, checked before any backend sees them; a filter may be text, too."""

    bbox: Annotated[BBox | None, BeforeValidator(_checked_bbox)] = None
    intersects: Annotated[Intersection | None, BeforeValidator(_checked_geometry)] = None
    filter_expr: Annotated[dict[str, Any] | None, BeforeValidator(parse_filter)] = Field(None, alias="filter")
    filter_crs: Annotated[str | None, BeforeValidator(_checked_crs)] = Field(None, alias="filter-crs")
    filter_lang: Annotated[Literal["cql2-json"] | None, BeforeValidator(_parsed_language)] = Field(
        "cql2-json", alias="filter-lang"
    )
