"""Which scenes exist: a local index, filled by few large searches and kept on disk.

A search for each of a million places would take a million requests from a server that bans mass searchers. So
the places are gathered into chunks of 5 degrees and one stratum; each chunk is searched once, saved as one parquet
file, and never asked for again. An interrupted run goes on with the chunks that are missing.
"""

import datetime as dt
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pystac
from rich.progress import track

from catalog.mgrs import transformer
from catalog.patch import Scene
from ingest.errors import SourceError
from ingest.places import Place
from ingest.sources.profile import Source, scene_of

CELL_DEG = 5
PAGE_ITEMS = 1000  # the most the Planetary Computer gives at once
_RETRIES = 8
_CONNECT_RETRIES = 3  # an address that refuses is mostly a network that is not there: say so within seconds
_RETRY_STATUS = (429, 500, 502, 503, 504)
_TIMEOUT_S = (10.0, 60.0)  # connect, read; the server itself gives up after 30 s


@dataclass(frozen=True, slots=True, order=True)
class Chunk:
    """One search: a collection, a cell of 5 degrees, a span of time."""

    collection: str
    west_deg: int
    south_deg: int
    start: dt.datetime
    end: dt.datetime

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees."""
        return self.west_deg, self.south_deg, self.west_deg + CELL_DEG, self.south_deg + CELL_DEG

    def path(self, folder: Path) -> Path:
        """Where the chunk's items are kept."""
        span = f"{self.start:%Y%m%dT%H}-{self.end:%Y%m%dT%H}"
        return folder / self.collection / f"{self.west_deg:+04d}{self.south_deg:+03d}-{span}.parquet"


def chunks_of(places: Iterable[Place], source: Source, max_gap: dt.timedelta) -> list[Chunk]:
    """The searches that together find every scene that could serve the places, sorted."""
    chunks = set()
    for place in places:
        west, south, east, north = place.grid.bounds_m
        lon, lat = transformer(place.grid.epsg, 4326).transform((west + east) / 2, (south + north) / 2)
        cell = math.floor(lon / CELL_DEG) * CELL_DEG, math.floor(lat / CELL_DEG) * CELL_DEG
        chunks.add(Chunk(source.s2_collection, *cell, place.start, place.end))
        chunks.add(Chunk(source.s1_collection, *cell, place.start - max_gap, place.end + max_gap))
    return sorted(chunks)


Search = Callable[[Chunk], Iterator[dict[str, Any]]]


def fetch_index(chunks: Sequence[Chunk], source: Source, folder: Path) -> None:
    """Search the chunks that are not on disk yet and save each as it comes.

    Raises:
        SourceError: the provider cannot be reached, or its answer is incomplete.
    """
    missing = [chunk for chunk in chunks if not chunk.path(folder).exists()]
    if not missing:
        return
    search = _static_search(source) if source.stac_href.endswith(".json") else _api_search(source)
    for chunk in track(missing, description="Searching scenes"):
        _save(list(search(chunk)), chunk.path(folder))


def load_scenes(chunks: Sequence[Chunk], source: Source, folder: Path) -> list[Scene]:
    """Scenes of the saved chunks: each once, of several processings of one data strip the newest."""
    items: dict[str, dict[str, Any]] = {}
    for chunk in chunks:
        for text in pq.read_table(chunk.path(folder), columns=["item"])["item"].to_pylist():
            item = json.loads(text)
            items[item["id"]] = item
    scenes = (scene_of(item, source) for item in newest_processings(items.values()))
    return sorted((scene for scene in scenes if scene is not None), key=lambda scene: scene.item_id)


