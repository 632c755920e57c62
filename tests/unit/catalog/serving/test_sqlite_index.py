"""The index as a file: whole or not there, used again, built again, never believed when damaged."""

import json
import os
import sqlite3
from contextlib import closing

import pytest

from catalog.errors import CorpusError
from catalog.fake import write_fake_build
from catalog.publish import publish
from catalog.serving.origin import served_item
from catalog.serving.published import Published
from catalog.serving.sqlite_backend import default_index, ensure_index
from catalog.serving.sqlite_build import build_index
from catalog.serving.sqlite_file import Meta, compress, connect, decompress
from catalog.serving.sqlite_search import Search, Searcher


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("index")
    publish([write_fake_build(place / "build", 10, side_px=16)], place / "catalog", workers=1)
    return place / "catalog"


def search(path, **asked):
    with closing(connect(str(path))) as connection:
        return Searcher(Meta.read(connection)).search(connection, Search(**asked))


def test_documents_are_the_published_items_newest_first(folder, tmp_path):
    published = Published.open(folder)
    seen = []
    build_index(published, tmp_path / "index.sqlite", seen.append)
    assert sum(seen) == published.count == 10
    items = [json.loads(path.read_text()) for path in folder.glob("labelled/shard-*/*-*-*.json")]
    page = search(tmp_path / "index.sqlite", limit=10)
    found = [json.loads(document) for document in page.documents]
    assert (page.matched, page.token) == (10, None)
    assert {item["id"]: item["properties"] for item in found} == {item["id"]: item["properties"] for item in items}
    assert [item["properties"]["datetime"] for item in found] == sorted(
        (i["properties"]["datetime"] for i in items), reverse=True
    )


def test_an_index_is_used_again_until_the_catalog_changes(folder, tmp_path):
    published, path = Published.open(folder), tmp_path / "index.sqlite"
    assert ensure_index(published, path)
    assert not ensure_index(published, path)
    items = folder / "labelled" / "items.parquet"
    os.utime(items, ns=(1, 1))
    assert ensure_index(Published.open(folder), path)
    assert not ensure_index(Published.open(folder), path)


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "no meta"])
def test_a_damaged_index_is_built_again(folder, tmp_path, damage):
    published, path = Published.open(folder), tmp_path / "index.sqlite"
    ensure_index(published, path)
    whole = path.read_bytes()
    if damage == "no meta":
        with closing(sqlite3.connect(path)) as database:
            database.execute("DELETE FROM meta WHERE key = 'queryables'")
            database.commit()
    else:
        path.write_bytes({"empty": b"", "cut": whole[:2000], "text": b"no database" * 500}[damage])
    assert ensure_index(published, path)
    assert search(path).matched == 10


def test_a_build_that_ends_early_leaves_nothing(folder, tmp_path, monkeypatch):
    published, path = Published.open(folder), tmp_path / "index.sqlite"

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(published, path, stop)
    assert list(tmp_path.iterdir()) == []


def test_a_catalog_that_changes_meanwhile_is_noticed(folder, tmp_path):
    published = Published.open(folder)
    with pytest.raises(CorpusError, match="published again"):
        build_index(
            published, tmp_path / "index.sqlite", lambda _: os.utime(folder / "labelled" / "items.parquet", ns=(2, 2))
        )
    assert list(tmp_path.iterdir()) == []


def test_what_is_compressed_comes_back_also_against_an_empty_dictionary():
    for dictionary in (b"", b"some text that is common"):
        for document in (b"", b"some text", bytes(range(256)) * 40):
            assert decompress(compress(document, dictionary), dictionary) == document


def test_the_default_place_is_outside_of_the_catalog_and_its_own(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_index(folder).parent == tmp_path / "deepsentinel"
    assert default_index(folder) != default_index(folder.parent / "other" / "catalog")
    assert default_index(folder) == default_index(folder / ".." / folder.name)


def test_served_items_keep_only_links_that_the_api_does_not_state():
    item = {
        "id": "x",
        "collection": "c",
        "assets": {"data": {"href": "./shards/000000.zarr"}},
        "links": [
            {"rel": rel, "href": f"./{rel}.json"} for rel in ("root", "parent", "collection", "self", "derived_from")
        ],
    }
    rels = [link["rel"] for link in served_item(item, "labelled")["links"]]
    assert sorted(rels) == ["collection", "derived_from", "parent", "root", "self"]
