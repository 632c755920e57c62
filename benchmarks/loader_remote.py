"""Reading over HTTP with a delay a request: this project's corpus and zarr-python's, on the same server, in turn."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.range_server import RangeServer
from catalog.corpus import Corpus
from catalog.shard_cache import ShardCache
from catalog.stores import CONNECTIONS

BATCH, NAMES = 64, ("s2_10m", "s2_20m", "s1")
DELAY_S = 0.04
ROUNDS = 3
_SHARD_ROWS = 256

Read = Callable[[NDArray[Any]], Any]


def measure(public: Path, scratch: Path, patches: int) -> dict[str, Any]:
    """Patches a second and requests a patch: random patches, neighbours, and through a cache of whole shards."""
    rows = np.random.default_rng(0).permutation(patches)
    batches = [rows[start : start + BATCH] for start in range(0, patches, BATCH)]
    blocks = [np.arange(start, start + BATCH) for start in range(0, patches, BATCH)]
    with RangeServer(public, DELAY_S) as server:
        href = f"{server.href}/unlabelled"

        def timed(read: Read, parts: list[NDArray[Any]]) -> dict[str, float]:
            started = time.perf_counter()
            with server.counted() as requests:
                for part in parts:
                    read(part)
            seconds, count = time.perf_counter() - started, sum(map(len, parts))
            return {"patches_per_s": round(count / seconds, 1), "requests_per_patch": round(requests[0] / count, 4)}

        def in_turn(reads: dict[str, tuple[Read, list[NDArray[Any]]]]) -> dict[str, dict[str, float]]:
            rounds = [{name: timed(*read) for name, read in reads.items()} for _ in range(ROUNDS)]
            return {
                name: {
                    "patches_per_s": statistics.median(one[name]["patches_per_s"] for one in rounds),
                    "requests_per_patch": max(one[name]["requests_per_patch"] for one in rounds),
                }
                for name in reads
            }

        def own(**options: Any) -> Read:
            corpus = Corpus.open(href, **options)
            return lambda part: corpus.read(part, NAMES)

        zarr_python = _ZarrPython(href, patches)
        cached = own(cache=ShardCache(scratch / "shard-cache"))
        return {
            "delay_s": DELAY_S,
            "connections": CONNECTIONS,
            "rounds": ROUNDS,
            "random patches": in_turn(
                {
                    "this project": (own(), batches),  # at first with the chunk indices, which it asks for once
                    "zarr-python, a batch at once": (zarr_python.read_random, batches),
                }
            ),
            "blocks of 64": in_turn(
                {
                    "this project": (own(), blocks),
                    "zarr-python, slices": (zarr_python.read_slices, blocks[: len(blocks) // 4]),
                    "zarr-python, slices of all arrays at once": (zarr_python.read_block, blocks[: len(blocks) // 4]),
                }
            ),
            "whole shards cached": {"first epoch": timed(cached, batches), "later": timed(cached, batches)},
        }


class _ZarrPython:
    """The same shards by zarr-python's asynchronous interface over obstore."""

    def __init__(self, href: str, patches: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._groups = self._loop.run_until_complete(self._open(href, -(-patches // _SHARD_ROWS)))

    async def _open(self, href: str, shards: int) -> list[list[Any]]:
        import zarr.api.asynchronous as zarr
        from obstore.store import HTTPStore
        from zarr.storage import ObjectStore

        opened = []
        for shard in range(shards):
            store = HTTPStore.from_url(f"{href}/shards/{shard:06d}.zarr", client_options={"allow_http": True})
            group = await zarr.open_group(ObjectStore(store, read_only=True), mode="r")
            opened.append([await group.getitem(name) for name in NAMES])
        return opened

    def _gather(self, reads: list[Awaitable[Any]]) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(*reads)

        self._loop.run_until_complete(all_of_them())

    def read_random(self, rows: NDArray[Any]) -> None:
        """Every patch and array of a batch at once."""
        places = [divmod(row, _SHARD_ROWS) for row in rows.tolist()]
        self._gather([array.getitem(row) for shard, row in places for array in self._groups[shard]])

    def read_block(self, rows: NDArray[Any]) -> None:
        """Neighbours of one shard as one slice an array."""
        self._gather(self._slices(rows))

    def read_slices(self, rows: NDArray[Any]) -> None:
        """The same, one array after the other, as `group[name][start:stop]` does."""
        for one in self._slices(rows):
            self._gather([one])

    def _slices(self, rows: NDArray[Any]) -> list[Awaitable[Any]]:
        shard, first = divmod(int(rows[0]), _SHARD_ROWS)
        return [array.getitem(slice(first, first + len(rows))) for array in self._groups[shard]]
