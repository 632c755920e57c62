"""One published collection, in a folder or a remote store: its documents, its index and its shards."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from catalog.collections import MEMBERS, check_version
from catalog.errors import CorpusError
from catalog.index import read_index, read_open_index, stated_fingerprint
from catalog.patch import Provenance
from catalog.reader import ShardReader
from catalog.shard import read_provenance, shard_path
from catalog.shard_cache import ShardCache
from catalog.split_statistics import NAME as BY_SPLIT
from catalog.split_statistics import from_document
from catalog.stats import BandStatistics
from catalog.stores import LocalStore, Store, open_store, read_json, reported_failures

T = TypeVar("T")
R = TypeVar("R")

_NAME = "collection.json"
_CURE = "publish the build again"
_STATISTICS = ("patches", "bands", "corine", "osm")
_TORN = (
    "is being published, or publishing was interrupted: its index, collection.json and statistics.json are not of one "
    "state; try again, or publish the build again"
)


def _advice(store: Store) -> str:
    """What to do where a place holds no published collection, by what it holds."""
    if not isinstance(store, LocalStore):
        return "check the address, or publish a build there with catalog.publish"
    if not store.root.is_dir():
        return "check the path, or publish a build there with catalog.publish"
    if (store.root / "catalog.json").is_file():
        children = sorted(path.parent.name for path in store.root.glob("*/statistics.json"))
        return f"this is a catalog: give one of its collections ({', '.join(children) or 'it has none of patches'})"
    if (store.root / "corpus.json").is_file():
        return "this is a build: publish it with catalog.publish, and give what that makes"
    return "publish a build there with catalog.publish"


class Published:
    """A published collection. Safe to use from many threads.

    Attributes:
        href: its folder or URL.
        collection: its id.
        version: its version.
        side_px: side of every patch at 10 m.
        arrays: names of the pixel arrays that every shard holds.
        fingerprint: changes when any shard does.
        statistics: of all its patches, valid pixels only.
    """

    def __init__(self, href: str | Path, cache: ShardCache | None = None) -> None:
        """Open it.

        Args:
            cache: where to keep whole shards of a remote store.

        Raises:
            CorpusError: nothing is published there, or it is damaged or of another schema version.
            StoreError: the store does not answer.
        """
        folder = "." if str(href) == _NAME else str(href).removesuffix(_NAME).rstrip("/") or "/"
        self.store = open_store(Path(folder) if isinstance(href, Path) else folder)
        self.href = self.store.href
        collection = read_json(self.store, "collection.json", _advice(self.store), MEMBERS)
        check_version(f"{self.href}/collection.json", collection)
        self.collection: str = collection["id"]
        self.version: str = collection["version"]
        self.side_px: int = collection["deepsentinel:side_px"]
        self.arrays: tuple[str, ...] = tuple(collection["deepsentinel:arrays"])
        self.fingerprint: str = collection["deepsentinel:fingerprint"]
        self.statistics = BandStatistics.from_document(
            read_json(self.store, "statistics.json", _CURE, _STATISTICS), f"{self.href}/statistics.json"
        )
        self._cache = cache if self.store.is_remote else None
        self._readers: dict[int, ShardReader] = {}

    def read_index(self, columns: Sequence[str] | None) -> pa.Table:
        """The index, one row a patch, as `catalog.index.read_index` gives it.

        Raises:
            CorpusError: there is none, it is damaged, or of another state than the collection.
        """
        if isinstance(self.store, LocalStore):
            table = read_index(self.store.root / "items.parquet", columns)
        else:
            table = self._read_remote_index(columns)
        stated = stated_fingerprint(table.schema.metadata)
        if stated != self.fingerprint or self.statistics.patches != table.num_rows:
            raise CorpusError(f"{self.href} {_TORN}")
        return table

    def _read_remote_index(self, columns: Sequence[str] | None) -> pa.Table:
        where = f"{self.href}/items.parquet"
        try:
            with self.store.open("items.parquet") as file:
                return read_open_index(file, where, columns)
        except FileNotFoundError as error:
            raise CorpusError(f"there is no index {where}; {_CURE}") from error

    @functools.cached_property
    def by_split(self) -> dict[str, BandStatistics]:
        """Statistics of the patches of each split; none where no patch states one, or an old publication.

        Raises:
            CorpusError: the document is damaged, or of another state than the collection.
        """
        try:
            self.store.read_tail(BY_SPLIT, 1)
        except FileNotFoundError:
            return {}
        found = read_json(self.store, BY_SPLIT, _CURE, ("fingerprint", "splits"))
        if found["fingerprint"] != self.fingerprint:
            raise CorpusError(f"{self.href} {_TORN}")
        return from_document(found, f"{self.href}/{BY_SPLIT}")

    @contextlib.contextmanager
    def shards(self, shards: Collection[int]) -> Iterator[dict[int, ShardReader]]:
        """Readers of these shards; with a cache, whole shards are fetched first and kept until the block ends.

        Raises:
            CorpusError: the cache cannot hold them.
            StoreError: the store does not answer.
            ChecksumError: what it sent is not what was published.
        """
        if self._cache is None:
            yield {shard: self._reader(shard) for shard in shards}
            return
        with self._cache.kept(self.store, shards) as readers:
            yield readers

    def prefetch(self, shards: Collection[int]) -> None:
        """Begin to fetch shards into the cache, if there is one; what goes wrong is raised when they are read."""
        if self._cache is not None:
            self._cache.prefetch(self.store, shards)

    def _reader(self, shard: int) -> ShardReader:
        # dict.setdefault is atomic: two threads may make a reader, one is kept.
        found = self._readers.get(shard)
        return found or self._readers.setdefault(shard, ShardReader(shard_path(Path(), shard), self.store))

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """`function` of every item, at once where each is a request."""
        return self.store.map(function, items) if self._cache is None else [function(item) for item in items]

    def provenance(self, shard: int) -> list[Provenance]:
        """Where each patch of a shard came from, in row order.

        Raises:
            SchemaError: it is not to be read.
            StoreError: the store does not answer.
        """
        path = str(shard_path(Path(), shard))
        with reported_failures(self.store, path):
            return read_provenance(self.store.zarr(path))
