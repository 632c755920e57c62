"""The STAC API of the Planetary Computer over an archive's items, quirks included; no network here.

What is copied: collections are required (422), a limit is a whole number 1..1000 (400), 250 by default; pages are
linked by a token `next:<collection>:<id>`; nothing tells how many items match; latest first, then id from Z to A.
`fields` is accepted and ignored: items come whole.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import shapely

from catalog.errors import DeepSentinelError
from ingest.sandbox.filters import (
    BadRequestError,
    Item,
    cql2_predicate,
    item_interval,
    parse_interval,
    query_predicate,
    sort_items,
)
from ingest.sandbox.items import API
from ingest.sandbox.landing import CONFORMANCE, collections, landing_page
from ingest.sandbox.replies import Reply

DEFAULT_LIMIT, LARGEST_LIMIT = 250, 1000
PATH = "/api/stac/v1"


@dataclass(frozen=True, slots=True)
class PageFaults:
    """What goes wrong with one page of search results."""

    short: bool = False
    """Half the items, and a link to the rest."""
    no_next: bool = False
    """No link to the rest."""
    cut: bool = False
    """Half the bytes."""


class StacApi:
    """Answers requests from items held in memory; immutable, so safe to share between threads."""

    def __init__(self, archive: Path, url: str) -> None:
        """Read every item of `archive`; `url` is the server's own, and links point there.

        Raises:
            DeepSentinelError: the folder holds no items.
        """
        self.url = url + PATH
        files = sorted((archive / "items").glob("*/*.json"))
        if not files:
            raise DeepSentinelError(f"{archive} is no archive of the sandbox: it has no items/<collection>/*.json")
        self._items: list[Item] = [json.loads(path.read_text().replace(API, self.url)) for path in files]
        self._tree = shapely.STRtree([shapely.from_geojson(json.dumps(item["geometry"])) for item in self._items])
        self._collections = collections(self.url)

    def get(self, path: str, parameters: Mapping[str, str]) -> Reply:
        """Answer a GET of a path below the API's root."""
        parts = [part for part in path.split("/") if part]
        if not parts:
            return _json(landing_page(self.url))
        if parts == ["conformance"]:
            return _json({"conformsTo": CONFORMANCE})
        if parts == ["collections"]:
            links = [{"rel": rel, "type": "application/json", "href": f"{self.url}/"} for rel in ("root", "parent")]
            return _json({"collections": list(self._collections.values()), "links": links})
        if len(parts) == 2 and parts[0] == "collections" and parts[1] in self._collections:
            return _json(self._collections[parts[1]])
        if len(parts) == 3 and parts[0] == "collections" and parts[2] == "items":
            return self.search("GET", dict(parameters) | {"collections": parts[1]}, b"")
        if len(parts) == 4 and parts[0] == "collections" and parts[2] == "items":
            return self._item(parts[1], parts[3])
        return _not_found(path)

    def search(
        self,
        method: str,
        parameters: Mapping[str, str],
        posted: bytes,
        faults: PageFaults = PageFaults(),
    ) -> Reply:
        """Answer a search, asked for by query parameters (GET) or a JSON body (POST)."""
        try:
            body = _posted_body(posted) if method == "POST" else body_of_get(parameters)
            if not body.get("collections"):
                return Reply(422, b"collection is required", "text/plain")
            return self._page(body, method, faults)
        except BadRequestError as error:
            return Reply(400, str(error).encode(), "text/plain")

    def _item(self, collection: str, item_id: str) -> Reply:
        for item in self._items:
            if (item["collection"], item["id"]) == (collection, item_id):
                return _json(item, "application/geo+json")
        return _not_found(f"collections/{collection}/items/{item_id}")

    def _page(self, body: Mapping[str, Any], method: str, faults: PageFaults) -> Reply:
        limit = _limit(body.get("limit", DEFAULT_LIMIT))
        found = sort_items(self._matches(body), body.get("sortby") or [])
        start, stop = _slice(found, body.get("token"), limit)
        if faults.short and stop - start > 1:
            stop = start + (stop - start) // 2
        page = found[start:stop]
        links = []
        if stop < len(found) and page and not faults.no_next:
            links.append(self._link("next", body, method, page[-1]))
        if start > 0 and page:
            links.append(self._link("previous", body, method, page[0]))
        links.append({"rel": "root", "type": "application/json", "href": f"{self.url}/"})
        links.append({"rel": "self", "type": "application/json", "href": f"{self.url}/search"})
        found_page = {"type": "FeatureCollection", "features": page, "links": links}
        return replace(_json(found_page, "application/geo+json"), cut=faults.cut)

    def _matches(self, body: Mapping[str, Any]) -> list[Item]:
        rows = _where(body, self._tree)
        found = self._items if rows is None else [self._items[row] for row in rows]
        collections = _strings(body, "collections")
        found = [item for item in found if item["collection"] in collections]
        if body.get("ids"):
            ids = _strings(body, "ids")
            found = [item for item in found if item["id"] in ids]
        if body.get("datetime"):
            first, last = parse_interval(body["datetime"])
            spans = [item_interval(item) for item in found]
            found = [item for item, (start, end) in zip(found, spans, strict=True) if start <= last and end >= first]
        if body.get("query"):
            found = list(filter(query_predicate(body["query"]), found))
        if body.get("filter"):
            found = list(filter(cql2_predicate(body["filter"]), found))
        return found

    def _link(self, rel: str, body: Mapping[str, Any], method: str, item: Item) -> dict[str, Any]:
        token = f"{rel[:4]}:{item['collection']}:{item['id']}"
        link = {"rel": rel, "type": "application/geo+json", "method": method, "href": f"{self.url}/search"}
        if method == "POST":
            return link | {"body": dict(body) | {"token": token}}
        flat = {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
        for name in ("collections", "ids", "bbox"):
            if name in body:
                flat[name] = ",".join(map(str, body[name]))
        return link | {"href": f"{self.url}/search?{urlencode(flat | {'token': token})}"}


def _posted_body(posted: bytes) -> dict[str, Any]:
    try:
        body = json.loads(posted)
    except ValueError as error:
        raise BadRequestError(f"the body of a search must be JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequestError("the body of a search must be a JSON object")
    return body


def body_of_get(parameters: Mapping[str, str]) -> dict[str, Any]:
    """The body of a search whose parameters came in a query string.

    Raises:
        BadRequestError: a number, JSON object or filter language that cannot be read.
    """
    body: dict[str, Any] = dict(parameters)
    try:
        for name in ("collections", "ids"):
            if name in body:
                body[name] = body[name].split(",")
        if "bbox" in body:
            body["bbox"] = [float(number) for number in body["bbox"].split(",")]
        if "limit" in body:
            body["limit"] = int(body["limit"])
        if "sortby" in body and not body["sortby"].startswith("["):
            body["sortby"] = [_sort_rule(word) for word in body["sortby"].split(",")]
        for name in ("intersects", "query", "filter", "sortby"):
            if isinstance(body.get(name), str):
                body[name] = json.loads(body[name])
    except ValueError as error:
        raise BadRequestError(f"cannot read the parameters of this search: {error}; filters must be JSON") from None
    return body


def _sort_rule(word: str) -> dict[str, str]:
    return {"field": word.lstrip("+- "), "direction": "desc" if word.startswith("-") else "asc"}


def _limit(limit: Any) -> int:
    if type(limit) is not int or not 1 <= limit <= LARGEST_LIMIT:
        raise BadRequestError(f"limit is {limit!r}; it must be a whole number from 1 to {LARGEST_LIMIT}")
    return limit


def _strings(body: Mapping[str, Any], name: str) -> set[str]:
    if not isinstance(body[name], list) or not all(isinstance(value, str) for value in body[name]):
        raise BadRequestError(f"{name} must be a list of strings, not {body[name]!r}")
    return set(body[name])


def _where(body: Mapping[str, Any], tree: shapely.STRtree) -> list[int] | None:
    """Rows of items that meet the search's `bbox` or `intersects`, in order; None where it has neither."""
    if body.get("bbox") and body.get("intersects"):
        raise BadRequestError("give bbox or intersects, not both")
    if body.get("intersects"):
        try:
            area = shapely.from_geojson(json.dumps(body["intersects"]))
        except shapely.GEOSException as error:
            raise BadRequestError(f"intersects is not a GeoJSON geometry: {error}") from None
    elif body.get("bbox"):
        area = _area(body["bbox"])
    else:
        return None
    return sorted(int(row) for row in tree.query(area, predicate="intersects"))


def _area(bbox: Sequence[float]) -> shapely.Geometry:
    numbers = isinstance(bbox, list) and all(isinstance(edge, int | float) for edge in bbox)
    if not numbers or len(bbox) not in (4, 6):
        raise BadRequestError(f"bbox is {bbox!r}; it must be west, south, east, north in degrees")
    west, south, east, north = bbox if len(bbox) == 4 else (*bbox[:2], *bbox[3:5])
    if south > north:
        raise BadRequestError(f"bbox {bbox!r} has its south ({south}) above its north ({north})")
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))


def _slice(found: Sequence[Item], token: Any, limit: int) -> tuple[int, int]:
    """Start and stop of the page that a token asks for, the first page without one."""
    if token is None:
        return 0, min(limit, len(found))
    direction, _, place = str(token).partition(":")
    rows = [row for row, item in enumerate(found) if f"{item['collection']}:{item['id']}" == place]
    if direction not in ("next", "prev") or not rows:
        raise BadRequestError(f"token {token!r} is not one of this search; use the links of its pages")
    if direction == "next":
        return rows[0] + 1, min(rows[0] + 1 + limit, len(found))
    return max(rows[0] - limit, 0), rows[0]


def _json(body: Mapping[str, Any], content_type: str = "application/json") -> Reply:
    return Reply(200, json.dumps(body).encode(), content_type)


def _not_found(path: str) -> Reply:
    return Reply(404, json.dumps({"code": "NotFoundError", "description": f"{path} does not exist"}).encode())
