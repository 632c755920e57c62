"""This project's pipelines for `benchmarks.loader`, each in a process of its own: `python -m benchmarks.loader_own`."""

import functools
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.loader_peers.worker import Epoch, serve
from catalog.corpus import Corpus

BATCH, THREADS, SIDE_PX = 64, 2, 256
NAMES = ("s2_10m", "s2_20m", "s1")


def decode_bound(corpus: Corpus) -> Epoch:
    """Chunks in memory, decoded over and over into the same buffers: what no reader can beat."""
    from numcodecs import blosc

    from catalog.reader import ShardReader

    chunks = _chunks_in_memory(corpus)
    assert ShardReader  # importing it turns blosc's own threads off
    local = [{name: np.empty_like(corpus.read([0], NAMES)[name][0]) for name in NAMES} for _ in range(THREADS)]

    def decode(thread: int, rows: NDArray[Any]) -> int:
        for row in rows.tolist():
            for name in NAMES:
                blosc.decompress(chunks[row][name], local[thread][name])
        return len(rows)

    pool = ThreadPoolExecutor(THREADS)

    def run() -> Iterator[int]:
        parts = np.array_split(np.random.default_rng(0).permutation(len(corpus)), THREADS)
        yield from pool.map(decode, range(THREADS), parts)

    return run


def _chunks_in_memory(corpus: Corpus) -> list[dict[str, bytes]]:
    """Every chunk again as blosc bytes, encoded with the codec of the shards."""
    from numcodecs import blosc

    found: list[dict[str, bytes]] = []
    for start in range(0, len(corpus), BATCH):
        stored = corpus.read(range(start, min(start + BATCH, len(corpus))), NAMES)
        for i in range(len(stored["s1"])):
            found.append({name: blosc.compress(stored[name][i], b"zstd", 5, blosc.BITSHUFFLE) for name in NAMES})
    return found


def reader(corpus: Corpus) -> Epoch:
    """`Corpus.read` of random batches in two threads: every patch checked, decoded into a batch."""
    pool, rng = ThreadPoolExecutor(THREADS), np.random.default_rng(0)

    def run() -> Iterator[int]:
        rows = rng.permutation(len(corpus))
        batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
        for start in range(0, len(batches), THREADS):  # no more batches in memory than threads
            yield from pool.map(lambda part: len(corpus.read(part, NAMES)["s1"]), batches[start : start + THREADS])

    return run


def reader_one_thread(corpus: Corpus) -> Epoch:
    """The same in one thread."""
    rng = np.random.default_rng(0)

    def run() -> Iterator[int]:
        rows = rng.permutation(len(corpus))
        for start in range(0, len(rows), BATCH):
            yield len(corpus.read(rows[start : start + BATCH], NAMES)["s1"])

    return run


def host(corpus: Corpus, access: str = "uniform") -> Epoch:
    """What `dsjax.pretrain` trains from: `training_batches`, integers as stored, ready for the device."""
    from dsjax.config import ReadConfig
    from dsjax.data import training_batches

    read = ReadConfig(access=access)  # type: ignore[arg-type]
    batches = training_batches(corpus, BATCH, SIDE_PX, 0, THREADS, read)

    def run() -> Iterator[int]:
        for _ in range(len(corpus) // BATCH):
            yield len(next(batches).s1)

    return run


def floats(corpus: Corpus) -> Epoch:
    """`CubeReader` in two threads: both sensors at 10 m, standardised, float32, 0 where nothing is valid."""
    from catalog.cubes import CubeReader

    cubes, rng = CubeReader(corpus, corpus.statistics, THREADS), np.random.default_rng(0)

    def run() -> Iterator[int]:
        rows = rng.permutation(len(corpus))
        for start in range(0, len(rows), BATCH):
            s2, s1 = cubes.read(rows[start : start + BATCH])
            assert s2.shape[1:] == (12, SIDE_PX, SIDE_PX)
            assert s2.dtype == s1.dtype == np.float32
            yield len(s2)
            del s2, s1  # else two batches are in memory

    return run


def floats_jit(corpus: Corpus) -> Epoch:
    """The batches of `host` through one compiled function on the CPU instead."""
    import jax
    import jax.numpy as jnp

    from dsjax.data import Batch, Normalisation, decode, normalise, training_batches

    normalisation = Normalisation.of(corpus.statistics)

    @jax.jit
    def prepare(batch: Batch[Any]) -> tuple[Any, Any]:
        inputs = normalise(decode(batch), normalisation)
        coarse = jnp.repeat(jnp.repeat(inputs.s2_20m, 2, axis=1), 2, axis=2)
        return jnp.concatenate([inputs.s2_10m, coarse], axis=-1), inputs.s1

    batches = training_batches(corpus, BATCH, SIDE_PX, 0, THREADS)

    def run() -> Iterator[int]:
        for _ in range(len(corpus) // BATCH):
            s2, s1 = jax.block_until_ready(prepare(next(batches)))
            assert s2.shape[1:] == (SIDE_PX, SIDE_PX, 12)
            assert s2.dtype == s1.dtype == np.float32
            yield len(s2)

    return run


PIPELINES = {
    "decode-bound": decode_bound,
    "reader": reader,
    "reader-one-thread": reader_one_thread,
    "host": host,
    "host-shards": functools.partial(host, access="shards"),
    "floats": floats,
    "floats-jit": floats_jit,
}


def main() -> None:
    """`NAME CORPUS PATCHES`."""
    name, href, patches = sys.argv[1:]
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    serve(PIPELINES[name](Corpus.open(Path(href))[: int(patches)]))


if __name__ == "__main__":
    main()
