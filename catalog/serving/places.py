"""The default order of results as one number an item: the newest first, then by id.

A place depends on an item's `datetime` and id, and else only on the items of the same millisecond, so that an index
that gains items keeps the places of nearly all others.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalog.errors import CorpusError
from catalog.serving.published import PublishedCollection
from catalog.serving.times import to_us

_TIE_BITS = 19  # items of one millisecond: all patches of a datatake of Sentinel-2 are some 50,000
_TIME_BITS = 43  # milliseconds from 1830 to 2109
_LAST_MS = (1 << (_TIME_BITS - 1)) - 1
MAX_PLACE = (1 << (_TIME_BITS + _TIE_BITS)) - 1


def places_of(collections: Sequence[PublishedCollection]) -> list[NDArray[np.int64]]:
    """Of every item of every collection its place, in the order of each collection's index.

    Raises:
        CorpusError: an item is older or newer than places can say, or too many are of one millisecond.
    """
    parts = [pq.read_table(one.items, columns=["datetime", "id"]) for one in collections]
    if not parts:
        return []
    times = pa.chunked_array([chunk for part in parts for chunk in as_us(part["datetime"]).chunks], pa.int64())
    ids = pa.chunked_array([chunk for part in parts for chunk in part["id"].chunks], pa.string())
    table = pa.table({"time": times, "id": ids})
    order = pc.sort_indices(table, [("time", "descending"), ("id", "descending")]).to_numpy()
    ms = times.to_numpy()[order] // 1000
    _, first, ties = np.unique(-ms, return_index=True, return_counts=True)
    if len(ms) and (ms[0] > _LAST_MS or ms[-1] < -_LAST_MS or ties.max() > 1 << _TIE_BITS):
        raise CorpusError(
            f"items from {_day(ms[-1])} to {_day(ms[0])}, up to {ties.max():,} of one millisecond (limits 1830, 2109 "
            f"and {1 << _TIE_BITS:,}); correct their datetime, or serve them as several catalogs"
        )
    places = np.empty(len(order), np.int64)
    places[order] = (_LAST_MS - ms << _TIE_BITS) + np.arange(len(order)) - np.repeat(first, ties)
    return np.split(places, np.cumsum([len(part) for part in parts])[:-1])


def span_of(first_us: int, last_us: int) -> tuple[int, int]:
    """First and last place that an item whose `datetime` lies between two times can have."""
    low, high = (_LAST_MS - us // 1000 << _TIE_BITS for us in (last_us, first_us))
    return max(low, 0), min(high + (1 << _TIE_BITS) - 1, MAX_PLACE)


def as_us(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Microseconds since 1970 of a column of times, which may be text; null where it is."""
    if pa.types.is_timestamp(times.type):
        return times.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    found = [None if text is None else to_us(text) for text in times.to_pylist()]
    return pa.chunked_array([pa.array(found, pa.int64())])


def _day(ms: int) -> str:
    return str(np.datetime64(int(ms), "ms").astype("datetime64[D]"))
