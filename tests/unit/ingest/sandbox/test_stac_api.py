"""Searches: what comes back, in which order and pages, and what is refused."""

import datetime as dt
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pystac_client
import pytest
import requests
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.sandbox.items import s1_item, s2_item
from ingest.sandbox.server import Sandbox

TILES = ["33UUU", "33UUV", "33UVU"]
DAY0 = dt.datetime(2023, 6, 1, 10, 0, 31, 24000, tzinfo=dt.UTC)
BOTH = ["sentinel-1-rtc", "sentinel-2-l2a"]


def make_items() -> list[dict[str, Any]]:
    """60 Sentinel-2 items, three of each time, and 10 Sentinel-1 items, in random places."""
    rng = np.random.default_rng(7)
    items = []
    for day, tile in itertools.product(range(20), TILES):
        west, south = rng.uniform(10, 16), rng.uniform(48, 54)
        items.append(
            s2_item(
                tile=tile,
                acquired=DAY0 + dt.timedelta(days=day),
                platform="S2A" if day % 2 else "S2B",
                relative_orbit=22,
                orbit_state="descending",
                baseline="05.09",
                cloud_cover=float(round(rng.uniform(0, 100), 1)),
                footprint=shapely.box(west, south, west + 1, south + 1),
            )
        )
    for day in range(10):
        started = DAY0 + dt.timedelta(days=2 * day, hours=6)
        items.append(
            s1_item(
                started=started,
                stopped=started + dt.timedelta(seconds=25),
                platform="S1A",
                orbit_state="ascending" if day % 2 else "descending",
                relative_orbit=44,
                absolute_orbit=48_791 + day,
                epsg=32633,
                west_m=300_000,
                north_m=5_900_000,
                width_px=27_000,
                height_px=21_000,
                footprint=shapely.box(10 + day / 2, 48, 12 + day / 2, 54),
            )
        )
    return items


