"""Search one index: from the conditions of a request to a page of documents.

A search either starts from the items that the rarest of its conditions lists, or walks items in the order of results
and stops when the page is full. Which one is decided by looking how many items each condition lists, up to a limit.
"""

import base64
import json
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from catalog.serving.guards import RequestError
from catalog.serving.order import Order
from catalog.serving.places import MAX_PLACE, span_of
from catalog.serving.predicates import Predicates
from catalog.serving.sql import Condition, Sql, in_interval, in_list, joined, listed
from catalog.serving.sqlite_file import Meta, decompress

MAX_MATCHED = 10_000  # more are not counted
MAX_SORTED = 20_000  # beyond it the index of the first column sorts, and the walk stops when the page is full
_COUNT_STEPS = 300_000  # of SQLite's machine, 5 to 15 ms: a count that needs more is left out
_ENOUGH = 200  # a condition that lists so few is rare enough to look no further


@dataclass(frozen=True, slots=True)
class Search:
    """What a request asks of one index."""

    collections: frozenset[str] | None = None
    """All of them where None."""
    conditions: tuple[Condition, ...] = ()
    interval_us: tuple[int, int] | None = None
    sort: tuple[tuple[str, bool], ...] = ()
    """Columns by importance, each with whether it descends; the default order where empty."""
    limit: int = 10
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of results."""

    documents: list[bytes]
    token: str | None
    """Of the next page, if there is one."""
    matched: int | None
    """Items on all pages; None where that would take long to count."""


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a search starts from, and what every item must meet."""

    test: Sql
    low: int
    high: int
    """First and last place in the default order that can meet the interval."""
    within: int
    """Items of places between them; of more than MAX_SORTED some number above it."""
    lister: Sql | None
    """Selects the places to look at between them; None to walk from one to the other."""


@dataclass(frozen=True, slots=True)
class _Last:
    """What the next page must know of the one before."""

    matched: int | None
    values: tuple[Any, ...]
    """Of its last item, for the columns of the order."""


