"""Random access to the patches of one shard, without zarr-python on the way.

The layout of `catalog.shard` is plain Zarr v3, which any Zarr library reads. This reader knows that layout: it
keeps the shard's chunk index in memory, reads one byte range a patch and array, checks its CRC-32C and decodes
straight into the caller's batch, outside the GIL. From a remote store, neighbouring patches come in one range. A
shard of any other layout is read with zarr-python.
"""

import functools
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from crc32c import crc32c
from numcodecs import blosc
from numpy.typing import NDArray

from catalog.errors import ChecksumError, CorpusError, SchemaError
from catalog.shard import DAMAGE, chunk_path, open_array, promises_files
from catalog.stores import LocalStore, Store, read_json, reported_failures

_CRC_BYTES = 4
# CRC-32C of any bytes followed by their own: the residue of CRC-32/ISCSI in Cook's catalogue of CRCs, inverted.
_RESIDUE = ~0xB798B438 & 0xFFFFFFFF
_EMPTY = np.uint64(2**64 - 1)  # Zarr v3 sharding: offset and length of a chunk that holds only the fill value
_INDEX_CODECS = ["bytes", "crc32c"]
_CHUNK_CODECS = ["bytes", "blosc", "crc32c"]
_METADATA = ("shape", "data_type", "fill_value", "chunk_grid", "chunk_key_encoding", "codecs")
_KEYS = {"name": "default", "configuration": {"separator": "/"}}
_NEVER_EMPTY = ("s2_10m", "s2_20m", "s1")  # a shard whose every patch lacks a sensor is never built
CURE = "restore the shard from its publisher, or remove it and run the build again"
_MAX_RANGE_BYTES = 4 << 20  # of one request: a block then arrives on several connections, and is decoded meanwhile

blosc.use_threads = False  # callers read in threads of their own; blosc's global pool would serialise them


class ShardReader:
    """One shard. Safe to use from many threads. Memory: 16 bytes a patch and array that was read."""

    def __init__(self, path: Path | str, store: Store | None = None, cure: str = CURE) -> None:
        """Read nothing yet.

        Args:
            path: of the shard in the store.
            store: where it lies; the disk where None.
            cure: what to do about damage, for errors.
        """
        self.path, self._cure = path, cure
        self._store = store or LocalStore(Path())
        self._arrays: dict[str, _ArrayReader] = {}
        self._lock = threading.Lock()

    def read_into(self, name: str, row: int, out: NDArray[Any]) -> None:
        """Read one patch's block of an array into `out`.

        Raises:
            CorpusError: the shard has no such array or row.
            ChecksumError: the stored bytes were damaged.
            StoreError: the store does not answer.
        """
        array = self.open(name)
        array.check(row, out)
        array.read_into(row, out)

    def reads(self, name: str, rows: Sequence[int], outs: Sequence[NDArray[Any]]) -> list[Callable[[], None]]:
        """What to call, in any order and at once, to read a block for each of many rows; opens the array.

        Raises:
            CorpusError: the shard has no such array or row.
        """
        array = self.open(name)
        for row, out in zip(rows, outs, strict=True):
            array.check(row, out)
        if self._store.is_remote:
            return array.reads_of_ranges(rows, outs)
        return [functools.partial(array.read_into, row, out) for row, out in zip(rows, outs, strict=True)]

    def open(self, name: str) -> "_ArrayReader":
        """Read an array's metadata and chunk index, unless they are known."""
        if name not in self._arrays:
            opened = _ArrayReader(self._store, str(self.path), name, self._cure)  # two threads may; one is kept
            with self._lock:
                self._arrays.setdefault(name, opened)
        return self._arrays[name]


@dataclass(slots=True)
class _Range:
    """Bytes of a shard file that hold the chunks of some rows, one after the other."""

    start: int
    stop: int
    chunks: list[tuple[int, int, int, NDArray[Any]]]
    """Row, first and last byte, and where its block goes."""


