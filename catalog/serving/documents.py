"""Items of an index as the API gives them, read in bulk, and hashes that tell which of them changed."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalog.errors import CorpusError
from catalog.item_table import to_items, values_of
from catalog.serving.origin import served_item

_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)  # large odd numbers, to spread hashes (Steele et al. 2014; xxHash)


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """An index, open to read group by group.

    Raises:
        CorpusError: it is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except pa.ArrowInvalid as error:
        raise CorpusError(f"{path} is damaged ({str(error)[:200]}); publish the build again") from error


def documents(rows: pa.Table, folder: str) -> Iterator[bytes]:
    """The JSON of each row of an index; the descriptions of bands, which most rows share, are converted once.

    Args:
        folder: name of the folder that the index lies in.
    """
    bare, bands = _apart(rows)
    for item, kind in zip(to_items(bare), bands, strict=True):
        if kind is not None:
            item["assets"]["data"]["bands"] = kind
        yield orjson.dumps(served_item(item, folder))


def _apart(rows: pa.Table) -> tuple[pa.Table, list[orjson.Fragment | None]]:
    """The rows without the descriptions of bands, and these of each row as JSON."""
    assets = rows["assets"].combine_chunks()
    names = [field.name for field in assets.type]
    data = assets.field("data") if "data" in names else None
    if data is None or data.type.get_field_index("bands") < 0:
        return rows, [None] * rows.num_rows
    bands = data.field("bands")
    _, first, which = np.unique(hashes(bands), return_index=True, return_inverse=True)
    kinds = [None if kind is None else orjson.Fragment(orjson.dumps(kind)) for kind in values_of(bands.take(first))]
    slim = pa.StructArray.from_arrays(
        [_without(data, "bands") if name == "data" else assets.field(name) for name in names], names
    )
    bare = rows.set_column(rows.schema.get_field_index("assets"), "assets", slim)
    return bare, [kinds[kind] for kind in which.tolist()]


def _without(whole: pa.StructArray, name: str) -> pa.StructArray:
    kept = [field.name for field in whole.type if field.name != name]
    return pa.StructArray.from_arrays([whole.field(one) for one in kept], kept, mask=whole.is_null())


def row_hashes(rows: pa.Table, folder: str) -> NDArray[np.uint64]:
    """Of every row a number that changes, but for one chance in 2**64, with what `documents` makes of it."""
    names = f"{folder} {rows.schema.remove_metadata().to_string(show_field_metadata=False)}"
    found = np.full(rows.num_rows, _word(names), np.uint64)
    for column in rows.columns:
        found = _mixed(found, hashes(column.combine_chunks()))
    return found


def hashes(values: pa.Array) -> NDArray[np.uint64]:
    """A hash of every element, the same in every process; equal elements of a type have equal ones."""
    kind = values.type
    if pa.types.is_struct(kind):
        found = np.zeros(len(values), np.uint64)
        for i in range(kind.num_fields):
            found = _mixed(found, hashes(values.field(i)))
    elif pa.types.is_list(kind):
        found = _list_hashes(values)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind):
        wide = values.cast(pa.float64() if pa.types.is_floating(kind) else pa.int64()).fill_null(0)
        found = _mixed(np.zeros(1, np.uint64), wide.to_numpy(zero_copy_only=False).view(np.uint64))
    else:
        encoded = values.dictionary_encode()
        words = np.array([_word(value) for value in [*encoded.dictionary.to_pylist(), None]], np.uint64)
        found = words[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return np.where(values.is_null().to_numpy(zero_copy_only=False), np.uint64(1), found)


def _word(value: Any) -> int:
    text = value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else repr(value).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def _list_hashes(values: pa.ListArray) -> NDArray[np.uint64]:
    """Sums over the elements of each list, of what depends on the element and its place in the list."""
    offsets = values.offsets.to_numpy().astype(np.int64)
    start, end = int(offsets[0]), int(offsets[-1])
    inner = hashes(values.values.slice(start, end - start))
    lengths = np.diff(offsets)
    place = np.arange(end - start) - np.repeat(offsets[:-1] - start, lengths)
    mixed = _mixed(inner, place.astype(np.uint64))
    total = np.concatenate([[np.uint64(0)], np.cumsum(mixed, dtype=np.uint64)])
    return _mixed(total[offsets[1:] - start] - total[offsets[:-1] - start], lengths.astype(np.uint64))


def _mixed(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint64]:
    found = (left + np.uint64(1)) * np.uint64(_ODD[0]) ^ (right + np.uint64(3)) * np.uint64(_ODD[1])
    spread: NDArray[np.uint64] = found ^ found >> np.uint64(29)
    return spread