class Searcher:
    """Answers searches, each over the connection that it is given."""

    def __init__(self, meta: Meta) -> None:
        self.meta = meta
        self.predicates = Predicates(meta.asked)

    def search(self, connection: sqlite3.Connection, asked: Search) -> Page:
        """One page.

        Raises:
            RequestError: the token is not of this index and this order.
        """
        order = Order(asked.sort, self.meta.complete)
        last = self._read_token(asked.token, order) if asked.token else None
        start = self._start(connection, asked)
        rows = connection.execute(*self._page(start, order, last, asked.limit + 1)).fetchall()
        matched = last.matched if last else self._matched(connection, asked, start, rows)
        more, rows = len(rows) > asked.limit, rows[: asked.limit]
        token = self._write_token(order, _Last(matched, rows[-1][2:])) if more else None
        return Page(self._documents(connection, [row[1] for row in rows]), token, matched)

    def item(self, connection: sqlite3.Connection, collection_id: str, item_id: str) -> bytes | None:
        """One item, or None."""
        text = 'SELECT _document FROM item INDEXED BY "by id" WHERE id = ? AND collection = ?'
        found = connection.execute(text, (item_id, collection_id)).fetchone()
        return self._documents(connection, [found[0]])[0] if found else None

    def _start(self, connection: sqlite3.Connection, asked: Search) -> _Start:
        conditions = list(asked.conditions)
        if asked.collections is not None and not asked.collections >= set(self.meta.counts):
            conditions.append(listed("collection", in_list("collection", sorted(asked.collections))))
        # Of N items k match: listing looks at k of them, walking at limit * N / k on average, so up to the root of
        # limit * N listing is cheaper; twice that, since other conditions make matches rarer.
        most = min(2 * math.isqrt(asked.limit * self.meta.count), self.meta.count)
        rarest, count = _rarest(connection, [lister for one in conditions for lister in one.listers], most)
        low, high, within = 0, MAX_PLACE, self.meta.count
        if asked.interval_us is not None:
            conditions.append(in_interval(*asked.interval_us))
            before, after = self.meta.reach_us
            first_us, last_us = asked.interval_us[0] - after, asked.interval_us[1] + before
            low, high = span_of(first_us, last_us)
            within = _within(connection, first_us, last_us, (count if rarest else MAX_SORTED) + 1)
        test = joined("AND", [Sql("1"), *(condition.test for condition in conditions)])
        return _Start(test, low, high, within, rarest if count < within else None)

    def _matched(self, connection: sqlite3.Connection, asked: Search, start: _Start, rows: Sequence[Any]) -> int | None:
        """How many items match, or None: more than MAX_MATCHED, or it takes long to say.

        Args:
            rows: of the first page, as `_page` selects them.
        """
        if not asked.conditions and asked.interval_us is None:
            chosen = self.meta.counts if asked.collections is None else asked.collections
            return sum(self.meta.counts.get(name, 0) for name in chosen)
        if start.lister is not None:
            found = rows[0][0] if rows else 0
            return found if found <= MAX_MATCHED else None
        source, test = _source(start, "NOT INDEXED")
        text = f"SELECT count(*) FROM (SELECT 1 FROM {source} WHERE {test.text} LIMIT {MAX_MATCHED + 1})"
        connection.set_progress_handler(lambda: True, _COUNT_STEPS)
        try:
            (found,) = connection.execute(text, test.values).fetchone()
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise
            return None
        finally:
            connection.set_progress_handler(None, 0)
        return int(found) if found <= MAX_MATCHED else None

    def _page(self, start: _Start, order: Order, last: _Last | None, rows: int) -> tuple[str, tuple[Any, ...]]:
        """Of each item: how many match where they are listed anyway, its document, and what places it in the order."""
        many = start.lister is None and start.within > MAX_SORTED
        source, test = _source(start, order.index if many else "NOT INDEXED")
        if last is not None:
            test = joined("AND", [test, order.after(last.values)])
        count = "NULL" if start.lister is None or last is not None else "count(*) OVER ()"
        columns = ", ".join([count, "_document", *order.columns])
        text = f"SELECT {columns} FROM {source} WHERE {test.text} ORDER BY {order.text} LIMIT {rows}"
        return text, test.values

    def _documents(self, connection: sqlite3.Connection, numbers: Sequence[int]) -> list[bytes]:
        text = (
            "SELECT body FROM json_each(?) AS asked CROSS JOIN document ON document.d = asked.value ORDER BY asked.key"
        )
        rows = connection.execute(text, (json.dumps(numbers),))
        return [decompress(body, self.meta.dictionary) for (body,) in rows]

    def _write_token(self, order: Order, last: _Last) -> str:
        stated = [self.meta.state[:16], order.text, last.matched, list(last.values)]
        return base64.urlsafe_b64encode(json.dumps(stated).encode()).decode().rstrip("=")

    def _read_token(self, token: str, order: Order) -> _Last:
        try:
            state, text, matched, values = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        except (ValueError, TypeError) as error:
            raise RequestError("the token is not one that this server gave; start the search again") from error
        if (state, text) != (self.meta.state[:16], order.text) or len(values) != len(order.columns):
            raise RequestError("the token is of another catalog or another order; start the search again")
        return _Last(matched, tuple(values))


def _within(connection: sqlite3.Connection, first_us: int, last_us: int, most: int) -> int:
    """Items whose `datetime` lies between two times, counted up to some number."""
    text = (
        'SELECT count(*) FROM (SELECT 1 FROM item INDEXED BY "by datetime" WHERE "datetime" BETWEEN ? AND ? '
        f"LIMIT {most})"
    )
    (found,) = connection.execute(text, (first_us, last_us)).fetchone()
    return int(found)


def _rarest(connection: sqlite3.Connection, listers: Sequence[Sql], most: int) -> tuple[Sql | None, int]:
    """The query that lists the fewest items, if that is fewer than `most`, and how many."""
    best, fewest = None, most
    for lister in listers:
        text = f"SELECT count(*) FROM ({lister.text} LIMIT {fewest})"
        (count,) = connection.execute(text, lister.values).fetchone()
        if count < fewest:
            best, fewest = lister, count
        if fewest <= _ENOUGH:
            break
    return best, fewest


def _source(start: _Start, walk: str) -> tuple[str, Sql]:
    """What to select from, and what must hold of it.

    Args:
        walk: how to go through the table where nothing is listed.
    """
    if start.lister is None:
        return f"item {walk}", Sql(
            f"n BETWEEN ? AND ? AND {start.test.text}", (start.low, start.high, *start.test.values)
        )
    places = f"SELECT DISTINCT n AS place FROM ({start.lister.text}) WHERE n BETWEEN ? AND ? ORDER BY n"
    chosen = f"({places}) AS chosen CROSS JOIN item ON item.n = chosen.place"
    return chosen, Sql(start.test.text, (*start.lister.values, start.low, start.high, *start.test.values))