class _ArrayReader:
    def __init__(self, store: Store, path: str, name: str, cure: str) -> None:
        self._name, self._store = name, store
        self.where = store.address(f"{path}/{name}")
        self._cure = cure
        meta = _metadata(store, path, name, cure)
        self.rows = int(meta["shape"][0])
        self.shape = tuple(meta["shape"][1:])
        self.dtype = np.dtype(meta["data_type"])
        self.fill_value = meta["fill_value"]
        self._fallback = None if _is_known_layout(meta) else _open_slowly(store, path, name)
        self._file = f"{path}/{chunk_path(name, len(meta['shape']))}"
        self._index = self._read_index(path) if self._fallback is None else np.empty((0, 2), np.int64)

    def _read_index(self, path: str) -> NDArray[np.uint64]:
        """Offset and length of every row's chunk: the last bytes of the shard file."""
        nbytes = self.rows * 16 + _CRC_BYTES
        try:
            index = self._store.read_tail(self._file, nbytes)
        except FileNotFoundError as error:  # every chunk holds only the fill value
            if self._name in _NEVER_EMPTY or promises_files(read_json(self._store, f"{path}/zarr.json", self._cure)):
                raise ChecksumError(f"{self._store.address(self._file)} is missing; {self._cure}") from error
            return np.full((self.rows, 2), _EMPTY)
        self._check(index, nbytes, f"the chunk index of {self.where}")
        return np.frombuffer(index, "<u8", 2 * self.rows).reshape(self.rows, 2)

    def check(self, row: int, out: NDArray[Any]) -> None:
        """Raise CorpusError unless the row is there and fits the buffer."""
        if not 0 <= row < self.rows:
            raise CorpusError(f"{self.where} has rows 0..{self.rows - 1}; row {row} was asked for")
        if out.shape != self.shape or out.dtype != self.dtype:
            raise CorpusError(f"{self.where} holds {self.dtype} {self.shape}; the buffer is {out.dtype} {out.shape}")

    def read_into(self, row: int, out: NDArray[Any]) -> None:
        if self._fallback is not None:
            self._read_slowly(self._fallback, row, out)
            return
        offset, nbytes = self._index[row]
        if offset == _EMPTY:
            out[...] = self.fill_value
            return
        self._decode(row, self._borrow(int(offset), int(nbytes)), int(nbytes), out)

    def _read_slowly(self, array: Any, row: int, out: NDArray[Any]) -> None:
        """With zarr-python."""
        try:
            with reported_failures(self._store, self._name):
                out[...] = array[row]
        except DAMAGE as error:
            raise ChecksumError(f"row {row} of {self.where} is damaged ({error}); {self._cure}", row) from error

    def reads_of_ranges(self, rows: Sequence[int], outs: Sequence[NDArray[Any]]) -> list[Callable[[], None]]:
        """The same for many rows, where chunks that touch are read in one range."""
        alone = [i for i, row in enumerate(rows) if self._fallback is not None or self._index[row, 0] == _EMPTY]
        whole = [functools.partial(self.read_into, rows[i], outs[i]) for i in alone]
        placed = sorted(
            (int(self._index[rows[i], 0]), int(self._index[rows[i], 1]), i) for i in set(range(len(rows))) - set(alone)
        )
        ranges: list[_Range] = []
        for start, nbytes, i in placed:
            chunk, stop = (rows[i], start, start + nbytes, outs[i]), start + nbytes
            if ranges and start <= ranges[-1].stop and stop - ranges[-1].start <= _MAX_RANGE_BYTES:
                ranges[-1].chunks.append(chunk)
                ranges[-1].stop = max(stop, ranges[-1].stop)
            else:
                ranges.append(_Range(start, stop, [chunk]))
        return [*whole, *(functools.partial(self._read_range, part) for part in ranges)]

    def _read_range(self, part: _Range) -> None:
        block = memoryview(self._borrow(part.start, part.stop - part.start))
        for row, start, stop, out in part.chunks:
            self._decode(row, block[start - part.start : stop - part.start], stop - start, out)

    def _borrow(self, start: int, nbytes: int) -> bytes | memoryview:
        try:
            return self._store.borrow(self._file, start, nbytes)
        except FileNotFoundError as error:
            where = self._store.address(self._file)
            raise ChecksumError(f"{where} is missing since it was opened; {self._cure}") from error

    def _decode(self, row: int, chunk: bytes | memoryview, nbytes: int, out: NDArray[Any]) -> None:
        self._check(chunk, nbytes, f"row {row} of {self.where}", row)
        blosc.decompress(chunk, out)  # a blosc chunk states its length: the checksum after it is not looked at

    def _check(self, block: bytes | memoryview, nbytes: int, what: str, row: int | None = None) -> None:
        """Check bytes that end with their own CRC-32C."""
        if len(block) < nbytes:
            raise ChecksumError(f"{what} is damaged (the file is too short); {self._cure}", row)
        if crc32c(block) != _RESIDUE:
            raise ChecksumError(f"{what} is damaged (CRC-32C does not match); {self._cure}", row)


def _open_slowly(store: Store, path: str, name: str) -> Any:
    with reported_failures(store, f"{path}/{name}"):
        return open_array(store.zarr(path), name)


def _metadata(store: Store, path: str, name: str, cure: str) -> dict[str, Any]:
    where = store.address(f"{path}/{name}/zarr.json")
    try:
        meta: dict[str, Any] = json.loads(store.read_all(f"{path}/{name}/zarr.json"))
    except FileNotFoundError as error:
        raise CorpusError(f"there is no array {name!r} in {store.address(path)}; check its name, or {cure}") from error
    except ValueError as error:
        raise SchemaError(f"{where} is not JSON ({error}); {cure}") from error
    if missing := [member for member in _METADATA if member not in meta]:
        raise SchemaError(f"{where} lacks {', '.join(missing)}; {cure}")
    return meta


def _is_known_layout(meta: dict[str, Any]) -> bool:
    """One shard file for the whole array, one patch a chunk, the codecs of `catalog.shard`."""
    shape, codecs = meta["shape"], meta["codecs"]
    if [codec["name"] for codec in codecs] != ["sharding_indexed"] or meta["data_type"] == "string":
        return False
    sharding = codecs[0]["configuration"]
    return bool(
        meta["chunk_key_encoding"] == _KEYS
        and meta["chunk_grid"]["configuration"]["chunk_shape"] == shape
        and sharding["chunk_shape"] == [1, *shape[1:]]
        and _names(sharding["codecs"]) == _CHUNK_CODECS
        and _names(sharding["index_codecs"]) == _INDEX_CODECS
        and sharding["index_location"] == "end"
        and all(_is_little(parts[0]) for parts in (sharding["codecs"], sharding["index_codecs"]))
    )


def _is_little(codec: dict[str, Any]) -> bool:
    """Whether a "bytes" codec stores the least byte first; single bytes state no order."""
    return bool(codec.get("configuration", {}).get("endian", "little") == "little")


def _names(codecs: Sequence[dict[str, Any]]) -> list[str]:
    return [codec["name"] for codec in codecs]
