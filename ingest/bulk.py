"""Scenes from a provider's own snapshot of its items: parquet files in blob storage, named in the collection.

The Planetary Computer has one folder a collection (asset `geoparquet-items`), with a file a week or a month named
`part-NNNN_<start>_<end>.parquet`. A whole year of the world is some hundred downloads instead of ten thousands of
searches; but the snapshot has been months old, and parts of it missing, without notice.
"""

import datetime as dt
import itertools
import logging
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ingest.chunks import Chunk
from ingest.errors import SourceError
from ingest.retries import session
from ingest.search import Item, get_json, reason_of, unreachable
from ingest.sources.profile import Source

_log = logging.getLogger(__name__)

ASSET = "geoparquet-items"
_PART = re.compile(r"part-\d+_(?P<start>[^_]+)_(?P<end>[^_]+)\.parquet$")
_TIMEOUT_S = (10.0, 120.0)
_PIECE_BYTES = 1 << 20
_DOWNLOAD_ATTEMPTS = 3
_FORBIDDEN = 403


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One file of a snapshot."""

    start: dt.datetime
    end: dt.datetime
    href: str


def list_parts(source: Source, collection: str) -> list[Part]:
    """The files of a collection's snapshot, by time.

    Raises:
        SourceError: the collection has no snapshot, or it cannot be listed.
    """
    import requests

    web = session()
    try:
        asset = (
            get_json(web, "GET", f"{source.api_of(collection)}/collections/{collection}").get("assets", {}).get(ASSET)
        )
        if asset is None:
            raise SourceError(f"{source.name} has no snapshot of {collection} (asset {ASSET}); use --scenes search")
        container, prefix = _address(source, asset)
        names = list(_names(web, source, container, prefix))
    except requests.RequestException as error:
        raise unreachable(source, error) from error
    parts = [_part(container, name) for name in names if _PART.search(name)]
    if not parts:
        raise SourceError(f"the snapshot of {collection} at {container}/{prefix} is empty; use --scenes search")
    return sorted(parts)


def snapshot_items(
    chunks: Sequence[Chunk], parts: Sequence[Part], source: Source
) -> Iterator[tuple[Chunk, list[Item]]]:
    """The items of chunks of one collection, a span of time after the other, so that each file is read about once.

    Raises:
        SourceError: the snapshot does not cover a chunk's span, or a file cannot be had.
    """
    with tempfile.TemporaryDirectory() as folder:
        for start, end in sorted({(chunk.start, chunk.end) for chunk in chunks}):
            here = [chunk for chunk in chunks if chunk.start == start and chunk.end == end]
            yield from _span_items(here, _covering(parts, here[0]), source, Path(folder))


def _span_items(
    chunks: Sequence[Chunk], parts: Sequence[Part], source: Source, folder: Path
) -> Iterator[tuple[Chunk, list[Item]]]:
    from stac_geoparquet.arrow import stac_table_to_items

    found: dict[Chunk, list[Item]] = defaultdict(list)
    for part in parts:
        path = _downloaded(part.href, source, folder)
        rows = {chunk: _rows_of(chunk, pq.read_table(path, columns=["bbox", "datetime"])) for chunk in chunks}
        wanted = np.unique(np.concatenate([*rows.values(), np.empty(0, np.int64)]))
        items = dict(zip(wanted.tolist(), stac_table_to_items(_take(path, wanted)), strict=True))
        for chunk, of_chunk in rows.items():
            found[chunk] += [items[row] for row in of_chunk.tolist()]
    for chunk in chunks:
        yield chunk, found[chunk]


def _take(path: Path, rows: NDArray[np.int64]) -> pa.Table:
    """Some rows of a file, never the whole of it in memory."""
    file = pq.ParquetFile(path)
    taken, start = [file.schema_arrow.empty_table()], 0
    for group in range(file.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        inside = rows[(rows >= start) & (rows < stop)] - start
        if inside.size:
            taken.append(file.read_row_group(group).take(inside))
        start = stop
    return pa.concat_tables(taken)


def _rows_of(chunk: Chunk, table: pa.Table) -> NDArray[np.int64]:
    """Rows whose box meets the chunk's cell and whose time lies in its span."""
    box = {edge: table["bbox"].combine_chunks().field(edge).to_numpy() for edge in ("xmin", "ymin", "xmax", "ymax")}
    times = table["datetime"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    start_us, end_us = (int(edge.timestamp()) * 1_000_000 for edge in (chunk.start, chunk.end))
    west, south, east, north = chunk.bbox
    across = box["xmin"] > box["xmax"]  # a box over the antimeridian
    beside = (box["xmin"] <= east) & (box["xmax"] >= west)
    beside |= across & ((box["xmin"] <= east) | (box["xmax"] >= west))
    near = beside & (box["ymin"] <= north) & (box["ymax"] >= south)
    rows: NDArray[np.int64] = np.flatnonzero(near & (times >= start_us) & (times <= end_us))
    return rows


def _covering(parts: Sequence[Part], chunk: Chunk) -> list[Part]:
    """The parts of a chunk's span, without a hole between them.

    A span that begins before the first part or ends after the last is warned of: chunks reach beyond the plan.
    """
    near = [part for part in parts if part.end > chunk.start and part.start < chunk.end]
    ends = list(itertools.accumulate((part.end for part in near), max))
    holes = [(end, part.start) for end, part in zip(ends, near[1:], strict=False) if part.start > end]
    if holes or not near:
        start, end = holes[0] if holes else (chunk.start, chunk.end)
        raise SourceError(
            f"the snapshot of {chunk.collection} has no files from {start:%Y-%m-%d} to {end:%Y-%m-%d}; "
            "use --scenes search, or --scenes geoparquet search to search only what it lacks"
        )
    if near[0].start > chunk.start or ends[-1] < chunk.end:
        _log.warning(
            "the snapshot of %s goes from %s to %s; scenes of other days between %s and %s are not in the index",
            chunk.collection, near[0].start, ends[-1], chunk.start, chunk.end,
        )  # fmt: skip
    return near


def _downloaded(href: str, source: Source, folder: Path) -> Path:
    """A file of the snapshot on local disk; only the latest two are kept there."""
    import requests

    path = folder / quote(href, safe="")[-120:]
    if path.exists():
        return path
    for old in sorted(folder.iterdir(), key=lambda kept: kept.stat().st_mtime)[:-1]:
        old.unlink()
    web = session()
    for attempt in range(_DOWNLOAD_ATTEMPTS):
        try:
            with _opened(web, source, href) as answer, path.open("wb") as file:
                file.writelines(answer.iter_content(_PIECE_BYTES))
            pq.read_metadata(path)
            return path
        except (requests.RequestException, pa.ArrowInvalid) as error:
            path.unlink(missing_ok=True)
            if attempt == _DOWNLOAD_ATTEMPTS - 1:
                reason = reason_of(error)
                raise SourceError(f"{href} cannot be read ({reason}); try again or use --scenes search") from error
    raise AssertionError("unreachable")


def _opened(web: Any, source: Source, blob: str, listing: str = "") -> Any:
    """The answer for a blob, or for a listing of its container; a token that is refused is replaced once.

    Raises:
        requests.RequestException: storage refuses, or is away.
    """
    address = listing or f"{blob}?"
    signed = source.sign(blob)
    answer = web.get(f"{address}&{signed.partition('?')[2]}", stream=True, timeout=_TIMEOUT_S)
    if answer.status_code == _FORBIDDEN:
        answer.close()
        source.forget_token(signed)
        answer = web.get(f"{address}&{source.sign(blob).partition('?')[2]}", stream=True, timeout=_TIMEOUT_S)
    answer.raise_for_status()
    return answer


def _address(source: Source, asset: Item) -> tuple[str, str]:
    """URL of the container and prefix of the files, from an asset such as abfs://items/sentinel-2-l2a.parquet."""
    where = urlsplit(asset["href"])
    account = asset["table:storage_options"]["account_name"]
    scheme = urlsplit(source.api_of(source.s1_collection)).scheme  # the sandbox has no TLS
    return f"{scheme}://{account}.blob.core.windows.net/{where.netloc}", where.path.lstrip("/")


def _names(web: Any, source: Source, container: str, prefix: str) -> Iterator[str]:
    """Names of the blobs below a prefix (Azure's List Blobs, version 2021-06-08)."""
    marker = ""
    while True:
        query = f"restype=container&comp=list&prefix={quote(prefix, safe='')}%2F&marker={quote(marker, safe='')}"
        with _opened(web, source, f"{container}/{prefix}", f"{container}?{query}") as answer:
            tree = ElementTree.fromstring(answer.content)
        yield from (name.text or "" for name in tree.iterfind(".//Blob/Name"))
        marker = tree.findtext("NextMarker") or ""
        if not marker:
            return


def _part(container: str, name: str) -> Part:
    match = _PART.search(name)
    assert match is not None, "only names of parts come here"
    start, end = (_utc(match[edge]) for edge in ("start", "end"))
    return Part(start, end, f"{container}/{quote(name)}")


def _utc(text: str) -> dt.datetime:
    time = dt.datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)
