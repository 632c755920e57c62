"""Readers of the very same shards, native types, random patches: zarr-python, zarrs, tensorstore; and icechunk."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loader_peers.worker import Epoch

NAMES, BATCH, THREADS = ("s2_10m", "s2_20m", "s1"), 64, 2
_SHAPES = {"s2_10m": ((4, 256, 256), "u2"), "s2_20m": ((8, 128, 128), "u2"), "s1": ((2, 256, 256), "i2")}
_SHARD_ROWS = 256

Read = Callable[[int], list[Any]]


def epoch(name: str, root: Path, patches: int) -> Epoch:
    """What to measure: batches read by two threads, a thread a batch, the patches of a batch one by one."""
    if name == "tensorstore":
        read_batch = _tensorstore(root)
    else:
        read = {"zarr-python": _zarr_python, "zarrs": _zarrs}.get(name, _icechunk)(root)

        def read_batch(rows: np.ndarray) -> int:
            batch = [np.empty((len(rows), *shape), dtype) for shape, dtype in _SHAPES.values()]
            for i, row in enumerate(rows.tolist()):
                for out, values in zip(batch, read(row), strict=True):
                    out[i] = values
            return len(rows)

    rng, pool = np.random.default_rng(0), ThreadPoolExecutor(THREADS)

    def run() -> Iterator[int]:
        yield from pool.map(read_batch, np.array_split(rng.permutation(patches), patches // BATCH))

    return run


def _groups(root: Path) -> list[Any]:
    import zarr

    return [zarr.open_group(path, mode="r") for path in sorted(root.glob("*.zarr"))]


def _zarr_python(root: Path) -> Read:
    arrays = [[group[name] for name in NAMES] for group in _groups(root)]
    return lambda row: [array[row % _SHARD_ROWS] for array in arrays[row // _SHARD_ROWS]]


def _zarrs(root: Path) -> Read:
    import zarr
    import zarrs

    assert zarrs
    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    return _zarr_python(root)


def _icechunk(root: Path) -> Read:
    import icechunk
    import zarr

    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(root)))
    group = zarr.open_group(repository.readonly_session("main").store, mode="r")
    arrays = [group[name] for name in NAMES]
    return lambda row: [array[row] for array in arrays]


def _tensorstore(root: Path) -> Callable[[np.ndarray], int]:
    import tensorstore as ts

    context = ts.Context({"data_copy_concurrency": {"limit": THREADS}, "file_io_concurrency": {"limit": THREADS}})

    def open_(path: Path) -> Any:
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
        return ts.open(spec, read=True, open=True, context=context).result()

    arrays = [[open_(path / name) for name in NAMES] for path in sorted(root.glob("*.zarr"))]

    def read_batch(rows: np.ndarray) -> int:
        batch = [np.empty((len(rows), *shape), dtype) for shape, dtype in _SHAPES.values()]
        futures = [array[row % _SHARD_ROWS].read() for row in rows.tolist() for array in arrays[row // _SHARD_ROWS]]
        for k, future in enumerate(futures):
            batch[k % 3][k // 3] = future.result()
        return len(rows)

    return read_batch