def newest_processings(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of several processings of one Sentinel-2 data strip keep the newest; other items pass.

    Two items of one tile and time are mostly not duplicates but two data strips, halves of one datatake with
    complementary pixels; they differ in the sensing start inside `s2:datastrip_id` and both stay.
    """
    newest: dict[tuple[str, ...], dict[str, Any]] = {}
    for item in items:
        key = _strip_key(item)
        if key not in newest or _processing(item) > _processing(newest[key]):
            newest[key] = item
    return list(newest.values())


def _strip_key(item: dict[str, Any]) -> tuple[str, ...]:
    properties = item["properties"]
    strip = properties.get("s2:datastrip_id")
    if strip is None:
        return (item["id"],)
    sensing_start = next(part for part in strip.split("_") if part.startswith("S20"))
    datatake = properties["s2:datatake_id"].rpartition("_N")[0]  # the part after it is the baseline
    return properties["s2:mgrs_tile"], datatake, sensing_start


def _processing(item: dict[str, Any]) -> tuple[float, str, str]:
    properties = item["properties"]
    baseline = float(properties.get("s2:processing_baseline", 0))
    return baseline, properties.get("s2:generation_time", ""), item["id"]


def _save(items: list[dict[str, Any]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    items.sort(key=lambda item: str(item["id"]))
    columns = {"id": [item["id"] for item in items], "item": [json.dumps(item, sort_keys=True) for item in items]}
    aside = path.with_name(f".{path.name}.part")
    pq.write_table(
        pa.table(columns, schema=pa.schema({"id": pa.string(), "item": pa.string()})), aside, compression="zstd"
    )
    aside.rename(path)


def _api_search(source: Source) -> Search:
    """A function from a chunk to its items, over a STAC API."""
    import requests
    from pystac_client import Client
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO
    from urllib3.util.retry import Retry

    retry = Retry(
        total=_RETRIES, connect=_CONNECT_RETRIES, backoff_factor=1, backoff_max=120, status_forcelist=_RETRY_STATUS,
        allowed_methods=None,  # by default POST is never retried
        respect_retry_after_header=True,
    )  # fmt: skip
    try:
        client = Client.open(source.stac_href, stac_io=StacApiIO(max_retries=retry, timeout=_TIMEOUT_S))
    except (APIError, requests.RequestException) as error:
        raise _unreachable(source, error) from error

    def search(chunk: Chunk) -> Iterator[dict[str, Any]]:
        query = {
            "collections": [chunk.collection], "bbox": chunk.bbox, "limit": PAGE_ITEMS,
            "datetime": (chunk.start, chunk.end),
        }  # fmt: skip
        try:
            yield from _complete_pages(client, query)
        except (APIError, requests.RequestException) as error:
            raise _unreachable(source, error) from error

    return search


def _complete_pages(client: Any, query: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """All items of a search. A full page without a next link is not trusted: then pages go by id."""
    items: list[dict[str, Any]] = []
    for page in client.search(**query).pages_as_dicts():
        items += page["features"]
        has_next = any(link["rel"] == "next" for link in page.get("links", ()))
        if len(page["features"]) >= PAGE_ITEMS and not has_next:
            return _pages_by_id(client, query)
    return items


def _pages_by_id(client: Any, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    last = ""
    while True:
        search = client.search(**query, sortby="+id", query={"id": {"gt": last}}, max_items=PAGE_ITEMS)
        page: list[dict[str, Any]] = next(search.pages_as_dicts(), {"features": []})["features"]
        yield from page
        if len(page) < PAGE_ITEMS:
            return
        last = page[-1]["id"]


def _static_search(source: Source) -> Search:
    """The same over a static catalog, which is walked once."""
    path = Path(source.stac_href)
    if not path.is_file():
        raise SourceError(f"there is no catalog {path}; give the path of a catalog.json or the address of a STAC API")
    items = [_with_absolute_hrefs(item) for item in pystac.Catalog.from_file(path).get_items(recursive=True)]

    def search(chunk: Chunk) -> Iterator[dict[str, Any]]:
        west, south, east, north = chunk.bbox
        for item in items:
            box = item["bbox"]
            near = box[0] <= east and box[2] >= west and box[1] <= north and box[3] >= south
            time = dt.datetime.fromisoformat(item["properties"]["datetime"])
            if item["collection"] == chunk.collection and near and chunk.start <= time <= chunk.end:
                yield item

    return search


def _with_absolute_hrefs(item: pystac.Item) -> dict[str, Any]:
    item.make_asset_hrefs_absolute()
    return item.to_dict(include_self_link=True, transform_hrefs=False)


def _unreachable(source: Source, error: Exception) -> SourceError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return SourceError(
        f"{source.name} at {source.stac_href} does not answer searches ({reason}); check the network, "
        "try again later (finished searches are kept), or use the sandbox: python -m ingest.sandbox --help"
    )
