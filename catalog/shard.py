"""Write-once shards: 256 patches as one Zarr v3 group, written aside, then committed by one rename.

A reader never sees half a shard, and a crash loses at most the shard in flight. Every chunk holds one patch with
all bands of one array and ends with its own CRC-32C, so a damaged patch is noticed when it is read.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from catalog import schema
from catalog.errors import ChecksumError, OutputExistsError, SchemaError
from catalog.patch import Patch, Provenance

STORES_FILL = "stores_fill"  # attribute of a group whose every array has its file, also one of nothing but fill
DAMAGE = (ValueError, RuntimeError)
"""What zarr-python and its codecs raise over damaged bytes."""

_HASH_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ShardRef:
    """A committed shard: where it is, how much it holds, and the checksum it must keep."""

    href: str
    rows: int
    nbytes: int
    sha256: str


def shard_path(root: Path, index: int) -> Path:
    """Where shard `index` of a corpus lies."""
    return root / "shards" / f"{index:06d}.zarr"


def list_shards(root: Path) -> list[int]:
    """Numbers of the committed shards, in order; shards being written are not among them."""
    return sorted(int(path.stem) for path in (root / "shards").glob("[0-9]*.zarr"))


def write_shard(root: Path, index: int, patches: Sequence[Patch]) -> ShardRef:
    """Write patches as shard `index` of a corpus, all or nothing.

    Equal patches give equal bytes.

    Raises:
        SchemaError: a patch does not fit the contract, or the patches differ in side or arrays.
        OutputExistsError: the shard is already committed.
    """
    final = shard_path(root, index)
    if final.exists():
        raise OutputExistsError(
            f"shard {final} is already written; shards are written once: remove it to write it again"
        )
    _check_alike(patches)
    aside = final.with_name(f".{final.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _write_group(aside, patches)
        _fsync_tree(aside)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _fsync_directory(final.parent)
    return shard_ref(root, index)


def shard_ref(root: Path, index: int) -> ShardRef:
    """Measure a committed shard: rows, bytes and the SHA-256 over its files in sorted order."""
    path = shard_path(root, index)
    digest, nbytes = hashlib.sha256(), 0
    for file in sorted(path.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
            nbytes += _hash_file(file, digest.update)
    return ShardRef(f"shards/{path.name}", open_array(path, "patch").shape[0], nbytes, digest.hexdigest())


def provenance_of(root: Path, index: int) -> list[Provenance]:
    """Where each patch of a shard came from, in row order."""
    return read_provenance(shard_path(root, index))


def read_provenance(place: Any) -> list[Provenance]:
    """The same of the shard at `place`, a path or a store of zarr-python's.

    Raises:
        SchemaError: there is none, or one that is damaged.
    """
    try:
        texts = np.asarray(open_array(place, "provenance")[:])
    except DAMAGE as error:
        raise ChecksumError(f"{place}/provenance is damaged ({error}); restore the shard, or build it again") from error
    return [Provenance.from_json(str(text)) for text in texts]


def open_array(place: Any, name: str) -> zarr.Array[Any]:
    """Open one array of a shard with zarr-python.

    Args:
        place: the shard's path, or a store of zarr-python's.

    Raises:
        SchemaError: there is no readable Zarr array.
    """
    try:
        return zarr.open_array(place, path=name, mode="r", zarr_format=3)
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise SchemaError(f"{place}/{name} is not a readable Zarr v3 array ({error}); build it again") from error


def promises_files(group: Mapping[str, Any]) -> bool:
    """Whether a shard, by the metadata of its group, was written with a file for every array."""
    return bool(group.get("attributes", {}).get(STORES_FILL))


def chunk_path(name: str, dimensions: int) -> str:
    """The one file of a shard that holds all values of an array."""
    return f"{name}/c/" + "/".join("0" * dimensions)


def missing_files(root: Path, index: int) -> list[str]:
    """Arrays of a committed shard whose pixels' file is gone, which any Zarr reader would show as fill values.

    Of shards that promise nothing about it (`STORES_FILL`), none is said to be missing.
    """
    path = shard_path(root, index)
    if not promises_files(json.loads((path / "zarr.json").read_text())):
        return []
    arrays = [spec.name for spec in schema.ARRAYS if (path / spec.name / "zarr.json").is_file()]
    return [name for name in arrays if not any(file.is_file() for file in (path / name / "c").rglob("*"))]


def _check_alike(patches: Sequence[Patch]) -> None:
    if not patches:
        raise SchemaError("a shard needs at least one patch")
    kinds = {(patch.provenance.grid.side_px, tuple(schema.arrays_of(patch))) for patch in patches}
    if len(kinds) > 1:
        raise SchemaError(f"patches of one shard must have one side and the same arrays; found {sorted(kinds)}")
    for patch in patches:
        schema.check(patch)


def _write_group(path: Path, patches: Sequence[Patch]) -> None:
    attributes = {"schema_version": schema.SCHEMA_VERSION, STORES_FILL: True}
    group = zarr.create_group(path, zarr_format=3, attributes=attributes)
    for name in schema.arrays_of(patches[0]):
        _write_array(group, schema.BY_NAME[name], np.stack([schema.arrays_of(patch)[name] for patch in patches]))
    for name, values in _coordinates(patches).items():
        dims = ("patch",) if name not in schema.COORDINATES else (name,)
        dtype = "str" if values.dtype.kind == "U" else values.dtype
        array = group.create_array(name, shape=values.shape, chunks=values.shape, dtype=dtype, dimension_names=dims)
        array[:] = values
    with warnings.catch_warnings():
        # zarr-python warns that v3 consolidation is young; xarray and remote readers need it to open in one request.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(path)


def _write_array(group: zarr.Group, spec: schema.ArraySpec, values: np.ndarray) -> None:
    array = group.create_array(
        spec.name,
        shape=values.shape,
        chunks=(1, *values.shape[1:]),
        shards=values.shape,
        dtype=values.dtype,
        fill_value=spec.fill_value,
        # zstd 5 with bitshuffle decodes at 1.8 GB/s and halves the bytes; CRC-32C finds damage that blosc would not.
        compressors=[BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"), Crc32cCodec()],
        dimension_names=("patch", *spec.dims),
        attributes=dict(spec.attributes),
        config={"write_empty_chunks": True},  # as STORES_FILL promises
    )
    array[...] = values


def _coordinates(patches: Sequence[Patch]) -> dict[str, np.ndarray]:
    grids = [patch.provenance.grid for patch in patches]
    columns: dict[str, Any] = {name: np.array(labels) for name, labels in schema.COORDINATES.items()}
    columns["patch"] = np.array([patch.patch_id for patch in patches])
    columns["provenance"] = np.array([patch.provenance.to_json() for patch in patches])
    for name in ("epsg", "west_m", "north_m"):
        columns[name] = np.array([getattr(grid, name) for grid in grids], np.int32)
    return columns


def _hash_file(path: Path, update: Callable[[bytes], None]) -> int:
    nbytes = 0
    with path.open("rb") as stream:
        while block := stream.read(_HASH_BLOCK_BYTES):
            update(block)
            nbytes += len(block)
    return nbytes


def _fsync_tree(path: Path) -> None:
    for entry in sorted(path.rglob("*")):
        if entry.is_file():
            with entry.open("rb") as stream:
                os.fsync(stream.fileno())
        else:
            _fsync_directory(entry)
    _fsync_directory(path)


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
