"""Search a provider for the scenes of a chunk: a STAC API that may be busy, or a static catalog."""

import datetime as dt
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.chunks import Chunk
from ingest.errors import SourceError
from ingest.sources.profile import Source

if TYPE_CHECKING:
    import pystac

PAGE_ITEMS = 1000  # the most the Planetary Computer gives at once
_RETRIES = 8
_CONNECT_RETRIES = 3  # an address that refuses is mostly a network that is not there: say so within seconds
_RETRY_STATUS = (429, 500, 502, 503, 504)
_TIMEOUT_S = (10.0, 60.0)  # connect, read; the server itself gives up after 30 s
_ANSWER_ATTEMPTS = 5  # for answers that break off or end in a gateway's page: no retry of urllib3 sees those

Item = dict[str, Any]
Search = Callable[[Chunk], list[Item]]
Post = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From the body of a search to a page of items."""


def search_of(source: Source) -> Search:
    """A function from a chunk to its items.

    Raises:
        SourceError: the provider cannot be reached; the function raises it too.
    """
    return _static_search(source) if source.stac_href.endswith(".json") else _api_search(source)


def complete_pages(post: Post, body: Mapping[str, Any]) -> Iterator[Item]:
    """All items of a search, page after page.

    A full page without a next link is not trusted: then pages go by id (next links were missing for days in
    January 2026, and clients silently took a part for the whole).
    """
    asked = dict(body)
    items: list[Item] = []
    while True:
        page = post(asked)
        items += page["features"]
        following = next((link for link in page.get("links", ()) if link["rel"] == "next"), None)
        if following is not None and page["features"]:
            asked = {**body, **following.get("body", {})}  # what the link leaves out stays
        elif len(page["features"]) >= body["limit"]:
            yield from pages_by_id(post, body)
            return
        else:
            yield from items
            return


def pages_by_id(post: Post, body: Mapping[str, Any]) -> Iterator[Item]:
    """All items of a search in the order of their ids, without any links."""
    last = ""
    while True:
        by_id = {"sortby": [{"field": "id", "direction": "asc"}], "query": {"id": {"gt": last}}}
        page = post({**body, **by_id})["features"]
        yield from page
        if not page:  # a short page need not be the last one
            return
        last = page[-1]["id"]


def session() -> Any:
    """A requests session that waits for a busy server, honours Retry-After, and retries POST as well as GET."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    retry = Retry(
        total=_RETRIES, connect=_CONNECT_RETRIES, backoff_factor=1, backoff_max=120, status_forcelist=_RETRY_STATUS,
        allowed_methods=None,  # by default POST is never retried
        respect_retry_after_header=True,
    )  # fmt: skip
    made = requests.Session()
    for scheme in ("http://", "https://"):
        made.mount(scheme, HTTPAdapter(max_retries=retry))
    return made


def get_json(web: Any, method: str, url: str, **more: Any) -> Any:
    """The JSON answer to a request; asks again when an answer breaks off on the way.

    Raises:
        requests.RequestException: the server refuses, or keeps breaking off.
    """
    import requests

    for attempt in range(_ANSWER_ATTEMPTS):
        try:
            answer = web.request(method, url, timeout=_TIMEOUT_S, **more)
            answer.raise_for_status()
            return answer.json()
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.JSONDecodeError):
            if attempt == _ANSWER_ATTEMPTS - 1:
                raise
            time.sleep(attempt)
    raise AssertionError("unreachable")


def reason_of(error: Exception) -> str:
    """The first line of an error without the queries of addresses, which may hold a token."""
    text = re.sub(r"\?\S+", "", str(error).partition("\n")[0])[:200]
    return text or type(error).__name__


def unreachable(source: Source, error: Exception) -> SourceError:
    """An error for a provider that fails, with the cures."""
    return SourceError(
        f"{source.name} at {source.stac_href} does not answer searches ({reason_of(error)}); check the network, "
        "try again later (finished searches are kept), or use the sandbox: python -m ingest.sandbox --help"
    )


def _api_search(source: Source) -> Search:
    import requests

    web = session()

    def post(body: Mapping[str, Any]) -> Mapping[str, Any]:
        api = source.api_of(body["collections"][0])
        page: Mapping[str, Any] = get_json(web, "POST", f"{api}/search", json=body)
        return page

    def search(chunk: Chunk) -> list[Item]:
        span = "/".join(f"{edge:%Y-%m-%dT%H:%M:%SZ}" for edge in (chunk.start, chunk.end))
        body = {"collections": [chunk.collection], "bbox": chunk.bbox, "datetime": span, "limit": PAGE_ITEMS}
        try:
            return list(complete_pages(post, body))
        except requests.RequestException as error:
            raise unreachable(source, error) from error

    return search


def _static_search(source: Source) -> Search:
    """The same over a static catalog, which is walked once."""
    import pystac

    path = Path(source.stac_href)
    if not path.is_file():
        raise SourceError(f"there is no catalog {path}; give the path of a catalog.json or the address of a STAC API")
    items = [_with_absolute_hrefs(item) for item in pystac.Catalog.from_file(path).get_items(recursive=True)]
    return lambda chunk: list(_within(items, chunk))


def _within(items: Iterable[Item], chunk: Chunk) -> Iterator[Item]:
    west, south, east, north = chunk.bbox
    for item in items:
        box = item["bbox"]
        near = box[0] <= east and box[2] >= west and box[1] <= north and box[3] >= south
        taken = dt.datetime.fromisoformat(item["properties"]["datetime"])
        if item["collection"] == chunk.collection and near and chunk.start <= taken <= chunk.end:
            yield item


def _with_absolute_hrefs(item: "pystac.Item") -> Item:
    item.make_asset_hrefs_absolute()
    return item.to_dict(include_self_link=True, transform_hrefs=False)