ITEMS = make_items()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    archive: Path = tmp_path_factory.mktemp("search")
    for item in ITEMS:
        folder = archive / "items" / item["collection"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{item['id']}.json").write_text(json.dumps(item))
    with Sandbox(archive) as running, running.applied():
        yield running


def post(sandbox: Sandbox, **body: Any) -> requests.Response:
    return requests.post(f"{sandbox.stac_url}/search", json=body, timeout=10)


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


def found(sandbox: Sandbox, **body: Any) -> list[str]:
    answer = post(sandbox, **({"collections": BOTH} | body))
    assert answer.status_code == 200, answer.text
    return ids(answer.json()["features"])


def expected(keep) -> set[str]:
    return {item["id"] for item in ITEMS if keep(item)}


def properties(name: str):
    return lambda item: item["properties"].get(name)


def test_landing_page_declares_what_the_real_one_does(sandbox, shared_data):
    real = json.loads((shared_data / "stac-fixtures" / "pc" / "landing.json").read_text())
    page = requests.get(sandbox.stac_url, timeout=10).json()
    assert set(page) == set(real)
    assert page["conformsTo"] == real["conformsTo"]
    served = {"self", "root", "data", "conformance", "search"}
    wanted = [(link["rel"], link.get("method")) for link in real["links"] if link["rel"] in served]
    assert [(link["rel"], link.get("method")) for link in page["links"] if link["rel"] in served] == wanted


def test_every_link_of_the_landing_page_and_the_items_answers(sandbox):
    page = requests.get(sandbox.stac_url + "/", timeout=10).json()
    item = post(sandbox, collections=["sentinel-2-l2a"], limit=1).json()["features"][0]
    links = page["links"] + [link for link in item["links"] if link["rel"] in ("collection", "parent", "root", "self")]
    for link in links:
        assert link["href"].startswith(sandbox.stac_url)
        if link["rel"] != "search":
            assert requests.get(link["href"], timeout=10).status_code == 200


@pytest.mark.parametrize("name", BOTH)
def test_collections_name_the_storage_of_the_real_ones(sandbox, shared_data, name):
    real = json.loads((shared_data / "stac-fixtures" / "pc" / "collections" / f"{name}.json").read_text())
    collection = requests.get(f"{sandbox.stac_url}/collections/{name}", timeout=10).json()
    assert set(collection) <= set(real)
    for key in ("id", "type", "stac_version", "license", "msft:container", "msft:storage_account", "msft:region"):
        assert collection[key] == real[key]


def test_page_has_the_shape_of_a_recorded_one(sandbox, shared_data):
    folder = shared_data / "stac-fixtures" / "pc" / "search"
    reals = [json.loads((folder / f"naip_paging_page{page}.json").read_text()) for page in (1, 2)]
    first = post(sandbox, collections=BOTH, limit=10).json()
    second = post(sandbox, **first["links"][0]["body"]).json()
    for page, real in zip((first, second), reals, strict=True):
        assert set(page) == set(real)
        assert [link["rel"] for link in page["links"]] == [link["rel"] for link in real["links"]]
        assert [set(link) for link in page["links"]] == [set(link) for link in real["links"]]
    last, start = first["features"][-1], second["features"][0]
    assert first["links"][0]["body"]["token"] == f"next:{last['collection']}:{last['id']}"
    assert second["links"][1]["body"]["token"] == f"prev:{start['collection']}:{start['id']}"


def test_the_previous_link_leads_back(sandbox):
    first = post(sandbox, collections=BOTH, limit=10).json()
    second = post(sandbox, **first["links"][0]["body"]).json()
    back = post(sandbox, **second["links"][1]["body"]).json()
    assert ids(back["features"]) == ids(first["features"])


def test_items_come_latest_first_and_then_by_id_from_z_to_a(sandbox):
    start = lambda item: item["properties"].get("start_datetime", item["properties"]["datetime"]).replace(" ", "T")  # noqa: E731
    order = sorted(ITEMS, key=lambda item: (start(item)[:19], item["id"]), reverse=True)
    assert found(sandbox) == ids(order)


def test_recorded_page_has_this_order(shared_data):
    real = json.loads((shared_data / "stac-fixtures/pc/search/sentinel-2-l2a_20190101.json").read_text())
    assert ids(real["features"]) == sorted(ids(real["features"]), reverse=True)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("limit", [1, 7, 35, 70, 1000])
def test_pystac_client_pages_to_the_end_without_loss_or_repetition(sandbox, method, limit):
    client = pystac_client.Client.open(sandbox.stac_url)
    search = client.search(collections=BOTH, limit=limit, method=method)
    got = [item["id"] for item in search.items_as_dicts()]
    assert sorted(got) == sorted(ids(ITEMS))


def test_nothing_tells_how_many_items_match(sandbox):
    client = pystac_client.Client.open(sandbox.stac_url)
    with pytest.warns(UserWarning, match="numberMatched"):
        assert client.search(collections=BOTH).matched() is None


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pystac_client_filters_alike_by_both_methods(sandbox, method):
    client = pystac_client.Client.open(sandbox.stac_url)
    search = client.search(
        collections=["sentinel-2-l2a"],
        bbox=[11.0, 49.0, 13.5, 52.0],
        datetime="2023-06-03/2023-06-15",
        query={"eo:cloud_cover": {"lt": 60}},
        sortby="+properties.eo:cloud_cover",
        limit=2,
        method=method,
    )
    area = shapely.box(11.0, 49.0, 13.5, 52.0)
    wanted = expected(
        lambda item: (
            item["collection"] == "sentinel-2-l2a"
            and area.intersects(shapely.from_geojson(json.dumps(item["geometry"])))
            and "2023-06-03" <= item["properties"]["datetime"] < "2023-06-16"
            and item["properties"]["eo:cloud_cover"] < 60
        )
    )
    got = list(search.items_as_dicts())
    assert len(wanted) > 4
    assert set(ids(got)) == wanted
    clouds = [item["properties"]["eo:cloud_cover"] for item in got]
    assert clouds == sorted(clouds)


def test_items_of_a_collection_are_pages_too(sandbox):
    client = pystac_client.Client.open(sandbox.stac_url)
    items = client.get_collection("sentinel-1-rtc").get_items()
    assert {item.id for item in items} == expected(lambda item: item["collection"] == "sentinel-1-rtc")
    one = client.get_collection("sentinel-1-rtc").get_item(ITEMS[-1]["id"])
    assert one is not None
    assert one.properties["sat:absolute_orbit"] == ITEMS[-1]["properties"]["sat:absolute_orbit"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(9, 17), st.floats(47, 55), st.floats(0, 4), st.floats(0, 4))
def test_bbox_finds_what_intersects(sandbox, west, south, width, height):
    area = shapely.box(west, south, west + width, south + height)
    wanted = expected(lambda item: area.intersects(shapely.from_geojson(json.dumps(item["geometry"]))))
    bbox = [west, south, west + width, south + height]
    assert set(found(sandbox, bbox=bbox)) == wanted
    assert set(found(sandbox, intersects=json.loads(shapely.to_geojson(area)))) == wanted


def test_bbox_may_cross_the_antimeridian_and_have_heights(sandbox):
    assert found(sandbox, bbox=[170, 40, 12, 60]) == found(sandbox, bbox=[-180, 40, 12, 60])
    assert found(sandbox, bbox=[10, 48, -100, 12, 50, 9000]) == found(sandbox, bbox=[10, 48, 12, 50])


@pytest.mark.parametrize(
    ("interval", "first", "last"),
    [
        ("2023-06-05T10:00:31.024Z", "2023-06-05T10:00:31.024000Z", "2023-06-05T10:00:31.024000Z"),
        ("2023-06-05T00:00:00Z/2023-06-09T00:00:00+00:00", "2023-06-05", "2023-06-09"),
        ("../2023-06-03T12:00:00Z", "", "2023-06-03T12"),
        ("2023-06-19T00:00:00Z/..", "2023-06-19", "9"),
        ("2023-06-19T00:00:00Z/", "2023-06-19", "9"),
    ],
)
def test_datetime_finds_what_overlaps(sandbox, interval, first, last):
    wanted = expected(
        lambda item: item["collection"] == "sentinel-2-l2a" and first <= item["properties"]["datetime"] <= last
    )
    assert wanted
    assert set(found(sandbox, collections=["sentinel-2-l2a"], datetime=interval)) == wanted


def test_radar_scenes_last_from_start_to_end(sandbox):
    item = ITEMS[-1]
    assert item["id"] in found(sandbox, datetime="2023-06-19T16:00:32Z")  # before its `datetime`
    assert item["id"] in found(sandbox, datetime="2023-06-19T16:00:56Z")
    assert item["id"] not in found(sandbox, datetime="2023-06-19T16:00:57Z")


CLOUDS = properties("eo:cloud_cover")


@pytest.mark.parametrize(
    ("query", "keep"),
    [
        ({"eo:cloud_cover": {"lt": 50.0}}, lambda i: CLOUDS(i) is not None and CLOUDS(i) < 50),
        ({"eo:cloud_cover": {"gte": 20, "lte": 40}}, lambda i: CLOUDS(i) is not None and 20 <= CLOUDS(i) <= 40),
        ({"platform": {"eq": "Sentinel-2A"}}, lambda i: properties("platform")(i) == "Sentinel-2A"),
        (
            {"platform": {"neq": "Sentinel-2A"}, "eo:cloud_cover": {"gt": 10}},
            lambda i: properties("platform")(i) == "Sentinel-2B" and CLOUDS(i) > 10,
        ),
        ({"s2:mgrs_tile": {"in": ["33UUU", "33UVU"]}}, lambda i: properties("s2:mgrs_tile")(i) in ("33UUU", "33UVU")),
        ({"sar:polarizations": {"eq": ["VV", "VH"]}}, lambda i: i["collection"] == "sentinel-1-rtc"),
        ({"id": {"gt": "S2B"}}, lambda i: i["id"] > "S2B"),
        ({"nothing": {"neq": 1}}, lambda i: False),
        ({"platform": {"lt": 5}}, lambda i: False),
    ],
)
def test_query(sandbox, query, keep):
    assert set(found(sandbox, query=query)) == expected(keep)


def compare(op: str, name: str, *values: Any) -> dict[str, Any]:
    return {"op": op, "args": [{"property": name}, *values]}


@pytest.mark.parametrize(
    ("expression", "keep"),
    [
        (compare("<", "eo:cloud_cover", 30), lambda i: CLOUDS(i) is not None and CLOUDS(i) < 30),
        (compare("between", "eo:cloud_cover", 20, 40), lambda i: CLOUDS(i) is not None and 20 <= CLOUDS(i) <= 40),
        (compare("in", "s2:mgrs_tile", ["33UUV"]), lambda i: properties("s2:mgrs_tile")(i) == "33UUV"),
        (
            {"op": "and", "args": [compare("=", "platform", "Sentinel-2A"), compare(">", "eo:cloud_cover", 50)]},
            lambda i: properties("platform")(i) == "Sentinel-2A" and CLOUDS(i) > 50,
        ),
        (
            {"op": "or", "args": [compare("=", "sat:orbit_state", "ascending"), compare(">=", "eo:cloud_cover", 90)]},
            lambda i: properties("sat:orbit_state")(i) == "ascending" or (CLOUDS(i) or 0) >= 90,
        ),
        (
            {"op": "not", "args": [compare("<>", "sat:orbit_state", "ascending")]},
            lambda i: properties("sat:orbit_state")(i) == "ascending",
        ),
    ],
)
def test_cql2_filter(sandbox, expression, keep):
    wanted = expected(keep)
    assert wanted
    assert set(found(sandbox, filter=expression, **{"filter-lang": "cql2-json"})) == wanted


def test_ids_are_found_within_the_collections_asked_for(sandbox):
    chosen = [ITEMS[3]["id"], ITEMS[-1]["id"], "unknown"]
    assert set(found(sandbox, ids=chosen)) == set(chosen[:2])
    assert found(sandbox, ids=chosen, collections=["sentinel-1-rtc"]) == [ITEMS[-1]["id"]]
    assert found(sandbox, collections=["naip"]) == []


def test_sorting_puts_items_without_the_property_last(sandbox):
    rule = [{"field": "properties.eo:cloud_cover", "direction": "desc"}]
    answer = post(sandbox, collections=BOTH, sortby=rule).json()["features"]
    clouds = [CLOUDS(item) for item in answer]
    assert clouds[:60] == sorted(clouds[:60], reverse=True)
    assert clouds[60:] == [None] * 10
    assert found(sandbox, sortby=[{"field": "id", "direction": "asc"}]) == sorted(ids(ITEMS))


def test_id_paging_finds_everything_without_links(sandbox):
    got: list[str] = []
    while True:
        after = {"id": {"gt": got[-1]}} if got else {}
        page = found(sandbox, sortby=[{"field": "id", "direction": "asc"}], limit=9, query=after)
        if not page:
            break
        got += page
    assert got == sorted(ids(ITEMS))


def test_a_search_without_collections_is_422(sandbox, shared_data):
    recorded = json.loads((shared_data / "stac-fixtures/pc/errors.json").read_text())["search_no_collection"]
    for body in ({}, {"collections": []}, {"ids": [ITEMS[0]["id"]]}):
        answer = post(sandbox, **body)
        assert (answer.status_code, answer.text) == (recorded["status"], recorded["body"])


@pytest.mark.parametrize("limit", [0, -1, 1001, "10", 2.0, True, None])
def test_limit_is_a_whole_number_from_1_to_1000(sandbox, limit):
    answer = post(sandbox, collections=BOTH, limit=limit)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "text/plain"
    assert "from 1 to 1000" in answer.text


def test_limit_is_250_by_default(sandbox):
    assert len(found(sandbox)) == len(ITEMS) < 250


@pytest.mark.parametrize(
    "body",
    [
        {"bbox": [1, 2, 3]},
        {"bbox": "1,2,3,4"},
        {"bbox": [1, 50, 2, 40]},
        {"bbox": [1, 2, 3, 4], "intersects": {"type": "Point", "coordinates": [1, 2]}},
        {"intersects": {"type": "Blob", "coordinates": [1, 2]}},
        {"datetime": "yesterday"},
        {"datetime": "2023-06-09T00:00:00Z/2023-06-05T00:00:00Z"},
        {"datetime": "../.."},
        {"datetime": 2023},
        {"query": {"eo:cloud_cover": {"like": 5}}},
        {"query": {"eo:cloud_cover": 5}},
        {"filter": {"op": "s_within", "args": [{"property": "geometry"}, {}]}},
        {"filter": "eo:cloud_cover < 5"},
        {"sortby": [{"field": "id", "direction": "up"}]},
        {"sortby": [{"field": "sar:polarizations"}, "id"]},
        {"token": "next:sentinel-2-l2a:unknown"},
        {"token": "page2"},
        {"collections": "sentinel-2-l2a"},
        {"ids": [5]},
    ],
)
def test_what_cannot_be_read_is_400_in_text(sandbox, body):
    answer = post(sandbox, **({"collections": BOTH} | body))
    assert answer.status_code == 400, answer.text
    assert answer.headers["Content-Type"] == "text/plain"


def test_bodies_that_are_no_json_object_are_400(sandbox):
    for body in (b"", b"{", b"[1]"):
        assert requests.post(f"{sandbox.stac_url}/search", data=body, timeout=10).status_code == 400
    for words in ("limit=ten", "bbox=a,b", "filter=a<5", "query={"):
        url = f"{sandbox.stac_url}/search?collections=sentinel-2-l2a&{words}"
        assert requests.get(url, timeout=10).status_code == 400
