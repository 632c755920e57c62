"""Which scenes exist: fill the local index from searches or from the provider's snapshot, and load it.

Each chunk is saved as it comes, so an interrupted run goes on with the chunks that are missing. A chunk whose days were
not over when it was saved is asked for again by the next run.
"""

import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from rich.progress import track

from ingest.bulk import list_parts, snapshot_items
from ingest.chunks import Chunk, chunks_of
from ingest.errors import SourceError
from ingest.places import Place
from ingest.scene_index import Found, is_open, load_index, save_chunk
from ingest.search import Item, search_of
from ingest.sources.profile import Source

_log = logging.getLogger(__name__)

Way = Literal["search", "geoparquet"]
"""How chunks are had: by searches, or from the provider's snapshot of its items."""
Renewal = Literal["none", "open", "all"]
"""Which chunks on disk are asked for again: none, those that were saved before their last scenes were in, or all."""


def find_scenes(
    places: Sequence[Place],
    source: Source,
    folder: Path,
    max_gap: dt.timedelta,
    ways: Sequence[Way] = ("search",),
    *,
    renew: Renewal = "open",
    now: dt.datetime | None = None,
) -> Found:
    """Every scene that could serve the places, by way of the index in `folder`.

    Args:
        ways: tried in this order; the next one only for the chunks that the ones before could not give.
        renew: which chunks on disk are asked for again.
        now: the present, UTC; by the clock when not given.

    Raises:
        SourceError: no way works.
    """
    chunks = chunks_of(places, source, max_gap)
    fetch_index(chunks, source, folder, ways, renew=renew, now=now or dt.datetime.now(dt.UTC))
    return load_index(chunks, source, folder)


def fetch_index(
    chunks: Sequence[Chunk], source: Source, folder: Path, ways: Sequence[Way], *, renew: Renewal, now: dt.datetime
) -> None:
    """Save the chunks that are not on disk yet, and those to renew.

    Raises:
        SourceError: no way works, or an answer is incomplete.
    """
    missing = dict.fromkeys(chunk for chunk in chunks if _is_wanted(chunk, folder, renew))
    if not missing:
        return
    for i, way in enumerate(ways):
        try:
            found = _items(list(missing), source, way, now)
            for chunk, items, known_until in track(found, "Finding scenes", total=len(missing)):
                save_chunk(items, source, chunk.path(folder), known_until)
                del missing[chunk]
        except SourceError as error:
            if i == len(ways) - 1:
                raise
            _log.warning("%s; going on with %s", error, ways[i + 1])


def _is_wanted(chunk: Chunk, folder: Path, renew: Renewal) -> bool:
    if renew == "all" or not chunk.path(folder).exists():
        return True
    return renew == "open" and is_open(chunk, folder)


def _items(
    chunks: Sequence[Chunk], source: Source, way: Way, now: dt.datetime
) -> Iterator[tuple[Chunk, list[Item], dt.datetime]]:
    """Chunks with their items, and up to when those are known."""
    if way == "search":
        search = search_of(source)
        yield from ((chunk, search(chunk), now) for chunk in chunks)
        return
    for collection in (source.s2_collection, source.s1_collection):
        wanted = [chunk for chunk in chunks if chunk.collection == collection]
        if wanted:
            parts = list_parts(source, collection)
            known_until = min(now, max(part.end for part in parts))
            yield from ((*found, known_until) for found in snapshot_items(wanted, parts, source))
