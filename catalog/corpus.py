"""A published corpus as a sequence of patches: random access by index, whole batches at once.

Where a patch lies (shard, row) and what it is (split, place, quality) come from the geoparquet index alone; no JSON
item is opened. Pixels come from the shards, decoded outside the GIL.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog import schema
from catalog.bands import S2_10M, S2_20M, S2_WAVELENGTH_ORDER
from catalog.collections import read_collection
from catalog.documents import read_document
from catalog.errors import CorpusError
from catalog.index import indexed_fingerprint, read_index
from catalog.patch import Patch
from catalog.reader import ShardReader
from catalog.shard import provenance_of, shard_path
from catalog.stats import BandStatistics


class Corpus(Sequence[Patch]):
    """Patches of one published collection, or of a selection of its rows.

    Attributes:
        root: the collection's folder.
        table: one row a patch in index order, as `catalog.index.read_index` gives it.
        side_px: side of every patch at 10 m.
        arrays: names of the pixel arrays that every shard holds.
        version: version of the collection.
        fingerprint: changes when any shard of the collection does.
    """

    def __init__(self, root: Path, table: pa.Table, collection: Mapping[str, Any]) -> None:
        self.root = root
        self.table = table
        self._collection = collection
        self.version: str = collection["version"]
        self.side_px: int = collection["deepsentinel:side_px"]
        self.arrays: tuple[str, ...] = tuple(collection["deepsentinel:arrays"])
        self.fingerprint: str = collection["deepsentinel:fingerprint"]
        self._shard: NDArray[np.int64] = table["deepsentinel:shard"].to_numpy()
        self._row: NDArray[np.int64] = table["deepsentinel:index"].to_numpy()
        self._readers: dict[int, ShardReader] = {}

    @classmethod
    def open(cls, href: str | Path) -> "Corpus":
        """Open a published collection: its folder, or its collection.json.

        Raises:
            CorpusError: nothing is published there, the collection is empty, damaged, or of another schema version.
        """
        path = Path(href)
        root = path.parent if path.name == "collection.json" else path
        if not (root / "collection.json").is_file():
            raise CorpusError(f"there is no collection.json in {root}; publish a build there with catalog.publish")
        collection = read_collection(root)
        table = read_index(root / "items.parquet")
        _check_agree(root, collection, table.num_rows)
        if table.num_rows == 0:
            raise CorpusError(f"the collection in {root} holds no patches; ingest some and publish again")
        return cls(root, table, collection)

    @property
    def href(self) -> str:
        """Where the collection lies."""
        return str(self.root)

    @functools.cached_property
    def statistics(self) -> BandStatistics:
        """Mean and standard deviation of every band over the whole collection, valid pixels only.

        Raises:
            CorpusError: statistics.json is missing or damaged.
        """
        path = self.root / "statistics.json"
        read_document(path, "publish the build again", ("patches", "bands", "corine", "osm"))
        return BandStatistics.from_json(path.read_text())

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, i: int) -> Patch: ...
    @overload
    def __getitem__(self, i: slice) -> "Corpus": ...
    def __getitem__(self, i: int | slice) -> "Patch | Corpus":
        """One patch, or for a slice the corpus of those rows."""
        if isinstance(i, slice):
            return self.select(np.arange(len(self))[i])
        row = range(len(self))[i]
        pixels = {name: values[0] for name, values in self.read([row], self.arrays).items()}
        labels = {name: pixels.pop(name) for name in self.arrays if schema.BY_NAME[name].is_label}
        provenance = provenance_of(self.root, int(self._shard[row]))[int(self._row[row])]
        return Patch(provenance, labels=labels, **pixels)

    def select(self, rows: NDArray[np.integer[Any]]) -> "Corpus":
        """The corpus of these rows, in this order. Statistics stay those of the whole collection.

        Raises:
            CorpusError: an unknown row.
        """
        self._check_rows(rows)
        return Corpus(self.root, self.table.take(pa.array(rows, pa.int64())), self._collection)

    def read(self, rows: Sequence[int] | NDArray[np.integer[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Read stored pixels of many patches: for each array name, `(len(rows), *block)`, nothing converted.

        Safe to call from many threads at once.

        Raises:
            CorpusError: an unknown array or row.
            ChecksumError: stored bytes are damaged.
        """
        if unknown := sorted(set(names) - set(self.arrays)):
            raise CorpusError(f"{self.href} has no array {', '.join(unknown)}; it has {', '.join(self.arrays)}")
        self._check_rows(rows)
        return {name: self._read_array(name, rows) for name in names}

    def cube(self, i: int) -> NDArray[np.uint16]:
        """All 12 reflectance bands of a patch at 10 m, short to long wavelength: (12, side, side), reflectance x 10000.

        Coarser bands are repeated, not interpolated: every value is a measured one.
        """
        pixels = self.read([range(len(self))[i]], ["s2_10m", "s2_20m"])
        fine = dict(zip((band.name for band in S2_10M), pixels["s2_10m"][0], strict=True))
        coarse = pixels["s2_20m"][0].repeat(2, axis=1).repeat(2, axis=2)
        by_name = fine | dict(zip((band.name for band in S2_20M), coarse, strict=True))
        return np.stack([by_name[name] for name in S2_WAVELENGTH_ORDER])

    def _check_rows(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> None:
        if len(rows) and not 0 <= min(rows) <= max(rows) < len(self):
            raise CorpusError(f"{self.href} has rows 0..{len(self) - 1}; {min(rows)}..{max(rows)} were asked for")

    def _read_array(self, name: str, rows: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[Any]:
        spec = schema.BY_NAME[name]
        batch = np.empty((len(rows), *spec.shape(self.side_px)), spec.dtype)
        for out, row in zip(batch, rows, strict=True):
            self._reader(int(self._shard[row])).read_into(name, int(self._row[row]), out)
        return batch

    def _reader(self, shard: int) -> ShardReader:
        # dict.setdefault is atomic: two threads may make a reader, one is kept.
        return self._readers.get(shard) or self._readers.setdefault(shard, ShardReader(shard_path(self.root, shard)))


def _check_agree(root: Path, collection: Mapping[str, Any], rows: int) -> None:
    """The index, the collection and the statistics are replaced one after the other: are they of one publishing?"""
    index, statistics = indexed_fingerprint(root / "items.parquet"), root / "statistics.json"
    counted = read_document(statistics, "publish the build again", ("patches",))["patches"]
    if index != collection["deepsentinel:fingerprint"] or counted != rows:
        raise CorpusError(
            f"{root} is being published, or publishing was interrupted: its index, collection.json and statistics.json "
            "are not of one state; try again, or publish the build again"
        )
