"""The provider's own snapshot of its items: parquet files by week or month, listed as Azure lists blobs.

The Planetary Computer keeps one for each collection in the container `items` of the account `pcstacitems`. Here the
files are made from the archive's items when they are first asked for.
"""

import datetime as dt
import functools
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.patch import parse_time
from ingest.sandbox.items import S1_COLLECTION, S2_COLLECTION
from ingest.sandbox.replies import Reply

ACCOUNT, CONTAINER = "pcstacitems", "items"
ASSET = "geoparquet-items"
_LISTED = 2  # names a page; Azure lists 5,000: few here, so that clients must follow the marker
_GROUP_ROWS = 4  # small too, so that a file has several groups
_PARQUET = "application/x-parquet"
_WEEKS, _MONTHS = "W-MON", "MS"  # pandas' names, which the real assets use
_FREQUENCY = {S2_COLLECTION: _WEEKS, S1_COLLECTION: _MONTHS}


def snapshot_asset(collection: str) -> dict[str, Any]:
    """The asset of a collection that leads to its snapshot, as the real ones state it."""
    return {
        "href": f"abfs://{CONTAINER}/{collection}.parquet",
        "type": _PARQUET,
        "roles": ["stac-items"],
        "title": "GeoParquet STAC items",
        "description": "Snapshot of the collection's STAC items exported to GeoParquet format.",
        "msft:partition_info": {"is_partitioned": True, "partition_frequency": _FREQUENCY[collection]},
        "table:storage_options": {"account_name": ACCOUNT},
    }


class Snapshot:
    """Answers for the blobs of the container; safe to share between threads."""

    def __init__(self, archive: Path, hides: Callable[[str], bool]) -> None:
        """Say which archive, and which blobs `<account>/<container>/<path>` are missing."""
        self._archive = archive
        self._hides = hides
        self._lock = threading.Lock()

    def get(self, blob: PurePosixPath, query: str, *, cut: bool) -> Reply | None:
        """Answer a request that the container grants; None where it is another container or no such blob."""
        if blob.parts[:2] != (ACCOUNT, CONTAINER):
            return None
        with self._lock:
            files = self._files
        if len(blob.parts) == 2:
            wanted = {name: values[0] for name, values in parse_qs(query).items()}
            place = wanted.get("prefix", ""), wanted.get("marker", "")
            return _listing(sorted(files), *place) if wanted.get("comp") == "list" else None
        body = files.get("/".join(blob.parts[2:]))
        return None if body is None else Reply(200, body, _PARQUET, cut=cut)

    @functools.cached_property
    def _files(self) -> dict[str, bytes]:
        files = (file for name in _FREQUENCY for file in _parts(self._archive, name))
        return {name: body for name, body in files if not self._hides(f"{ACCOUNT}/{CONTAINER}/{name}")}


def _parts(archive: Path, collection: str) -> Iterator[tuple[str, bytes]]:
    """Names below the container, and bytes, of a collection's files."""
    from stac_geoparquet.arrow import parse_stac_items_to_arrow

    spans: dict[tuple[dt.date, dt.date], list[dict[str, Any]]] = defaultdict(list)
    for path in sorted((archive / "items" / collection).glob("*.json")):
        item = json.loads(path.read_text())
        spans[_span(parse_time(item["properties"]["datetime"]), _FREQUENCY[collection])].append(item)
    for number, (span, items) in enumerate(sorted(spans.items())):
        start, end = (f"{day}T00:00:00+00:00" for day in span)
        sink = pa.BufferOutputStream()
        pq.write_table(parse_stac_items_to_arrow(items).read_all(), sink, row_group_size=_GROUP_ROWS)
        yield f"{collection}.parquet/part-{number:04d}_{start}_{end}.parquet", sink.getvalue().to_pybytes()


def _span(time: dt.datetime, frequency: str) -> tuple[dt.date, dt.date]:
    """The week from Monday, or the month, that holds a time: its first day and the day after its last."""
    day = time.astimezone(dt.UTC).date()
    if frequency == _WEEKS:
        monday = day - dt.timedelta(days=day.weekday())
        return monday, monday + dt.timedelta(days=7)
    first = day.replace(day=1)
    return first, (first + dt.timedelta(days=32)).replace(day=1)


def _listing(names: list[str], prefix: str, marker: str) -> Reply:
    found = [name for name in names if name.startswith(prefix) and name >= marker]
    blobs = "".join(f"<Blob><Name>{escape(name)}</Name></Blob>" for name in found[:_LISTED])
    following = f"<NextMarker>{escape(found[_LISTED])}</NextMarker>" if len(found) > _LISTED else "<NextMarker />"
    results = f"<EnumerationResults><Blobs>{blobs}</Blobs>{following}</EnumerationResults>"
    return Reply(200, f'<?xml version="1.0" encoding="utf-8"?>{results}'.encode(), "application/xml")
