"""The judge of served answers finds every way in which an answer can be wrong."""

import numpy as np
import pytest

from benchmarks.serving_page import section
from benchmarks.serving_questions import KINDS
from benchmarks.serving_truth import Truth
from benchmarks.synthetic_items import write_again, write_synthetic
from catalog.fake import write_fake_build
from catalog.index import read_items

CLOUDS = {"op": "<", "args": [{"property": "eo:cloud_cover"}, 5.0]}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    write_synthetic(folder / "catalog", write_fake_build(folder / "build", 4, side_px=16), 400)
    return folder / "catalog" / "labelled" / "items.parquet"


@pytest.fixture(scope="module")
def items(index):
    return list(read_items(index))


@pytest.fixture(scope="module")
def truth(index):
    return Truth(index)


def cloudy(item):
    return item["properties"]["eo:cloud_cover"]


def test_a_filter_that_is_ignored_shows(truth, items):
    right = [item for item in items if cloudy(item) < 5]
    assert truth.wrong({"filter": CLOUDS}, right, 1000) is None
    assert truth.wrong({"filter": CLOUDS}, items, 1000) == "holds items that do not match"
    assert truth.wrong({"filter": CLOUDS}, right[:-1], 1000) == "lacks items"
    assert truth.wrong({"filter": CLOUDS}, right[:3], 3) is None
    assert truth.wrong({"filter": CLOUDS}, right[:4], 3) == "holds more than the limit"
    assert truth.wrong({"filter": CLOUDS}, [right[0]] * 3, 3) == "lacks items"


def test_an_order_that_is_not_the_one_asked_for_shows(truth, items):
    body = {"sortby": [{"field": "eo:cloud_cover", "direction": "desc"}]}
    ordered = sorted(items, key=cloudy, reverse=True)
    assert truth.wrong(body, ordered[:10], 10) is None
    assert truth.wrong(body, ordered[1:11], 10) == "is sorted wrongly"
    assert truth.wrong(body, ordered[9::-1], 10) == "is sorted wrongly"


def test_fields_that_were_not_asked_for_show(truth, items):
    assert truth.wrong({"fields": {"include": ["id"]}}, items[:10], 10) == "holds fields not asked for"
    assert truth.wrong({"fields": {"include": ["id"]}}, [{"id": item["id"]} for item in items[:10]], 10) is None


def test_an_interval_finds_items_either_of_whose_images_lies_in_it(truth, items):
    start, end = items[7]["properties"]["start_datetime"], items[7]["properties"]["end_datetime"]
    assert start < end
    for one in (f"../{start}", f"{end}/..", f"{start}/{start}"):
        assert truth.matches({"datetime": one})[7]
    assert not truth.matches({"datetime": "../2016-01-01T00:00:00Z"}).any()


def test_a_box_and_a_class_find_what_plain_python_finds(truth, items):
    body = KINDS["bbox of 60 degrees"](np.random.default_rng(1)) | {"filter": KINDS["CQL2, a class"](rng())["filter"]}
    west, south, east, north = body["bbox"]
    (code,) = body["filter"]["args"][1]
    expected = [
        i for i, item in enumerate(items)
        if item["bbox"][0] <= east and item["bbox"][2] >= west and item["bbox"][1] <= north
        and item["bbox"][3] >= south and code in item["properties"]["deepsentinel:corine_classes"]
    ]  # fmt: skip
    assert np.flatnonzero(truth.matches(body)).tolist() == expected


def rng():
    return np.random.default_rng(2)


def test_published_again_some_items_are_new_changed_and_gone(index, items, tmp_path):
    counts = write_again(index.parent.parent, tmp_path, seed=3)
    later = {item["id"]: item for item in read_items(tmp_path / "labelled" / "items.parquet")}
    before = {item["id"]: item for item in items}
    assert counts == {
        "new": len(later.keys() - before), "gone": len(before.keys() - later),
        "changed": sum(later[name] != before[name] for name in later.keys() & before),
    }  # fmt: skip
    assert counts == {"new": 4, "changed": 2, "gone": 0}


def test_every_kind_of_question_can_be_judged(truth, items):
    for make in KINDS.values():
        assert truth.matches(make(rng())).shape == (len(items),)


def test_the_page_shows_what_is_wrong():
    asked = {"p50_ms": 1.0, "p95_ms": 2.0, "max_ms": 3.0, "items": 4, "right": "10/10"}
    own = {"queries": {"a": asked, "b": asked}, "index": {"seconds": 5.0, "cpu_seconds": 4.0, "mb": 6, "peak_mb": 7}}
    wrong = asked | {"right": "0/10", "wrong": ["lacks items"]}
    peers = {
        "one": {"items": 10, "load_s": 1.0, "queries": {"a": wrong, "b": {"error": "500: no"}}},
        "two": {"items": 10, "error": "not installed"},
    }
    record = {"items": {"10": own}, "peers": peers}
    record |= {"command": "it", "date": "today", "machine": {"cores": 2}, "options": {"limit": 100}}
    text = section(record)
    assert "| a | 1 / 2 | 1 / 2 (**right: 0/10**) | - |" in text
    assert "| b | 1 / 2 | refused | - |" in text
    assert "`one` lacks items: a" in text
    assert "`two` does not run: not installed" in text
