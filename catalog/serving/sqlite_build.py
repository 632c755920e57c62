"""Build the search index of a published folder: one SQLite file, made aside and renamed when it is whole.

Tables: `item`, one narrow row an item in the default order of results (`catalog.serving.places`), with a typed column
for every queryable; `area`, an R*Tree of footprints; `tag`, the values of array properties; `document`, the items as
compressed JSON, in the order of the geoparquet and so with neighbours on the ground together; `origin`, by place the
hash of the row of the geoparquet that an item was made from; `meta`, JSON by key.

Where there is an index of an earlier state of the folder, `catalog.serving.sqlite_renew` makes the new one of it.
"""

import contextlib
import hashlib
import itertools
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalog.errors import CorpusError
from catalog.serving.documents import documents, opened, row_hashes
from catalog.serving.places import places_of
from catalog.serving.published import Published, PublishedCollection
from catalog.serving.queryables import Kind, Queryable, queryables_of
from catalog.serving.sql import index_of, quoted
from catalog.serving.sqlite_describe import describe
from catalog.serving.sqlite_rows import OWN_COLUMNS, Rows, rows_of

FORMAT = 2  # raise it when the tables change
_DICTIONARY_BYTES = 16_384  # zlib looks twice as far back, but hashes all of it for every document
_CACHE_KIB = 65_536
_LEFT_S = 3600.0  # longer than a build goes without writing
_SQL_TYPES = {Kind.NUMBER: "REAL", Kind.TRUTH: "INTEGER", Kind.TIME: "INTEGER"}

Report = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Group:
    """Some rows of a collection's index, as they lie in the file."""

    rows: pa.Table
    places: NDArray[np.int64]
    hashes: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Part:
    """One collection of a published folder, and the places of its items."""

    collection: PublishedCollection
    places: NDArray[np.int64]

    @property
    def folder(self) -> str:
        """Name of the collection's folder."""
        return self.collection.folder.name

    def groups(self, masks: Sequence[NDArray[np.bool_]] | None = None) -> Iterator[Group]:
        """The rows.

        Args:
            masks: of each group of them, which ones; all where None.

        Raises:
            CorpusError: the index is damaged.
        """
        first = 0
        with opened(self.collection.items) as file:
            for number in range(file.num_row_groups):
                span = slice(first, first + file.metadata.row_group(number).num_rows)
                first = span.stop
                if masks is None or masks[number].any():
                    rows = file.read_row_group(number).combine_chunks()
                    yield self._group(rows, self.places[span], None if masks is None else masks[number])

    def _group(self, rows: pa.Table, places: NDArray[np.int64], mask: NDArray[np.bool_] | None) -> Group:
        if mask is not None:
            rows, places = rows.filter(pa.array(mask)).combine_chunks(), places[mask]
        return Group(rows, places, row_hashes(rows, self.folder))


def parts_of(published: Published) -> list[Part]:
    """The collections that have items."""
    collections = [one for one in published.collections if one.has_items]
    return [Part(one, places) for one, places in zip(collections, places_of(collections), strict=True)]


def asked_of(parts: Sequence[Part]) -> tuple[Queryable, ...]:
    """The queryables of all collections, each once."""
    found = itertools.chain(*(queryables_of(pq.read_schema(one.collection.items)) for one in parts))
    return tuple({one.name: one for one in found}.values())


def state_of(published: Published) -> str:
    """Changes with every publishing that changes something, and with the tables' format."""
    text = json.dumps([FORMAT, [one.state() for one in published.collections]])
    return hashlib.sha256(text.encode()).hexdigest()


def build_index(published: Published, path: Path, report: Report = lambda _: None) -> None:
    """Write the index of a published folder; it appears whole or not at all.

    Args:
        report: called with the number of items done since the last call.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with aside(published, path) as (state, file, staging):
        parts = parts_of(published)
        with closing(connect_aside(file)) as database:
            database.execute("ATTACH ? AS staging", (str(staging),))
            database.execute("PRAGMA staging.journal_mode=OFF")
            _fill(database, parts, asked_of(parts), state, report)


@contextlib.contextmanager
def aside(published: Published, path: Path) -> Iterator[tuple[str, Path, Path]]:
    """The state of a folder, where to build its index, and a place to sort; at the end the index moves to its path.

    Raises:
        CorpusError: the folder changed meanwhile.
    """
    state = state_of(published)
    _remove_leftovers(path)
    file, staging = (path.with_name(f".{path.name}.{os.getpid()}{suffix}") for suffix in ("", ".staging"))
    try:
        yield state, file, staging
        if state_of(published) != state:
            raise CorpusError(f"{published.folder} was published again while it was being indexed; start again")
        _sync(file)
        file.replace(path)
    finally:
        for one in (file, staging):
            one.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove what builds wrote that were killed: nobody has written there for long."""
    before = f".{path.name}."
    for one in [one for one in path.parent.iterdir() if one.name.startswith(before)]:
        process = one.name.removeprefix(before).removesuffix(".staging")
        with contextlib.suppress(FileNotFoundError):  # another server removes it too
            if process.isdigit() and time.time() - one.stat().st_mtime > _LEFT_S:
                one.unlink()


