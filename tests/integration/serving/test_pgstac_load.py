"""A database follows what is published: new, changed and gone items, without work for the others."""

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.fake import write_fake_build
from catalog.publish import publish
from catalog.serving.published import Published


@pytest.fixture
def catalog(tmp_path):
    publish([write_fake_build(tmp_path / "build", 12, side_px=16)], tmp_path / "catalog", workers=1)
    return tmp_path / "catalog"


@pytest.fixture
def loaded(empty_database, catalog, monkeypatch):
    """Loads the catalog; gives how many items were sent to the database, and the clouds of each that it holds."""
    from pypgstac.load import Loader

    from catalog.serving.pgstac_load import load

    sent = []
    load_items = Loader.load_items

    def counting(loader, items, *rest):
        items = list(items)
        sent.append(len(items))
        load_items(loader, iter(items), *rest)

    monkeypatch.setattr(Loader, "load_items", counting)

    def run():
        sent.clear()
        load(Published.open(catalog), empty_database)
        with psycopg.connect(empty_database) as connection:
            rows = connection.execute("SELECT id, content->'properties'->'eo:cloud_cover' FROM pgstac.items")
            return sent[:], dict(rows.fetchall())

    return run


def test_only_what_was_published_since_is_loaded(catalog, loaded):
    path = catalog / "labelled" / "items.parquet"
    table = pq.read_table(path)
    names = table["id"].to_pylist()
    clouds = dict(zip(names, table["eo:cloud_cover"].to_pylist(), strict=True))

    def write(rows):
        pq.write_table(rows, path)
        return loaded()

    assert write(table.slice(2)) == ([10], {name: clouds[name] for name in names[2:]})
    assert loaded() == ([], {name: clouds[name] for name in names[2:]})
    assert write(table.slice(0, 11)) == ([2], {name: clouds[name] for name in names[:11]})
    at = table.schema.get_field_index("eo:cloud_cover")
    cloudier = table.set_column(at, table.schema.field(at), pa.array([*list(clouds.values())[:9], 77.0, 78.0, 79.0]))
    sent, held = write(cloudier)
    assert sent == [3]
    assert held == {**clouds, names[9]: 77.0, names[10]: 78.0, names[11]: 79.0}


def test_what_the_database_holds_besides_goes(catalog, loaded, empty_database):
    loaded()
    with psycopg.connect(empty_database) as connection:
        connection.execute("DELETE FROM pgstac.deepsentinel_hash")
        connection.execute("DELETE FROM pgstac.deepsentinel_loaded")
    path = catalog / "labelled" / "items.parquet"
    pq.write_table(pq.read_table(path).slice(5), path)
    sent, held = loaded()
    assert (sent, len(held)) == ([7], 7)
