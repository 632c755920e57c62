"""Make the index of a published folder from that of an earlier state: what did not change is taken over as it is."""

import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalog.serving.published import Published
from catalog.serving.queryables import Queryable
from catalog.serving.sqlite_build import (
    FORMAT,
    Part,
    Report,
    aside,
    asked_of,
    connect_aside,
    insert,
    made_rows,
    parts_of,
    write_meta,
)
from catalog.serving.sqlite_describe import describe
from catalog.serving.sqlite_file import Meta

_log = logging.getLogger(__name__)
MOST_CHANGED = 0.25  # share of items beyond which an index is built anew in less time


@dataclass(frozen=True, slots=True)
class Known:
    """Items of the earlier index, by place."""

    places: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    found: NDArray[np.bool_]
    """Those that were found again so far."""

    @classmethod
    def read(cls, database: sqlite3.Connection) -> "Known":
        """All of them."""
        rows = np.array(database.execute("SELECT n, hash FROM origin ORDER BY n").fetchall(), np.int64).reshape(-1, 2)
        return cls(rows[:, 0].copy(), rows[:, 1].copy().view(np.uint64), np.zeros(len(rows), bool))

    def changed(self, places: NDArray[np.int64], hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which items the index does not hold, or not as they are now; remembers the others as found."""
        if not len(self.places):
            return np.ones(len(places), bool)
        here = np.searchsorted(self.places, places).clip(max=len(self.places) - 1)
        same: NDArray[np.bool_] = (self.places[here] == places) & (self.hashes[here] == hashes)
        self.found[here[same]] = True
        return ~same


class TooDifferentError(Exception):
    """An index that a new one cannot be made from; why."""


def renew_index(published: Published, before: Path, path: Path, report: Report = lambda _: None) -> bool:
    """Write the index of a published folder; it appears whole or not at all.

    Args:
        before: an index of an earlier state, which stays as it is unless it is at `path`.
        report: called with the number of items done since the last call.

    Returns:
        Whether that could be done; if not, build it: `before` is damaged or of another format, other properties can
        be asked now, or so many items changed that building is faster.
    """
    try:
        with aside(published, path) as (state, file, _):
            shutil.copyfile(before, file)
            with closing(connect_aside(file)) as database:
                _renew(database, parts_of(published), state, report)
    except (TooDifferentError, sqlite3.DatabaseError) as error:
        _log.info("the index is built anew: %s", error)
        return False
    return True


def _renew(database: sqlite3.Connection, parts: Sequence[Part], state: str, report: Report) -> None:
    asked = asked_of(parts)
    dictionary = _dictionary(database, asked)
    known = Known.read(database)
    changed = [list(_changed(part, known, report)) for part in parts]
    count = sum(int(mask.sum()) for masks in changed for mask in masks)
    if count > MOST_CHANGED * sum(len(part.places) for part in parts):
        raise TooDifferentError(f"{count:,} items are new or changed")
    database.execute("BEGIN")
    _remove(database, known.places[~known.found])
    (first,) = database.execute("SELECT coalesce(max(d) + 1, 0) FROM document").fetchone()
    for found in made_rows(parts, asked, dictionary, first, changed):
        insert(database, "main", found)
        report(len(found.item))
    meta = describe(database, asked)
    write_meta(database, {**meta, "format": FORMAT, "state": state, "dictionary": dictionary})
    database.execute("COMMIT")


def _dictionary(database: sqlite3.Connection, asked: Sequence[Queryable]) -> bytes:
    """What the documents of an earlier index are compressed against.

    Raises:
        TooDifferentError: its tables are not as they would be now.
    """
    try:
        meta = Meta.read(database)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise TooDifferentError(f"the one before is damaged or of another version ({error!r})") from error
    if meta.format != FORMAT or meta.asked != tuple(asked):
        raise TooDifferentError("items have other properties than before")
    return meta.dictionary


def _changed(part: Part, known: Known, report: Report) -> Iterator[NDArray[np.bool_]]:
    """Of each group of rows which ones are new or changed."""
    for group in part.groups():
        mask = known.changed(group.places, group.hashes)
        report(int((~mask).sum()))
        yield mask


def _remove(database: sqlite3.Connection, places: NDArray[np.int64]) -> None:
    """Take what is gone, and what is to be written again, out of all tables."""
    database.execute("CREATE TEMP TABLE gone (n INTEGER PRIMARY KEY)")
    database.executemany("INSERT INTO gone VALUES (?)", [(n,) for n in places.tolist()])
    database.execute("DELETE FROM document WHERE d IN (SELECT _document FROM gone JOIN item USING (n))")
    database.execute("DELETE FROM area WHERE k IN (SELECT 2 * n FROM gone UNION ALL SELECT 2 * n + 1 FROM gone)")
    for table in ("tag", "item", "origin"):
        database.execute(f"DELETE FROM {table} WHERE n IN (SELECT n FROM gone)")
