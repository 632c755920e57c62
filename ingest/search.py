"""Search a provider for the scenes of a chunk: a STAC API that may be busy, or a static catalog."""

import contextlib
import datetime as dt
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.chunks import Chunk
from ingest.errors import SourceError
from ingest.retries import ANSWER_ATTEMPTS, TIMEOUT_S
from ingest.sources.profile import Source

if TYPE_CHECKING:
    import pystac
    from pystac_client import Client

PAGE_ITEMS = 1000  # the most the Planetary Computer gives at once

Item = dict[str, Any]
Search = Callable[[Chunk], list[Item]]


def search_of(source: Source) -> Search:
    """A function from a chunk to its items.

    Raises:
        SourceError: the provider cannot be reached; the function raises it too.
    """
    return _static_search(source) if source.stac_href.endswith(".json") else _api_search(source)


def complete_pages(client: "Client", query: Mapping[str, Any]) -> list[Item]:
    """All items of a search, page after page.

    A full page without a next link is not trusted: then pages go by id (next links were missing for days in
    January 2026, and clients silently took a part for the whole).
    """
    items: list[Item] = []
    for page in client.search(**query).pages_as_dicts():
        items += page["features"]
        linked = any(link["rel"] == "next" for link in page.get("links", ()))
        if len(page["features"]) >= query["limit"] and not linked:
            return list(pages_by_id(client, query))
    return items


def pages_by_id(client: "Client", query: Mapping[str, Any]) -> Iterator[Item]:
    """All items of a search in the order of their ids, without any links."""
    last = ""
    while True:
        search = client.search(**query, sortby="+id", query={"id": {"gt": last}})
        page = next(search.pages_as_dicts(), None)
        if page is None:  # a short page need not be the last one; an empty one is
            return
        yield from page["features"]
        last = page["features"][-1]["id"]


def get_json(web: Any, method: str, url: str, **more: Any) -> Any:
    """The JSON answer to a request; asks again when an answer breaks off on the way.

    Raises:
        requests.RequestException: the server refuses, or keeps breaking off.
    """
    import requests

    for attempt in range(ANSWER_ATTEMPTS):
        try:
            answer = web.request(method, url, timeout=TIMEOUT_S, **more)
            answer.raise_for_status()
            return answer.json()
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.JSONDecodeError):
            if attempt == ANSWER_ATTEMPTS - 1:
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
    from pystac_client.exceptions import APIError

    clients: dict[str, Client] = {}

    def search(chunk: Chunk) -> list[Item]:
        api = source.api_of(chunk.collection)
        query = {
            "collections": [chunk.collection], "bbox": chunk.bbox, "datetime": (chunk.start, chunk.end),
            "limit": PAGE_ITEMS,
        }  # fmt: skip
        try:
            client = clients.get(api) or clients.setdefault(api, _open_client(api))
            with contextlib.closing(_session_of(client)):  # a closed session opens again when it is used
                return complete_pages(client, query)
        except (APIError, requests.RequestException, json.JSONDecodeError) as error:
            raise unreachable(source, error) from error

    return search


def _open_client(api: str) -> "Client":
    from pystac_client import Client

    from ingest.stac_io import PatientStacIO

    return Client.open(api, stac_io=PatientStacIO())


def _session_of(client: "Client") -> Any:
    io = client._stac_io  # no public name, and nobody else closes its connections
    assert io is not None
    return io.session


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
        beside = box[0] <= east and box[2] >= west
        if box[0] > box[2]:  # a box over the antimeridian
            beside = box[0] <= east or box[2] >= west
        near = beside and box[1] <= north and box[3] >= south
        taken = dt.datetime.fromisoformat(item["properties"]["datetime"])
        if item["collection"] == chunk.collection and near and chunk.start <= taken <= chunk.end:
            yield item


def _with_absolute_hrefs(item: "pystac.Item") -> Item:
    item.make_asset_hrefs_absolute()
    return item.to_dict(include_self_link=True, transform_hrefs=False)
