"""Bring a published folder into a PostgreSQL database as pgstac keeps it: schema, collections, items, queryables.

Items are stored as the API gives them (`origin.served_item`), with one property more: pgstac orders and compares
`datetime` by the start of an item's interval, which here is the earlier of the two images, so the time of the optical
image stands beside it under a name of its own.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods
from pypgstac.migrate import Migrate

from catalog.errors import DeepSentinelError
from catalog.item_table import to_items
from catalog.serving.documents import opened, row_hashes
from catalog.serving.origin import served_item
from catalog.serving.published import Published, PublishedCollection
from catalog.serving.queryables import Kind, Queryable
from catalog.serving.sqlite_build import Report
from catalog.serving.stated import Stated

OWN_TIME = "deepsentinel:datetime"
_FORMAT = 1  # raise it when items are stored in another way
_OWN_TABLES = (
    "deepsentinel_loaded (collection text PRIMARY KEY, state text)",
    "deepsentinel_hash (collection text, id text, hash bigint, PRIMARY KEY (collection, id))",
)
# Where searches commonly start; place, time and id have indices of pgstac's own.
_INDEXED = frozenset(
    {OWN_TIME, "eo:cloud_cover", "grid:code", "deepsentinel:gap_hours", "deepsentinel:corine_majority", "ml-aoi:split"}
)
_SCHEMAS: dict[Kind, dict[str, Any]] = {
    Kind.NUMBER: {"type": "number"},
    Kind.TEXT: {"type": "string"},
    Kind.TRUTH: {"type": "boolean"},
    Kind.TIME: {"type": "string", "format": "date-time"},
    Kind.NUMBERS: {"type": "array", "items": {"type": "number"}},
    Kind.TEXTS: {"type": "array", "items": {"type": "string"}},
}


class DatabaseError(DeepSentinelError):
    """A database that cannot be reached, or is no place for pgstac."""


def load(published: Published, database: str, report: Report = lambda _: None) -> bool:
    """Make a database hold what is published, unless it does already; returns whether anything was loaded.

    Collections that the database holds and the folder does not are left alone.

    Args:
        database: URL of a database whose user may create extensions and roles.
        report: called with the number of items done since the last call.

    Raises:
        DatabaseError: the database cannot be reached, or lacks PostGIS.
    """
    with _connected(database) as pgstac:
        Migrate(pgstac).run_migration()
        connection = pgstac.connect()
        for table in _OWN_TABLES:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        loaded: dict[str, str] = dict(
            connection.execute("SELECT collection, state FROM deepsentinel_loaded").fetchall()
        )
        due = [one for one in published.collections if loaded.get(one.collection_id) != _state(one)]
        for collection in due:
            _load_collection(pgstac, collection, report)
        if due:
            _load_queryables(connection, Stated.of(published))
            connection.execute("ANALYZE pgstac.items")
        for collection in due:  # last, so that what was interrupted is done again
            _remember(connection, collection)
    return bool(due)


@contextmanager
def _connected(database: str) -> Iterator[PgstacDB]:
    try:
        with psycopg.connect(database) as connection, PgstacDB(connection=connection) as pgstac:
            connection.autocommit = True
            connection.execute("SELECT set_config('search_path', 'pgstac,public', false)")
            yield pgstac
    except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFile) as error:
        raise DatabaseError(
            f"cannot use {database} ({str(error).strip()}); give the --database of a running PostgreSQL with PostGIS "
            "and of a user who may create extensions and roles"
        ) from error


def _state(collection: PublishedCollection) -> str:
    return json.dumps([_FORMAT, collection.state()])


def _load_collection(pgstac: PgstacDB, collection: PublishedCollection, report: Report) -> None:
    """Load one collection: what is new or changed is written, what is gone is deleted."""
    connection, name = pgstac.connect(), collection.collection_id
    loader = Loader(pgstac)
    # pgstac takes from items what `item_assets` say and puts it back in PL/pgSQL at every search: 20 ms an item
    document = {key: value for key, value in collection.document.items() if key != "item_assets"}
    loader.load_collections(iter([document]), Methods.upsert)
    if collection.has_items:
        found = connection.execute("SELECT id, hash FROM deepsentinel_hash WHERE collection = %s", (name,)).fetchall()
        known: dict[str, int] = dict(found)
        fresh: dict[str, int] = {}
        loader.load_items(_changed(collection, known, fresh, report), Methods.upsert)
        _remember_hashes(connection, name, known, fresh)
        connection.execute(
            "DELETE FROM items WHERE collection = %s AND NOT EXISTS (SELECT FROM deepsentinel_hash AS known "
            "WHERE known.collection = items.collection AND known.id = items.id)",
            (name,),
        )


def _changed(
    collection: PublishedCollection, known: dict[str, int], fresh: dict[str, int], report: Report
) -> Iterator[dict[str, Any]]:
    """The items that the database does not hold as they are now.

    Args:
        known: hashes of the items that it holds; those that are still published are taken out.
        fresh: receives the hashes of the items given.
    """
    with opened(collection.items) as file:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group)
            hashes = row_hashes(rows, f"{_FORMAT}/{collection.folder.name}").view(np.int64).tolist()
            stated = dict(zip(rows["id"].to_pylist(), hashes, strict=True))
            mask = [known.pop(one, None) != found for one, found in stated.items()]
            for item in to_items(rows.filter(pa.array(mask, pa.bool_()))):
                fresh[item["id"]] = stated[item["id"]]
                yield _stored(item, collection)
            report(len(stated))


def _stored(item: dict[str, Any], collection: PublishedCollection) -> dict[str, Any]:
    stored = served_item(item, collection.folder.name)
    properties = stored["properties"]
    return {**stored, "properties": {**properties, OWN_TIME: properties["datetime"]}}


def _remember_hashes(
    connection: psycopg.Connection[Any], collection: str, gone: Iterable[str], fresh: Mapping[str, int]
) -> None:
    """After the items themselves, so that those of a load that was interrupted are loaded again."""
    with connection.transaction(), connection.cursor() as cursor:
        old = [*gone, *fresh]
        cursor.execute("DELETE FROM deepsentinel_hash WHERE collection = %s AND id = ANY (%s)", (collection, old))
        with cursor.copy("COPY deepsentinel_hash FROM STDIN") as copy:
            for one, found in fresh.items():
                copy.write_row((collection, one, found))


def _remember(connection: psycopg.Connection[Any], collection: PublishedCollection) -> None:
    connection.execute(
        "INSERT INTO deepsentinel_loaded VALUES (%s, %s) ON CONFLICT (collection) DO UPDATE SET state = EXCLUDED.state",
        (collection.collection_id, _state(collection)),
    )


def _load_queryables(connection: psycopg.Connection[Any], stated: Stated) -> None:
    """Tell pgstac the type of each property, without which numbers sort as text; in one call, for each looks at all."""
    known = {one.name: one for one in (*stated.all(), Queryable(OWN_TIME, Kind.TIME))}
    described = {"properties": {name: {"title": name, **_SCHEMAS[one.kind]} for name, one in known.items()}}
    connection.execute(
        "SELECT upsert_queryables(%s::jsonb, %s::text[], %s::text[], %s)",
        (json.dumps(described), sorted(stated.of_collection), sorted(_INDEXED & set(known)), True),
    )