def connect_aside(file: Path) -> sqlite3.Connection:
    """Open a file that is thrown away should anything go wrong, so that nothing need be undone."""
    database = sqlite3.connect(file, isolation_level=None)
    database.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-{_CACHE_KIB}")
    return database


def made_rows(
    parts: Sequence[Part],
    asked: Sequence[Queryable],
    dictionary: bytes,
    first_document: int = 0,
    masks: Sequence[Sequence[NDArray[np.bool_]] | None] | None = None,
) -> Iterator[Rows]:
    """Rows of the tables, group by group.

    Args:
        masks: of each part those of its groups; all rows where None.
    """
    for part, chosen in zip(parts, masks or [None] * len(parts), strict=True):
        for group in part.groups(chosen):
            yield rows_of(group.rows, group.places, group.hashes, first_document, asked, part.folder, dictionary)
            first_document += len(group.rows)


def insert(database: sqlite3.Connection, schema: str, found: Rows) -> None:
    """Put rows into the tables.

    Args:
        schema: where `item` and `tag` are: in `main`, or in `staging` to be sorted.
    """
    if not found.item:
        return
    marks = ", ".join("?" * len(found.item[0]))
    database.executemany(f"INSERT INTO {schema}.item VALUES ({marks})", found.item)
    database.executemany(f"INSERT INTO {schema}.tag VALUES (?, ?, ?)", found.tag)
    database.executemany("INSERT INTO area VALUES (?, ?, ?, ?, ?)", found.area)
    database.executemany("INSERT INTO document VALUES (?, ?)", found.document)
    database.executemany("INSERT INTO origin VALUES (?, ?)", found.origin)


def write_meta(database: sqlite3.Connection, meta: dict[str, Any]) -> None:
    """State what an index is; `Meta.read` reads it."""
    database.execute("DELETE FROM meta")
    rows = [(key, value if key == "dictionary" else json.dumps(value)) for key, value in meta.items()]
    database.executemany("INSERT INTO meta VALUES (?, ?)", rows)


def _fill(
    database: sqlite3.Connection, parts: Sequence[Part], asked: Sequence[Queryable], state: str, report: Report
) -> None:
    _create(database, asked)
    database.execute("BEGIN")
    dictionary = _dictionary(parts)
    for found in made_rows(parts, asked, dictionary):
        insert(database, "staging", found)
        report(len(found.item))
    _sort_in(database, asked)
    meta = describe(database, asked)
    write_meta(database, {**meta, "format": FORMAT, "state": state, "dictionary": dictionary})
    database.execute("COMMIT")


def _create(database: sqlite3.Connection, asked: Sequence[Queryable]) -> None:
    typed = ", ".join(f"{quoted(one.name)} {_SQL_TYPES.get(one.kind, 'TEXT')}" for one in asked)
    columns = f"{OWN_COLUMNS}, {typed}, id TEXT, _geometry BLOB"
    database.execute(f"CREATE TABLE item (n INTEGER PRIMARY KEY, {columns})")
    database.execute(f"CREATE TABLE staging.item (n, {columns})")
    database.execute("CREATE TABLE staging.tag (property, value, n)")
    key = "PRIMARY KEY (property, value, n)"
    database.execute(f"CREATE TABLE tag (property INTEGER, value, n INTEGER, {key}) WITHOUT ROWID")
    database.execute("CREATE VIRTUAL TABLE area USING rtree(k, west, east, south, north)")
    database.execute("CREATE TABLE document (d INTEGER PRIMARY KEY, body BLOB)")
    database.execute("CREATE TABLE origin (n INTEGER PRIMARY KEY, hash INTEGER)")
    database.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value)")


def _dictionary(parts: Sequence[Part]) -> bytes:
    """Items to compress the others against: they share nearly all of their text."""
    firsts = [(next(one.groups()).rows.slice(0, 4), one.folder) for one in parts if len(one.places)]
    samples = [document for rows, folder in firsts for document in documents(rows, folder)]
    return b"".join(samples)[-_DICTIONARY_BYTES:]


def _sort_in(database: sqlite3.Connection, asked: Sequence[Queryable]) -> None:
    """Move what was staged into its final order, and index the columns that tell items apart."""
    database.execute("INSERT INTO main.item SELECT * FROM staging.item ORDER BY n")
    database.execute("INSERT INTO main.tag SELECT * FROM staging.tag ORDER BY property, value, n")
    for name in ("collection", "id", *(one.name for one in asked if not one.kind.is_array)):
        database.execute(f"CREATE INDEX {index_of(name)} ON item ({quoted(name)})")


def _sync(path: Path) -> None:
    """Let no power cut leave a file of the right name with the wrong bytes."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
