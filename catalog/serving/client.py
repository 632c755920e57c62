"""Answers of the API that are the same whatever finds the items: documents, links, pages, fields, queryables."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import attr
import orjson
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
from catalog.serving.sqlite_search import Page

_GEOJSON = "application/geo+json"


@attr.s
class PublishedClient(BaseCoreClient):
    """Landing page, collections, items and searches."""

    published: Published = attr.ib(kw_only=True)

    @abstractmethod
    def search_page(self, stated: Mapping[str, Any]) -> Page:
        """One page of a search.

        Args:
            stated: parameters by the names of POST requests, as `catalog.serving.requests.search_of` takes them.
        """

    @abstractmethod
    def find_item(self, collection_id: str, item_id: str) -> bytes | None:
        """One item as it is stored, or None."""

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
        found = self.find_item(collection_id, item_id)
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
        page = self.search_page(stated | {"limit": search_request.limit})
        wanted = stated.get("fields") if "fields" in stated else None
        fields = None if wanted is None else Fields.of(wanted.get("include"), wanted.get("exclude"))
        following: dict[str, Any] | None = None
        if page.token is not None:
            body = {**stated, "token": page.token}
            following = {**link("next", str(request.url), None, _GEOJSON), "method": "POST", "body": body}
        return _feature_collection(request, page, fields, following)

    def _get(self, request: Request, stated: Mapping[str, Any]) -> Response:
        page = self.search_page({**stated, "filter": stated.get("filter_expr")})
        fields = None if stated.get("fields") is None else Fields.parse(stated["fields"])
        following = None
        if page.token is not None:
            query = {**dict(request.query_params), "token": page.token}
            href = f"{_origin(request)}{request.url.path}?{urlencode(query)}"
            following = {**link("next", href, None, _GEOJSON), "method": "GET"}
        return _feature_collection(request, page, fields, following)


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
    features = [splice(document, origin) for document in page.documents]
    if fields is not None:
        features = [orjson.dumps(fields.apply(orjson.loads(item))) for item in features]
    opening, ending = b'{"type":"FeatureCollection","features":[', b"]," + orjson.dumps(tail)[1:]
    if not features:
        return Response(opening + ending, media_type=_GEOJSON)
    features[0] = opening + features[0]  # so that all are joined in one copy
    features[-1] += ending
    return Response(b",".join(features), media_type=_GEOJSON)
