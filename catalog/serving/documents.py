"""Items of an index, read in bulk: what most of them share, the descriptions of bands, is converted once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalog.errors import CorpusError
from catalog.item_table import to_items

_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)  # large odd numbers, to spread hashes (Steele et al. 2014; xxHash)


def read_documents(path: Path) -> Iterator[dict[str, Any]]:
    """The items of an index in its order, hrefs relative to its folder; equal parts may be one object.

    Raises:
        CorpusError: the index is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield from _documents(file.read_row_group(group).combine_chunks())
    except pa.ArrowInvalid as error:
        raise CorpusError(f"{path} is damaged ({str(error)[:200]}); publish the build again") from error


def _documents(rows: pa.Table) -> Iterator[dict[str, Any]]:
    assets = rows["assets"].combine_chunks()
    names = [field.name for field in assets.type]
    data = assets.field("data") if "data" in names else None
    if data is None or data.type.get_field_index("bands") < 0:
        yield from to_items(rows)
        return
    bands = data.field("bands")
    _, first, which = np.unique(hashes(bands), return_index=True, return_inverse=True)
    kinds = [item["assets"]["data"].get("bands") for item in to_items(rows.take(pa.array(first)))]
    slim = pa.StructArray.from_arrays(
        [_without(data, "bands") if name == "data" else assets.field(name) for name in names], names
    )
    bare = rows.set_column(rows.schema.get_field_index("assets"), "assets", slim)
    for item, kind in zip(to_items(bare), which.tolist(), strict=True):
        if kinds[kind] is not None:
            item["assets"]["data"]["bands"] = kinds[kind]
        yield item


def _without(whole: pa.StructArray, name: str) -> pa.StructArray:
    kept = [field.name for field in whole.type if field.name != name]
    return pa.StructArray.from_arrays([whole.field(one) for one in kept], kept, mask=whole.is_null())


def hashes(values: pa.Array) -> NDArray[np.uint64]:
    """A hash of every element; equal elements have equal ones, of whatever type they are."""
    if pa.types.is_struct(values.type):
        found = np.zeros(len(values), np.uint64)
        for i in range(values.type.num_fields):
            found = _mixed(found, hashes(values.field(i)))
    elif pa.types.is_list(values.type):
        found = _list_hashes(values)
    else:
        encoded = values.dictionary_encode()
        words = [hash(repr(value)) for value in [*encoded.dictionary.to_pylist(), None]]
        found = np.array(words, np.int64).view(np.uint64)[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return np.where(values.is_null().to_numpy(zero_copy_only=False), np.uint64(1), found)


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
