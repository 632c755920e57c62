"""Every kind of question, judged by the rows of the geoparquet, whichever way a search goes about it."""

import json
from contextlib import closing

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.serving_questions import KINDS
from benchmarks.serving_truth import Truth
from benchmarks.synthetic_items import write_synthetic
from catalog.fake import write_fake_build
from catalog.serving import sqlite_search
from catalog.serving.published import Published
from catalog.serving.requests import search_of
from catalog.serving.sqlite_build import build_index
from catalog.serving.sqlite_file import Meta, connect
from catalog.serving.sqlite_search import Searcher

# what decides the way: items sorted at once, and items that a condition may list to be looked through no further
WAYS = {"as it comes": {}, "walk in order": {"MAX_SORTED": 3}, "list": {"MAX_SORTED": 3, "_ENOUGH": 500}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("search")
    write_synthetic(place / "catalog", write_fake_build(place / "build", 4, side_px=16), 3000)
    build_index(Published.open(place / "catalog"), place / "index.sqlite")
    return place


@pytest.fixture(scope="module")
def truth(folder):
    return Truth(folder / "catalog" / "labelled" / "items.parquet")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_page_is_right(folder, truth, monkeypatch, kind, way):
    for name, value in WAYS[way].items():
        monkeypatch.setattr(sqlite_search, name, value)
    rng = np.random.default_rng(7)
    with closing(connect(str(folder / "index.sqlite"))) as connection:
        searcher = Searcher(Meta.read(connection))
        for limit in (1, 10, 100, 10, 1000):
            body = KINDS[kind](rng)
            asked = {name: value for name, value in body.items() if name != "fields"}
            page = searcher.search(connection, search_of(searcher.predicates, {**asked, "limit": limit}))
            assert truth.wrong(asked, [json.loads(one) for one in page.documents], limit) is None
            matches = int(truth.matches(asked).sum())
            assert page.matched in (matches, None)
            assert (page.token is None) == (matches <= limit)


@pytest.mark.parametrize("kind", ["datetime, a month", "sorted by clouds, filtered", "bbox, datetime, CQL2"])
def test_all_pages_together_hold_each_match_once(folder, truth, monkeypatch, kind):
    monkeypatch.setattr(sqlite_search, "MAX_SORTED", 3)
    body = KINDS[kind](np.random.default_rng(8))
    found, token = [], None
    with closing(connect(str(folder / "index.sqlite"))) as connection:
        searcher = Searcher(Meta.read(connection))
        while token is not None or not found:
            asked = search_of(searcher.predicates, {**body, "limit": 2, "token": token})
            page = searcher.search(connection, asked)
            found += [json.loads(one) for one in page.documents]
            token = page.token
    assert len(found) > 4
    assert truth.wrong(body, found, len(found) + 1) is None


def test_an_item_that_a_condition_lists_several_times_is_found_and_counted_once(folder):
    table = pq.read_table(folder / "catalog" / "labelled" / "items.parquet").to_pydict()
    classes = table["deepsentinel:corine_classes"]
    rarest = sorted(
        {code for codes in classes for code in codes}, key=lambda code: sum(code in codes for codes in classes)
    )
    wanted = set(rarest[:6])
    shared = [len(wanted.intersection(codes)) for codes in classes]
    assert max(shared) > 1  # one that is listed for each of its classes
    op = {"op": "a_overlaps", "args": [{"property": "deepsentinel:corine_classes"}, sorted(wanted)]}
    with closing(connect(str(folder / "index.sqlite"))) as connection:
        searcher = Searcher(Meta.read(connection))
        page = searcher.search(connection, search_of(searcher.predicates, {"filter": op, "limit": 3000}))
    found = sorted(json.loads(one)["id"] for one in page.documents)
    assert found == sorted(name for name, count in zip(table["id"], shared, strict=True) if count)
    assert page.matched == len(found)
