"""Published patches as a sequence: random access by index, whole batches at once, from disk or a remote store.

Where a patch lies (shard, row) and what it is (split, place, quality) come from the geoparquet index alone; no JSON
item is opened. Pixels come from the shards, decoded outside the GIL.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog import schema
from catalog.bands import S2_10M, S2_20M, S2_WAVELENGTH_ORDER
from catalog.buffers import POOL
from catalog.errors import ChecksumError, CorpusError
from catalog.patch import Patch
from catalog.published import Published
from catalog.shard import shard_path
from catalog.shard_cache import ShardCache
from catalog.stats import BandStatistics, merge_all
from catalog.subset import read_subset

SPLIT = "deepsentinel:split"
_KEYS = ("deepsentinel:shard", "deepsentinel:index")
# What training and evaluation ask of the index; a million patches with every column take half a gigabyte.
COLUMNS = ("id", SPLIT, "deepsentinel:split_version", "proj:code", "proj:bbox")


class Corpus(Sequence[Patch]):
    """Patches of one published collection or of several, or a selection of their rows. Safe to use from many threads.

    Attributes:
        table: one row a patch with the columns asked for, those of `catalog.index.read_index` always.
        side_px: side of every patch at 10 m.
        arrays: names of the pixel arrays that every shard holds.
        weights: for each collection the share of patches that training should draw from it; None draws all alike.
        collection_of_row: which collection each row is of, in the order they were joined.
    """

    def __init__(
        self,
        published: Sequence[Published],
        table: pa.Table,
        collection_of_row: NDArray[np.intp],
        weights: tuple[float, ...] | None = None,
    ) -> None:
        self.table = table
        self.side_px = published[0].side_px
        self.arrays = tuple(name for name in published[0].arrays if all(name in one.arrays for one in published))
        self.weights = weights
        self.collection_of_row = collection_of_row
        self._published = tuple(published)
        self._shard: NDArray[np.int64] = table[_KEYS[0]].to_numpy()
        self._row: NDArray[np.int64] = table[_KEYS[1]].to_numpy()

    @classmethod
    def open(
        cls, href: str | Path, *, columns: Sequence[str] | None = COLUMNS, cache: ShardCache | None = None
    ) -> "Corpus":
        """Open a published collection or a subset of one.

        Args:
            href: a folder or URL (https, s3, gs, az) that holds a collection.json, or that file; or a subset, a
                local `.parquet` file that `catalog.search` wrote.
            columns: of the index to keep in `table`; every one where None.
            cache: keeps whole shards of a remote collection; without one each patch is a request an array.

        Raises:
            CorpusError: nothing is published there, the collection is empty, damaged, or of another schema version.
            StoreError: the store does not answer.
        """
        if str(href).endswith(".parquet"):
            return cls._open_subset(Path(href), columns, cache)
        published = Published(href, cache)
        table = published.read_index(columns)
        if table.num_rows == 0:
            raise CorpusError(f"the collection in {published.href} holds no patches; ingest some and publish again")
        return cls([published], table, np.zeros(table.num_rows, np.intp))

    @classmethod
    def _open_subset(cls, path: Path, columns: Sequence[str] | None, cache: ShardCache | None) -> "Corpus":
        rows, source = read_subset(path)
        if rows.num_rows == 0:
            raise CorpusError(f"the subset {path} holds no patches ({source.query}); search for more")
        whole = cls.open(source.locate(path), columns=None if columns is None else ["id", *columns], cache=cache)
        wanted = list(zip(rows["shard"].to_pylist(), rows["index"].to_pylist(), strict=True))
        places = {key: i for i, key in enumerate(zip(whole._shard.tolist(), whole._row.tolist(), strict=True))}
        if gone := [key for key in wanted if key not in places]:
            raise CorpusError(
                f"{path} names row {gone[0][1]} of shard {gone[0][0]}, which {whole.href} lacks; search again"
            )
        found = whole.select(np.array([places[key] for key in wanted], np.int64))
        if found.table["id"].to_pylist() != rows["id"].to_pylist():
            raise CorpusError(f"{path} names other patches than {whole.href} holds in their places; search again")
        return found

    @classmethod
    def join(cls, corpora: Sequence["Corpus"], weights: Sequence[float] | None = None) -> "Corpus":
        """The patches of several corpora, one after the other.

        Args:
            corpora: of one side; pixel arrays that not all of them hold are left out.
            weights: share of each in what training draws, in any unit; by their patches where None.

        Raises:
            CorpusError: no corpora, patches of different sides, or weights that are none.
        """
        if not corpora or len({one.side_px for one in corpora}) > 1:
            sides = ", ".join(f"{one.href} of {one.side_px} px" for one in corpora)
            raise CorpusError(f"corpora to join must have one side, found {sides or 'none'}; take others")
        if weights is not None and (len(weights) != len(corpora) or not all(0 < w < np.inf for w in weights)):
            raise CorpusError(f"weights {tuple(weights)} of {len(corpora)} corpora: give each a number above 0")
        names = [name for name in corpora[0].table.column_names if all(name in c.table.column_names for c in corpora)]
        table = pa.concat_tables([one.table.select(names).replace_schema_metadata() for one in corpora])
        first = np.cumsum([0, *(len(one._published) for one in corpora)])
        part = np.concatenate([one.collection_of_row + start for one, start in zip(corpora, first, strict=False)])
        published = [one for corpus in corpora for one in corpus._published]
        if weights is not None and len(published) != len(corpora):
            raise CorpusError("corpora that are joined already cannot be weighted; join all of them at once")
        return cls(published, table, part, None if weights is None else tuple(weights))

    @property
    def href(self) -> str:
        """Where it lies; several places with commas."""
        return ", ".join(one.href for one in self._published)

    @property
    def version(self) -> str:
        """Version of the collection; of several with commas."""
        return ", ".join(one.version for one in self._published)

    @property
    def fingerprint(self) -> str:
        """Changes when any shard of a collection does."""
        found = [one.fingerprint for one in self._published]
        return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()

    @property
    def statistics(self) -> BandStatistics:
        """Statistics of every patch whose split occurs among these rows, valid pixels only.

        So a selection of training patches is normalised by training patches alone, and any part of them alike. Where
        splits are not stated, or were published before statistics knew them, of the whole collection.

        Raises:
            CorpusError: statistics are damaged.
        """
        return merge_all(self._statistics_of(i) for i in np.unique(self.collection_of_row).tolist())

    def _statistics_of(self, collection: int) -> BandStatistics:
        published = self._published[collection]
        if SPLIT not in self.table.column_names:
            return published.statistics
        stated = set(self.table[SPLIT].filter(pa.array(self.collection_of_row == collection)).unique().to_pylist())
        if None in stated or not stated < set(published.by_split):
            return published.statistics
        return merge_all(published.by_split[split] for split in sorted(stated))

    def shard_href(self, row: int) -> str:
        """Address of the shard that holds a row: a Zarr group."""
        published = self._published[int(self.collection_of_row[row])]
        return published.store.address(str(shard_path(Path(), int(self._shard[row]))))

    def __repr__(self) -> str:
        return f"<Corpus {self.href}: {len(self)} patches of {self.side_px} px with {', '.join(self.arrays)}>"

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
        published = self._published[self.collection_of_row[row]]
        return Patch(published.provenance(int(self._shard[row]))[int(self._row[row])], labels=labels, **pixels)

    def select(self, rows: NDArray[np.integer[Any]]) -> "Corpus":
        """The corpus of these rows, in this order.

        Raises:
            CorpusError: an unknown row.
        """
        self._check_rows(rows)
        table = self.table.take(pa.array(rows, pa.int64()))
        return Corpus(self._published, table, self.collection_of_row[rows], self.weights)

    @functools.cached_property
    def shard_of_row(self) -> NDArray[np.intp]:
        """A number for each row that rows of one shard share, over all collections: 0, 1, 2 and so on."""
        keys = np.stack([self.collection_of_row, self._shard], axis=1)
        return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)

    def read(
        self,
        rows: Sequence[int] | NDArray[np.integer[Any]],
        names: Sequence[str],
        out: Mapping[str, NDArray[Any]] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Read stored pixels of many patches: for each array name, `(len(rows), *block)`, nothing converted.

        From a remote store the ranges of all patches are asked for at once, those of neighbours as one.

        Args:
            rows: of `table`, in any order.
            names: of arrays.
            out: what an earlier call gave for as many rows, to be filled again; new memory where None.

        Raises:
            CorpusError: an unknown array or row, or `out` is of another shape or type.
            ChecksumError: stored bytes are damaged; names the patch and its shard.
            StoreError: the store does not answer.
        """
        if isinstance(names, str):
            raise CorpusError(f"names are {names!r}; give a list of them, [{names!r}]")
        if unknown := sorted(set(names) - set(self.arrays)):
            raise CorpusError(f"{self.href} has no array {', '.join(unknown)}; it has {', '.join(self.arrays)}")
        self._check_rows(rows)
        if out is not None and (absent := sorted(set(names) - set(out))):
            raise CorpusError(f"there is no memory to read {', '.join(absent)} into; give what an earlier call gave")
        wanted = np.asarray(rows, np.int64)
        batch = {name: self._empty(name, len(rows)) if out is None else out[name] for name in names}
        if other := [f"{name} for {len(values)}" for name, values in batch.items() if len(values) != len(rows)]:
            raise CorpusError(f"{len(rows)} patches cannot be read into {', '.join(other)}; give memory for as many")
        for collection in np.unique(self.collection_of_row[wanted]).tolist():
            self._read_collection(collection, wanted, batch)
        return batch

    def prefetch(self, rows: NDArray[np.integer[Any]]) -> None:
        """Begin to fetch the shards of these rows into the cache, where there is one."""
        for collection in np.unique(self.collection_of_row[rows]).tolist():
            shards = self._shard[rows[self.collection_of_row[rows] == collection]]
            self._published[collection].prefetch(np.unique(shards).tolist())

    def cube(self, i: int) -> NDArray[np.uint16]:
        """All 12 reflectance bands of a patch at 10 m, short to long wavelength: (12, side, side), reflectance x 10000.

        Coarser bands are repeated, not interpolated: every value is a measured one.
        """
        pixels = self.read([range(len(self))[i]], ["s2_10m", "s2_20m"])
        fine = dict(zip((band.name for band in S2_10M), pixels["s2_10m"][0], strict=True))
        coarse = pixels["s2_20m"][0].repeat(2, axis=1).repeat(2, axis=2)
        by_name = fine | dict(zip((band.name for band in S2_20M), coarse, strict=True))
        return np.stack([by_name[name] for name in S2_WAVELENGTH_ORDER])

    def _empty(self, name: str, rows: int) -> NDArray[Any]:
        spec = schema.BY_NAME[name]
        return POOL.empty((rows, *spec.shape(self.side_px)), spec.dtype)

    def _check_rows(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> None:
        if len(rows) and np.asarray(rows).dtype.kind not in "iu":
            raise CorpusError(
                f"rows are given as {np.asarray(rows).dtype}; take whole numbers, np.flatnonzero of a mask"
            )
        if len(rows) and not 0 <= min(rows) <= max(rows) < len(self):
            raise CorpusError(f"{self.href} has rows 0..{len(self) - 1}; {min(rows)}..{max(rows)} were asked for")

    def _read_collection(self, collection: int, wanted: NDArray[np.int64], batch: dict[str, NDArray[Any]]) -> None:
        """Fill what a batch holds of one collection."""
        published = self._published[collection]
        mine = np.flatnonzero(self.collection_of_row[wanted] == collection)
        by_shard: dict[int, list[int]] = {}
        for place in mine.tolist():
            by_shard.setdefault(int(self._shard[wanted[place]]), []).append(place)
        with published.shards(by_shard) as readers:
            published.map(lambda pair: readers[pair[0]].open(pair[1]), [(s, name) for s in by_shard for name in batch])
            calls = [
                functools.partial(self._call, collection, shard, call)
                for shard, places in by_shard.items()
                for name, out in batch.items()
                for call in readers[shard].reads(name, self._row[wanted[places]].tolist(), [out[i] for i in places])
            ]
            published.map(lambda call: call(), calls)

    def _call(self, collection: int, shard: int, call: Callable[[], None]) -> None:
        """Run a read; where it finds damage, say which patch."""
        try:
            call()
        except ChecksumError as error:
            if error.row is None:
                raise
            hit = (self.collection_of_row == collection) & (self._shard == shard) & (self._row == error.row)
            patch_id = self.table["id"][int(np.flatnonzero(hit)[0])] if "id" in self.table.column_names else "?"
            raise ChecksumError(f"patch {patch_id}: {error}", error.row) from error
