"""Times, fields, hrefs, geometries and hashes: the small parts that requests go through."""

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.serving.documents import hashes
from catalog.serving.fields import Fields
from catalog.serving.geometries import MAX_CORNERS, check_bbox, count_corners, shape_of
from catalog.serving.guards import RequestError
from catalog.serving.origin import MARK, served_href, splice
from catalog.serving.times import ALWAYS_US, to_interval_us, to_us


@given(st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC)))
def test_microseconds_are_those_since_1970(time):
    assert dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=to_us(time.isoformat())) == time


def test_times_mind_their_zone_and_need_none():
    assert to_us("1970-01-01T02:00:00+02:00") == to_us("1970-01-01") == to_us("1970-01-01t00:00:00z") == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01", (0, 0)),
        ("1970-01-01/..", (0, ALWAYS_US[1])),
        ("/1970-01-01", (ALWAYS_US[0], 0)),
        ("1970-01-01T00:00:00Z/1970-01-01T00:00:01Z", (0, 1_000_000)),
    ],
)
def test_intervals_may_be_open(text, expected):
    assert to_interval_us(text) == expected


@pytest.mark.parametrize(
    "text", ["../..", "/", "", "a", "2020-01-02/2020-01-01", "2020-01-01/2020-01-02/2020-01-03", "2020-13-01"]
)
def test_what_is_no_interval_is_refused(text):
    with pytest.raises(RequestError):
        to_interval_us(text)


ITEM = {
    "id": "x",
    "collection": "c",
    "type": "Feature",
    "assets": {"a": {"href": "h", "type": "t"}},
    "properties": {"p": 1, "q": {"r": 2, "s": 3}},
}


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["properties.p"], [], {"id": "x", "collection": "c", "properties": {"p": 1}}),
        (["properties"], ["properties.p"], {"id": "x", "collection": "c", "properties": {"q": {"r": 2, "s": 3}}}),
        (["properties.q.r", "nothing.there"], [], {"id": "x", "collection": "c", "properties": {"q": {"r": 2}}}),
        ([], ["assets", "properties.q", "type"], {"id": "x", "collection": "c", "properties": {"p": 1}}),
        (["type"], ["type"], {"id": "x", "collection": "c", "type": "Feature"}),
        (["properties.p"], ["properties"], {"id": "x", "collection": "c", "properties": {"p": 1}}),
    ],
)
def test_fields_keep_and_leave_out(include, exclude, expected):
    before = json.dumps(ITEM)
    assert Fields.of(include, exclude).apply(ITEM) == expected
    assert json.dumps(ITEM) == before


def test_fields_of_get_requests_have_signs_and_none_are_the_default():
    assert Fields.parse(["+a", "b", "-c"]) == Fields.of(["a", "b"], ["c"])
    assert Fields.of(None, None).include >= {"id", "geometry", "links", "assets", "properties.datetime"}


def test_hrefs_lead_to_pixels_and_previews_of_the_origin():
    assert served_href("./shards/000001.zarr", "labelled") == f"{MARK}/data/labelled/shards/000001.zarr"
    assert served_href("./previews/000001/a.webp", "labelled") == f"{MARK}/previews/labelled/000001/a.webp"
    assert served_href("https://elsewhere.example/x", "labelled") == "https://elsewhere.example/x"
    assert served_href("../../../../etc/passwd", "labelled") == f"{MARK}/data/etc/passwd"


@given(st.text(max_size=20))
def test_no_origin_breaks_the_document_it_is_put_into(origin):
    stored = json.dumps({"href": f"{MARK}/api"}, ensure_ascii=False).encode()
    if all(not 0xD800 <= ord(character) <= 0xDFFF for character in origin):
        assert json.loads(splice(stored, origin)) == {"href": f"{origin}/api"}


def test_corners_are_counted_in_all_parts_of_a_geometry():
    ring = [[0, 0], [1, 0], [1, 1], [0, 0]]
    many = {"type": "MultiPolygon", "coordinates": [[ring, ring], [ring]]}
    assert count_corners(many) == 12
    assert (
        count_corners({"type": "GeometryCollection", "geometries": [many, {"type": "Point", "coordinates": [1, 2]}]})
        == 13
    )
    with pytest.raises(RequestError, match="corners"):
        count_corners({"type": "LineString", "coordinates": [[0, 0]] * (MAX_CORNERS + 1)})


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        {},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
        {"type": "Blob", "coordinates": []},
        {"type": "Point", "coordinates": []},
    ],
)
def test_what_is_no_geometry_is_refused(geometry):
    with pytest.raises(RequestError):
        shape_of(geometry)


def test_boxes_are_of_degrees():
    assert check_bbox([1, 2, -9, 3, 4, 99]) == (1, 2, 3, 4)
    assert check_bbox([170, -1, -170, 1]) == (170, -1, -170, 1)
    for bbox in ([1, 2, 3], [0, 5, 1, 4], [0, 0, 181, 1], [float("nan"), 0, 1, 1], [0, -91, 1, 1]):
        with pytest.raises(RequestError):
            check_bbox(bbox)


VALUES = st.none() | st.lists(
    st.fixed_dictionaries(
        {"name": st.none() | st.sampled_from(["a", "b"]), "codes": st.none() | st.lists(st.integers(0, 2), max_size=2)}
    ),
    max_size=3,
)


@given(st.lists(VALUES, max_size=12), st.integers(0, 5))
def test_hashes_are_equal_where_values_are_and_differ_where_they_differ(values, skip):
    kind = pa.list_(pa.struct({"name": pa.string(), "codes": pa.list_(pa.int32())}))
    array = pa.array(values, kind)[min(skip, len(values)) :]
    found, stated = hashes(array), [json.dumps(value) for value in array.to_pylist()]
    assert found.dtype == np.uint64
    for i, one in enumerate(stated):
        for j, other in enumerate(stated):
            assert (found[i] == found[j]) == (one == other)


def test_hashes_mind_the_order_of_lists():
    one, other, longer = hashes(pa.array([["a", "b"], ["b", "a"], ["a", "b", None]]))
    assert len({int(one), int(other), int(longer)}) == 3
