"""Random access to the patches of one shard, without zarr-python on the way.

The layout of `catalog.shard` is plain Zarr v3, which any Zarr library reads. This reader knows that layout: it
keeps the shard's chunk index in memory, reads one byte range a patch and array, checks its CRC-32C and decodes
straight into the caller's batch, outside the GIL. A shard of any other layout is read with zarr-python.
"""

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from catalog.errors import ChecksumError, CorpusError, SchemaError
from catalog.shard import open_array

_CRC_BYTES = 4
_EMPTY = np.uint64(2**64 - 1)  # Zarr v3 sharding: offset and length of a chunk that holds only the fill value
_INDEX_CODECS = ["bytes", "crc32c"]
_CHUNK_CODECS = ["bytes", "blosc", "crc32c"]
_METADATA = ("shape", "data_type", "fill_value", "chunk_grid", "chunk_key_encoding", "codecs")
_KEYS = {"name": "default", "configuration": {"separator": "/"}}
_NEVER_EMPTY = ("s2_10m", "s2_20m", "s1")  # a shard whose every patch lacks a sensor is never built
_CURE = "restore the shard from its publisher, or remove it and run the build again"

blosc.use_threads = False  # callers read in threads of their own; blosc's global pool would serialise them


class ShardReader:
    """One shard. Safe to use from many threads; holds chunk indices in memory, and no file open between reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrays: dict[str, _ArrayReader] = {}
        self._lock = threading.Lock()

    def read_into(self, name: str, row: int, out: NDArray[Any]) -> None:
        """Read one patch's block of an array into `out`.

        Raises:
            CorpusError: the shard has no such array or row.
            ChecksumError: the stored bytes were damaged.
        """
        self._array(name).read_into(row, out)

    def _array(self, name: str) -> "_ArrayReader":
        with self._lock:
            if name not in self._arrays:
                self._arrays[name] = _ArrayReader(self.path, name)
            return self._arrays[name]


class _ArrayReader:
    def __init__(self, path: Path, name: str) -> None:
        self._name, self.where = name, f"{path}/{name}"
        meta = _metadata(path / name)
        self.rows = int(meta["shape"][0])
        self.shape = tuple(meta["shape"][1:])
        self.dtype = np.dtype(meta["data_type"])
        self.fill_value = meta["fill_value"]
        self._fallback = None if _is_known_layout(meta) else open_array(path, name)
        self._file = path / name / "c" / "/".join("0" * len(meta["shape"]))
        self._index = self._read_index() if self._fallback is None else np.empty((0, 2), np.uint64)

    def _read_index(self) -> NDArray[np.uint64]:
        """Offset and length of every row's chunk: the last bytes of the shard file."""
        if not self._file.exists():  # every chunk holds only the fill value
            if self._name in _NEVER_EMPTY:
                raise ChecksumError(f"{self._file} is missing; {_CURE}")
            return np.full((self.rows, 2), _EMPTY)
        nbytes = self.rows * 16
        with self._file.open("rb") as stream:
            start = max(0, self._file.stat().st_size - nbytes - _CRC_BYTES)
            index = _read_checked(stream.fileno(), start, nbytes, f"the chunk index of {self.where}")
        return np.frombuffer(index, "<u8").reshape(self.rows, 2)

    def read_into(self, row: int, out: NDArray[Any]) -> None:
        if not 0 <= row < self.rows:
            raise CorpusError(f"{self.where} has rows 0..{self.rows - 1}; row {row} was asked for")
        if out.shape != self.shape or out.dtype != self.dtype:
            raise CorpusError(f"{self.where} holds {self.dtype} {self.shape}; the buffer is {out.dtype} {out.shape}")
        if self._fallback is not None:
            out[...] = self._fallback[row]
            return
        offset, nbytes = self._index[row]
        if offset == _EMPTY:
            out[...] = self.fill_value
            return
        descriptor = os.open(self._file, os.O_RDONLY)
        try:
            chunk = _read_checked(descriptor, int(offset), int(nbytes) - _CRC_BYTES, f"row {row} of {self.where}")
        finally:
            os.close(descriptor)
        blosc.decompress(chunk, out)


def _read_checked(descriptor: int, offset: int, nbytes: int, what: str) -> bytes:
    """Read a range that its CRC-32C follows. Two reads, since the checksum's library takes whole bytes objects."""
    body = os.pread(descriptor, nbytes, offset)
    crc = os.pread(descriptor, _CRC_BYTES, offset + nbytes)
    if len(crc) < _CRC_BYTES:  # no bytes at all would have the right checksum, 0
        raise ChecksumError(f"{what} is damaged (the file is too short); {_CURE}")
    if google_crc32c.value(body) != int.from_bytes(crc, "little"):
        raise ChecksumError(f"{what} is damaged (CRC-32C does not match); {_CURE}")
    return body


def _metadata(path: Path) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = json.loads((path / "zarr.json").read_text())
    except FileNotFoundError as error:
        raise CorpusError(f"there is no array {path.name!r} in {path.parent}") from error
    except json.JSONDecodeError as error:
        raise SchemaError(f"{path}/zarr.json is not JSON ({error}); {_CURE}") from error
    if missing := [name for name in _METADATA if name not in meta]:
        raise SchemaError(f"{path}/zarr.json lacks {', '.join(missing)}; {_CURE}")
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
