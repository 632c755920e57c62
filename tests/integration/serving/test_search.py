"""Searches over HTTP, as pystac_client makes them, against the same question asked of every item in plain Python."""

import datetime as dt
import fnmatch
import functools
import json
import operator
from collections.abc import Callable
from typing import Any

import pystac_client
import pytest
import requests
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

ARRAYS = ("instruments", "sar:polarizations", "deepsentinel:corine_classes", "deepsentinel:osm_classes")
TIMES = ("datetime", "start_datetime", "end_datetime", "deepsentinel:s1_datetime")
COMPARE = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Item = dict[str, Any]


@pytest.fixture(scope="session")
def client(api) -> pystac_client.Client:
    return pystac_client.Client.open(f"{api}/api/")


@pytest.fixture(scope="session")
def find(client) -> Callable[..., list[str]]:
    """Ids that a search finds, all pages of it, in its order."""

    def found(**asked: Any) -> list[str]:
        return [item["id"] for item in client.search(limit=asked.pop("limit", 150), **asked).items_as_dicts()]

    return found


@functools.cache
def time_of(text: str) -> dt.datetime:
    found = dt.datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def shape_of(item: Item) -> shapely.Geometry:
    return _shape(json.dumps(item["geometry"]))


@functools.cache
def _shape(geometry: str) -> shapely.Geometry:
    return shapely.from_geojson(geometry)


def stated(item: Item, name: str) -> Any:
    """A property as it compares: times as times."""
    if name in ("id", "collection"):
        return item[name]
    value = item["properties"].get(name)
    return time_of(value) if name in TIMES and value is not None else value


def holds(expression: Any, item: Item) -> bool | None:
    """CQL2-JSON of one item; None where a property is missing and so nothing can be said."""
    op, args = expression["op"], expression["args"]
    if op in ("and", "or"):
        parts = [holds(part, item) for part in args]
        decided = op == "or"
        return decided if decided in parts else None if None in parts else not decided
    if op == "not":
        inner = holds(args[0], item)
        return None if inner is None else not inner
    if op == "s_intersects":
        return bool(shapely.intersects(shape_of(item), shapely.geometry.shape(args[1])))
    value = stated(item, args[0]["property"])
    if op == "isNull":
        return value is None
    if value is None:
        return None
    literals = [time_of(arg["timestamp"]) if isinstance(arg, dict) else arg for arg in args[1:]]
    if op in COMPARE:
        return COMPARE[op](value, literals[0])
    return {
        "between": lambda: literals[0] <= value <= literals[-1],
        "in": lambda: value in literals[0],
        "like": lambda: fnmatch.fnmatchcase(value, literals[0].replace("%", "*").replace("_", "?")),
        "a_contains": lambda: set(literals[0]) <= set(value),
        "a_overlaps": lambda: bool(set(literals[0]) & set(value)),
        "a_containedBy": lambda: set(value) <= set(literals[0]),
        "a_equals": lambda: set(value) == set(literals[0]),
    }[op]()


def touches(item: Item, start: str | None, end: str | None) -> bool:
    first, last = (time_of(item["properties"][f"{end}_datetime"]) for end in ("start", "end"))
    return (end is None or first <= time_of(end)) and (start is None or last >= time_of(start))


def in_box(item: Item, west: float, south: float, east: float, north: float) -> bool:
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    return any(shapely.intersects(shape_of(item), shapely.box(a, south, b, north)) for a, b in spans)


def ids(items: list[Item], test: Callable[[Item], Any] = lambda item: True) -> set[str]:
    return {item["id"] for item in items if test(item)}


