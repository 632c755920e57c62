"""Which scenes exist: fill the local index from searches or from the provider's snapshot, and load it.

Each chunk is saved as it comes, so an interrupted run goes on with the chunks that are missing.
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
from ingest.scene_index import Found, load_index, save_chunk
from ingest.search import Item, search_of
from ingest.sources.profile import Source

_log = logging.getLogger(__name__)

Way = Literal["search", "geoparquet"]
"""How chunks are had: by searches, or from the provider's snapshot of its items."""


def find_scenes(
    places: Sequence[Place],
    source: Source,
    folder: Path,
    max_gap: dt.timedelta,
    ways: Sequence[Way] = ("search",),
    *,
    refresh: bool = False,
) -> Found:
    """Every scene that could serve the places, by way of the index in `folder`.

    Args:
        ways: tried in this order; the next one only for the chunks that the ones before could not give.
        refresh: ask the provider again for chunks that are on disk.

    Raises:
        SourceError: no way works.
    """
    chunks = chunks_of(places, source, max_gap)
    fetch_index(chunks, source, folder, ways, refresh=refresh)
    return load_index(chunks, source, folder)


def fetch_index(
    chunks: Sequence[Chunk], source: Source, folder: Path, ways: Sequence[Way] = ("search",), *, refresh: bool = False
) -> None:
    """Save the chunks that are not on disk yet, or all of them.

    Raises:
        SourceError: no way works, or an answer is incomplete.
    """
    missing = dict.fromkeys(chunk for chunk in chunks if refresh or not chunk.path(folder).exists())
    if not missing:
        return
    for i, way in enumerate(ways):
        try:
            for chunk, items in track(_items(list(missing), source, way), "Finding scenes", total=len(missing)):
                save_chunk(items, source, chunk.path(folder))
                del missing[chunk]
        except SourceError as error:
            if i == len(ways) - 1:
                raise
            _log.warning("%s; going on with %s", error, ways[i + 1])


def _items(chunks: Sequence[Chunk], source: Source, way: Way) -> Iterator[tuple[Chunk, list[Item]]]:
    if way == "search":
        search = search_of(source)
        yield from ((chunk, search(chunk)) for chunk in chunks)
        return
    for collection in (source.s2_collection, source.s1_collection):
        wanted = [chunk for chunk in chunks if chunk.collection == collection]
        if wanted:
            yield from snapshot_items(wanted, list_parts(source, collection), source)
