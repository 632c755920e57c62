"""Whole shards of remote stores, kept in a local folder of bounded size.

A shard is fetched once, whole, into a folder named by its checksum, and appears there only after that checksum was
found right; when room is needed, the shards that were not used for longest go. One process uses a cache at a time.
"""

import contextlib
import fcntl
import functools
import json
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from catalog.errors import ChecksumError, CorpusError, SchemaError
from catalog.reader import ShardReader
from catalog.shard import ShardRef, chunk_path, list_shards, shard_path, shard_ref
from catalog.stores import LocalStore, Store, read_json

_PART_BYTES = 8 << 20  # of one request
_PARTS_AT_ONCE = 8  # with the line above, 64 MB in memory while shards are fetched
_SHARDS_AT_ONCE = 2
_CURE = (
    "a damaged copy in the cache is removed: run again to fetch it anew; if that does not help, have its publisher "
    "restore the shard"
)
_SHA256 = re.compile("[0-9a-f]{64}")  # the name of a shard; whatever else lies in the folder is somebody else's


class ShardCache:
    """A folder of shards. Safe to use from many threads."""

    def __init__(self, folder: Path, max_bytes: int = 20_000_000_000) -> None:
        """Take the folder over, with the shards that an earlier process left there.

        Raises:
            CorpusError: another process uses it.
        """
        self.folder, self.max_bytes = folder, max_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_file = _lock(folder)
        stored = [path for path in folder.iterdir() if _SHA256.fullmatch(path.name) and path.is_dir()]
        torn = [path for path in stored if len(list_shards(path)) != 1]
        for leftover in (*torn, *folder.glob(".fetching-*")):
            shutil.rmtree(leftover)
        stored = [path for path in stored if path not in torn]
        self._nbytes = {path.name: _nbytes(path) for path in sorted(stored, key=lambda path: path.stat().st_mtime)}
        """Of each shard, by checksum, the least recently used first."""
        self._pins: Counter[str] = Counter()
        """How many read each shard, where anybody does."""
        self._pinned_nbytes: dict[str, int] = {}
        self._refs: dict[tuple[str, int], ShardRef] = {}
        self._readers: dict[str, ShardReader] = {}
        self._files = LocalStore(folder)
        self._fetching: dict[str, Future[bool]] = {}
        """Of each shard that is asked for: whether it has come."""
        self._coming: dict[str, int] = {}
        """Bytes of each shard that room was made for."""
        self._damaged: set[str] = set()
        """To be removed when nobody reads them."""
        self._changed = threading.Condition(threading.Lock())
        """Guards all of the above."""
        self._begins = ThreadPoolExecutor(1, thread_name_prefix="shard-cache-begin")
        self._shards = ThreadPoolExecutor(_SHARDS_AT_ONCE, thread_name_prefix="shard-cache")
        self._parts = ThreadPoolExecutor(_PARTS_AT_ONCE, thread_name_prefix="shard-cache-part")

    @contextlib.contextmanager
    def kept(self, store: Store, shards: Collection[int]) -> Iterator[dict[int, ShardReader]]:
        """Readers of these shards, fetched if need be; none is removed until the block ends.

        Raises:
            CorpusError: the cache cannot hold them.
            StoreError: the store does not answer.
            ChecksumError: what it sent is not what was published.
        """
        refs = {shard: self._ref(store, shard) for shard in sorted(shards)}
        if (needed := sum({ref.sha256: ref.nbytes for ref in refs.values()}.values())) > self.max_bytes:
            raise CorpusError(
                f"one batch needs {len(refs)} shards of {store.href}, {needed / 1e6:,.1f} MB; the cache {self.folder} "
                f"holds {self.max_bytes / 1e6:,.1f} MB: raise its size, or let a batch mix fewer shards"
            )
        with self._pinned({ref.sha256: ref.nbytes for ref in refs.values()}):
            for shard, ref, future in [(shard, ref, self._fetch(store, shard, ref)) for shard, ref in refs.items()]:
                while not future.result():  # begun when nobody waited for it, and there was no room
                    future = self._fetch(store, shard, ref)
            try:
                yield {shard: self._reader(ref.sha256) for shard, ref in refs.items()}
            except (SchemaError, CorpusError):
                self._find_damaged(refs.values())
                raise

    def close(self) -> None:
        """Wait for what is being fetched and let other processes use the folder."""
        for pool in (self._begins, self._shards, self._parts):
            pool.shutdown()
        self._files.close()
        self._lock_file.close()

    def prefetch(self, store: Store, shards: Collection[int]) -> None:
        """Begin to fetch shards, while there is room; what goes wrong is raised when they are asked for."""
        for shard in sorted(shards):
            self._begins.submit(self._begin, store, shard)

    def _begin(self, store: Store, shard: int) -> None:
        self._fetch(store, shard, self._ref(store, shard))

    def _ref(self, store: Store, shard: int) -> ShardRef:
        """Size and checksum of a shard, as it was published."""
        key = (store.href, shard)
        if key not in self._refs:
            stated = read_json(store, f"shard-{shard:06d}/shard.json", "publish the build again", ("ref",))
            self._refs[key] = ShardRef(**stated["ref"])
        return self._refs[key]

    @contextlib.contextmanager
    def _pinned(self, nbytes: dict[str, int]) -> Iterator[None]:
        """Keep shards of these sizes: all, or until others let go of enough, none; so nobody waits in a circle."""
        with self._changed:
            self._changed.wait_for(lambda: sum((self._pinned_nbytes | nbytes).values()) <= self.max_bytes)
            self._pinned_nbytes |= nbytes
            self._pins.update(nbytes.keys())
        try:
            yield
        finally:
            with self._changed:
                self._pins.subtract(nbytes.keys())
                for name in [name for name in nbytes if not self._pins[name]]:
                    del self._pins[name], self._pinned_nbytes[name]
                    if name in self._damaged:
                        self._remove(name)
                self._changed.notify_all()

    def _reader(self, name: str) -> ShardReader:
        with self._changed:
            self._nbytes[name] = self._nbytes.pop(name)  # now the last to go
            if name not in self._readers:
                (shard,) = list_shards(self.folder / name)
                self._readers[name] = ShardReader(shard_path(Path(name), shard), self._files, _CURE)
                os.utime(self.folder / name)
            return self._readers[name]

    def _find_damaged(self, refs: Collection[ShardRef]) -> None:
        """Look through shards that are in use."""
        for ref in refs:
            if not _is_intact(self.folder / ref.sha256, ref):
                self._damaged.add(ref.sha256)

    def _fetch(self, store: Store, shard: int, ref: ShardRef) -> "Future[bool]":
        """Done at once where the shard is there; otherwise as soon as someone has fetched it."""
        with self._changed:
            if ref.sha256 in self._nbytes:
                return _done()
            if ref.sha256 not in self._fetching:
                self._fetching[ref.sha256] = self._shards.submit(self._fetch_now, store, shard, ref)
            return self._fetching[ref.sha256]

    def _fetch_now(self, store: Store, shard: int, ref: ShardRef) -> bool:
        aside, has_come = self.folder / f".fetching-{ref.sha256}", False
        try:
            if not self._make_room(ref):
                return False
            self._copy(store, shard, aside)
            found = shard_ref(aside, shard)
            if (found.sha256, found.nbytes) != (ref.sha256, ref.nbytes):
                raise ChecksumError(
                    f"{store.href}/{ref.href} is not what was published: {found.nbytes} bytes with checksum "
                    f"{found.sha256}, expected {ref.nbytes} with {ref.sha256}; have its publisher restore it"
                )
            aside.rename(self.folder / ref.sha256)
            has_come = True
            return True
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            with self._changed:  # in one step: who does not find it here any more finds it there
                del self._fetching[ref.sha256]
                self._coming.pop(ref.sha256, None)
                if has_come:
                    self._nbytes[ref.sha256] = ref.nbytes
                self._changed.notify_all()

    def _make_room(self, ref: ShardRef) -> bool:
        """Remove shards that nobody reads until one more fits, and keep that room for it.

        Returns:
            False where there is no room, and nobody waits for the shard.
        """
        with self._changed:
            while (free := self._free_bytes()) + sum(self._nbytes[name] for name in self._idle()) < ref.nbytes:
                if ref.sha256 not in self._pins:
                    return False
                self._changed.wait()  # for what is coming and nobody asked for: it can go then
            for name in self._idle():
                if free >= ref.nbytes:
                    break
                free += self._remove(name)
            self._coming[ref.sha256] = ref.nbytes
            return True

    def _free_bytes(self) -> int:
        return self.max_bytes - sum(self._nbytes.values()) - sum(self._coming.values())

    def _idle(self) -> list[str]:
        """Shards that nobody reads, the least recently used first."""
        return [name for name in self._nbytes if name not in self._pins]

    def _remove(self, name: str) -> int:
        """Remove a shard that nobody reads; its bytes."""
        self._readers.pop(name, None)
        self._files.close()
        self._damaged.discard(name)
        shutil.rmtree(self.folder / name)
        return self._nbytes.pop(name)

    def _copy(self, store: Store, shard: int, root: Path) -> None:
        """Copy every file of a shard, large ones in parts."""
        source, target = shard_path(Path(), shard), shard_path(root, shard)
        group = json.loads(store.read_all(f"{source}/zarr.json"))
        members: dict[str, Any] = group["consolidated_metadata"]["metadata"]
        files = ["zarr.json"]
        for name, meta in members.items():
            files += [f"{name}/zarr.json", chunk_path(name, len(meta["shape"]))]
        sizes = list(self._parts.map(lambda path: _size(store, f"{source}/{path}"), files))
        parts = [
            (path, start, min(_PART_BYTES, size - start))
            for path, size in zip(files, sizes, strict=True)
            for start in range(0, size, _PART_BYTES)
        ]
        for path in files:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
        copy = functools.partial(_copy_part, store, source, target)
        for _ in self._parts.map(copy, parts):
            pass


def _is_intact(root: Path, ref: ShardRef) -> bool:
    try:
        found = shard_ref(root, list_shards(root)[0])
    except (SchemaError, OSError):
        return False
    return (found.sha256, found.nbytes) == (ref.sha256, ref.nbytes)


def _size(store: Store, path: str) -> int:
    try:
        return store.size(path)
    except FileNotFoundError:
        return 0  # an array of nothing but fill values may have no chunk; the checksum tells if it should


def _copy_part(store: Store, source: Path, target: Path, part: tuple[str, int, int]) -> None:
    path, start, nbytes = part
    descriptor = os.open(target / path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(descriptor, store.read(f"{source}/{path}", start, nbytes), start)
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> Any:
    file = (folder / ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise CorpusError(f"another process uses the cache {folder}; give each process a cache of its own") from error
    return file


def _nbytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _done() -> "Future[bool]":
    future: Future[bool] = Future()
    future.set_result(True)
    return future