@pytest.mark.parametrize("limit", [1, 7, 100, 288, 500])
def test_paging_gives_every_item_once_and_the_newest_first(find, items, limit):
    found = find(limit=limit) if limit > 1 else find(limit=1, bbox=(178, -30, -178, -10))
    expected = items if limit > 1 else [item for item in items if in_box(item, 178, -30, -178, -10)]
    assert len(found) == len(set(found)) == len(expected)
    assert set(found) == ids(expected)
    times = {item["id"]: item["properties"]["datetime"] for item in items}
    assert [times[one] for one in found] == sorted((times[one] for one in found), reverse=True)


def test_the_first_page_says_how_many_match(client, items):
    assert client.search(limit=5).matched() == len(items)
    labelled = ids(items, lambda item: item["collection"] == "deepsentinel-labelled")
    assert client.search(limit=5, collections=["deepsentinel-labelled"]).matched() == len(labelled) == 192


@pytest.mark.parametrize(
    "bbox",
    [
        (11.0, 51.0, 14.0, 53.5), (4.4, 51.3, 4.6, 51.5), (-180, -90, 180, 90), (179, -20, -179, -10), (0, 0, 1, 1),
        (-60, -40, -40, -10), (179.9, -17.2, 180, -16),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_box_finds_the_footprints_that_touch_it(find, items, bbox, method):
    assert set(find(bbox=bbox, method=method)) == ids(items, lambda item: in_box(item, *bbox))


def test_six_numbers_are_a_box_with_heights_and_the_box_of_an_item_finds_it(find, items):
    for item in items[::29]:
        west, south, east, north = item["bbox"]
        assert item["id"] in find(bbox=(west, south, -100, east, north, 9000))


def test_shapes_find_the_footprints_that_touch_them(find, items):
    places = [shape_of(item) for item in items[:30]]
    triangle = shapely.Polygon([(4, 51), (5, 51.6), (13, 53.2)])
    several = shapely.union_all([place.buffer(0.2) for place in places[2:5]])
    shapes = [triangle, shapely.Point(places[1].centroid), several, shapely.box(11, 51, 14, 53).difference(triangle)]
    shapes += [shapely.LineString([places[1].centroid, places[7].centroid])]
    for shape in shapes:
        geometry = shapely.geometry.mapping(shape)
        expected = ids(items, lambda item, shape=shape: shapely.intersects(shape_of(item), shape))
        assert set(find(intersects=geometry)) == expected
        asked = {"op": "s_intersects", "args": [{"property": "geometry"}, geometry]}
        assert set(find(filter=asked)) == expected


@pytest.mark.parametrize(
    "interval",
    [
        ("2019-03-01T00:00:00Z", "2019-04-01T00:00:00Z"), (None, "2018-06-30T12:00:00Z"),
        ("2020-01-01T00:00:00Z", None), ("2019-01-01T00:00:00+02:00", "2019-12-31T23:59:59.5Z"),
        ("2030-01-01T00:00:00Z", None), (None, "2000-01-01T00:00:00Z"),
    ],
)  # fmt: skip
def test_intervals_find_what_was_seen_in_them(find, items, interval):
    text = "/".join(end or ".." for end in interval)
    assert set(find(datetime=text)) == ids(items, lambda item: touches(item, *interval))


def test_an_instant_finds_what_was_going_on_then(find, items):
    for item in items[::40]:
        when = item["properties"]["datetime"]
        assert (
            set(find(datetime=when)) == ids(items, lambda other, when=when: touches(other, when, when)) >= {item["id"]}
        )


def test_ids_and_collections_find_just_those(find, items):
    wanted = [item["id"] for item in items[::50]]
    assert set(find(ids=[*wanted, "no-such-item"])) == set(wanted)
    assert set(find(ids=wanted, collections=["deepsentinel-unlabelled"])) == ids(
        items, lambda item: item["id"] in wanted and item["collection"] == "deepsentinel-unlabelled"
    )
    assert find(collections=["no-such-collection"]) == []


def queryables(api: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{api}/api/queryables", timeout=10).json()["properties"]
    return found


def test_every_property_can_be_asked_with_every_operator_of_its_kind(api, find, items):
    asked = queryables(api)
    named = {name for item in items for name in item["properties"]}
    assert named - set(asked) == {"proj:shape", "proj:transform", "proj:bbox", "cube:dimensions"}
    assert {"id", "collection", "geometry"} <= set(asked)
    for name in sorted(set(asked) - {"geometry"}):
        values = sorted((v for item in items if (v := stated(item, name)) is not None), key=str)
        questions = _questions(name, asked[name], values[len(values) // 3])
        questions.append({"op": "not", "args": [questions[0]]})
        for expression in questions:
            expected = ids(items, lambda item, e=expression: holds(e, item))
            assert set(find(filter=expression, fields=["id"], limit=500)) == expected, expression


def _questions(name: str, described: dict[str, Any], value: Any) -> list[dict[str, Any]]:
    """Filters on one property, around a value that some item has."""
    own = {"property": name}
    if described["type"] == "array":
        value = value or [described["items"].get("enum", ["none"])[0]]
        operators = ("a_contains", "a_overlaps", "a_containedBy", "a_equals")
        return [{"op": op, "args": [own, part]} for op in operators for part in (value, value[:1])]
    if isinstance(value, dt.datetime):
        literal: Any = {"timestamp": value.isoformat().replace("+00:00", "Z")}
        return [{"op": op, "args": [own, literal]} for op in ("=", "<", "<=", ">", ">=")]
    if isinstance(value, bool):
        return [{"op": "=", "args": [own, truth]} for truth in (True, False)]
    compared = [{"op": op, "args": [own, value]} for op in COMPARE]
    compared += [{"op": "in", "args": [own, [value]]}, {"op": "isNull", "args": [own]}]
    if isinstance(value, str):
        return [
            *compared,
            {"op": "like", "args": [own, value[:3] + "%"]},
            {"op": "like", "args": [own, "%" + value[4:]]},
        ]
    return [*compared, {"op": "between", "args": [own, value - 1, value + 1]}]


def test_text_finds_what_json_finds(find, items):
    text = (
        '"eo:cloud_cover" < 10 AND (platform = \'sentinel-2a\' OR "deepsentinel:gap_hours" > 24) AND '
        "NOT \"sat:orbit_state\" IS NULL AND datetime >= TIMESTAMP('2019-01-01T00:00:00Z')"
    )
    expected = ids(
        items,
        lambda item: (
            item["properties"]["eo:cloud_cover"] < 10
            and (item["properties"]["platform"] == "sentinel-2a" or item["properties"]["deepsentinel:gap_hours"] > 24)
            and "sat:orbit_state" in item["properties"]
            and item["properties"]["datetime"] >= "2019"
        ),
    )
    assert 0 < len(expected) < len(items)
    assert set(find(filter=text, filter_lang="cql2-text", method="GET")) == expected


def test_the_query_extension_finds_what_a_filter_finds(find, items):
    query = {
        "eo:cloud_cover": {"gte": 5, "lt": 20},
        "platform": {"in": ["sentinel-2b"]},
        "grid:code": {"startsWith": "MGRS-3"},
    }
    expected = ids(
        items,
        lambda item: (
            5 <= item["properties"]["eo:cloud_cover"] < 20
            and item["properties"]["platform"] == "sentinel-2b"
            and item["properties"]["grid:code"].startswith("MGRS-3")
        ),
    )
    assert expected
    assert set(find(query=query)) == expected


@pytest.mark.parametrize("descends", [False, True])
def test_every_property_sorts_over_all_pages(api, find, items, descends):
    by_id = {item["id"]: item for item in items}
    for name, described in queryables(api).items():
        if described["type"] in ("array", "object"):
            continue
        found = find(sortby=("-" if descends else "+") + name, limit=97, fields=["id"])
        assert len(found) == len(set(found)) == len(items), name
        values = [value for one in found if (value := stated(by_id[one], name)) is not None]
        assert values == sorted(values, reverse=descends), name


def test_two_keys_sort_one_within_the_other(find, items):
    by_id = {item["id"]: item["properties"] for item in items}
    found = find(sortby=["platform", "-properties.eo:cloud_cover"], limit=50)
    keys = [(by_id[one]["platform"], -by_id[one]["eo:cloud_cover"]) for one in found]
    assert keys == sorted(keys)
    assert set(found) == ids(items)


def test_fields_keep_and_leave_out_what_is_asked(client, items):
    (only,) = client.search(limit=1, max_items=1, fields=["id", "properties.eo:cloud_cover"]).items_as_dicts()
    assert set(only) - {"collection", "type", "stac_version"} <= {
        "id",
        "properties",
        "links",
        "assets",
        "geometry",
        "bbox",
    }
    assert set(only["properties"]) == {"eo:cloud_cover"}
    (without,) = client.search(limit=1, max_items=1, fields=["-assets", "-properties.title"]).items_as_dicts()
    assert "assets" not in without
    assert "title" not in without["properties"]
    assert "eo:cloud_cover" in without["properties"]


CLOUD = st.floats(0, 60, allow_nan=False).map(lambda value: round(value, 2))
DAYS = st.dates(dt.date(2018, 1, 1), dt.date(2021, 6, 1)).map(lambda day: f"{day.isoformat()}T00:00:00Z")


def asking(op: st.SearchStrategy[str], name: str, *values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Filters on one property."""
    return st.tuples(op, *values).map(lambda drawn: {"op": drawn[0], "args": [{"property": name}, *drawn[1:]]})


CODES = st.lists(st.sampled_from([111, 112, 121, 211, 311, 312]), min_size=1, max_size=2)
PREDICATES = st.one_of(
    asking(st.sampled_from(list(COMPARE)), "eo:cloud_cover", CLOUD),
    asking(st.just("="), "sat:orbit_state", st.sampled_from(["ascending", "descending"])),
    asking(st.sampled_from(["a_contains", "a_overlaps"]), "deepsentinel:corine_classes", CODES),
    asking(st.just("between"), "sat:relative_orbit", st.integers(0, 70), st.integers(60, 140)),
    asking(st.just("isNull"), "deepsentinel:split"),
    asking(st.just("isNull"), "sat:orbit_state"),
    asking(st.sampled_from(["<", ">="]), "datetime", DAYS.map(lambda day: {"timestamp": day})),
)
EXPRESSIONS = st.recursive(
    PREDICATES,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"op": "and", "args": parts}, st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda parts: {"op": "or", "args": parts}, st.lists(inner, min_size=2, max_size=3)),
        inner.map(lambda part: {"op": "not", "args": [part]}),
    ),
    max_leaves=5,
)
BOXES = st.one_of(
    st.none(),
    st.sampled_from([(4.4, 51.2, 13.5, 53), (179, -20, -179, -10), (-180, -90, 180, 0), (11, 52, 12.9, 53.1)]),
)


@settings(max_examples=60)
@given(
    expression=st.none() | EXPRESSIONS,
    box=BOXES,
    start=st.none() | DAYS,
    end=st.none() | DAYS,
    limit=st.integers(1, 400),
)
def test_any_combination_finds_what_looking_at_every_item_finds(find, items, expression, box, start, end, limit):
    if start and end and start > end:
        start, end = end, start
    asked: dict[str, Any] = {"limit": max(limit, 20), "fields": ["id"]}
    asked |= {"filter": expression} if expression else {}
    asked |= {"bbox": box} if box else {}
    asked |= {"datetime": f"{start or '..'}/{end or '..'}"} if start or end else {}
    expected = ids(
        items,
        lambda item: (
            (expression is None or holds(expression, item) is True)
            and (box is None or in_box(item, *box))
            and touches(item, start, end)
        ),
    )
    found = find(**asked)
    assert len(found) == len(set(found))
    assert set(found) == expected
