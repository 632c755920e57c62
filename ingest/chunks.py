"""The scene index is cut into chunks: one collection, a cell of 5 degrees, a span of days.

A search for each of a million places would take a million requests from a server that bans mass searchers. Chunks
have fixed edges, so builds with other places or strata share them, and a chunk on disk is never asked for again
unless it is to be refreshed.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.places import Place, Places, from_us
from ingest.sources.profile import Source

CELL_DEG = 5
SPAN = dt.timedelta(days=30)
_MICROSECOND = dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, order=True)
class Chunk:
    """One part of the index."""

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
        span = f"{self.start:%Y%m%d}-{self.end:%Y%m%d}"
        return folder / self.collection / f"{self.west_deg:+04d}{self.south_deg:+03d}-{span}.parquet"


def chunks_of(places: Sequence[Place], source: Source, max_gap: dt.timedelta) -> list[Chunk]:
    """The chunks that together hold every scene that could serve the places, sorted."""
    columns = Places.of(places)
    lon, lat = columns.centres_lonlat().T
    west, south = (np.floor(edge / CELL_DEG).astype(np.int64) * CELL_DEG for edge in ((lon + 180) % 360 - 180, lat))
    gap_us = max_gap // _MICROSECOND
    longest_us = int((columns.end_us - columns.start_us).max()) + 2 * gap_us
    span_us = SPAN // _MICROSECOND
    while span_us < longest_us:
        span_us *= 2
    chunks: list[Chunk] = []
    for collection, margin_us in ((source.s2_collection, 0), (source.s1_collection, gap_us)):
        first, stop = (columns.start_us - margin_us) // span_us, -(-(columns.end_us + margin_us) // span_us)
        for cell_west, cell_south, span in _distinct(west, south, first, stop):
            start, end = (from_us(edge * span_us) for edge in (span, span + 1))
            chunks.append(Chunk(collection, cell_west, cell_south, start, end))
    return sorted(chunks)


def _distinct(
    west: NDArray[np.int64], south: NDArray[np.int64], first: NDArray[np.int64], stop: NDArray[np.int64]
) -> Iterator[tuple[int, int, int]]:
    """Cells and spans from `first` up to `stop`, each once."""
    rows = np.unique(np.stack([west, south, first, stop], axis=1), axis=0)
    seen = {(cell[0], cell[1], span) for *cell, begin, end in rows.tolist() for span in range(begin, end)}
    yield from sorted(seen)
