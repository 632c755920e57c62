"""What no client should send: each gets a clear answer of the 400s, no traceback, and the server lives on."""

import contextlib
import json
import math
import socket
from urllib.parse import quote, urlsplit

import pytest
import requests


@pytest.fixture(autouse=True)
def lives_on(api):
    """After each of these tests the server still answers."""
    yield
    assert requests.get(f"{api}/api/search", params={"limit": 1}, timeout=10).json()["numberReturned"] == 1


def refused(answer: requests.Response, *words: str, status: int = 400) -> None:
    """The answer says what is wrong, in words, and nothing about the inside of the server."""
    assert answer.status_code == status, answer.text[:300]
    stated = answer.json()
    assert set(stated) == {"code", "description"}
    assert len(stated["description"]) < 1000
    assert "Traceback" not in answer.text
    for word in words:
        assert word in stated["description"], stated["description"]


GET = [
    ({"bbox": "1,2,3"}, ["4 or 6"]),
    ({"bbox": "a,b,c,d"}, ["bbox"]),
    ({"bbox": "10,50,11,40"}, ["south"]),
    ({"bbox": "-200,0,10,10"}, ["-180..180"]),
    ({"bbox": "nan,0,10,10"}, ["bbox"]),
    ({"datetime": "yesterday"}, ["RFC3339"]),
    ({"datetime": "2020-02-01T00:00:00Z/2020-01-01T00:00:00Z"}, ["before"]),
    ({"datetime": "../.."}, ["open"]),
    ({"limit": "0"}, ["limit"]),
    ({"limit": "-5"}, ["limit"]),
    ({"limit": "many"}, ["limit"]),
    ({"filter": "eo:cloud_cover <"}, ["CQL2"]),
    ({"filter": "\"eo:cloud_covr\" < 5"}, ["eo:cloud_covr", "did you mean", "eo:cloud_cover", "queryables"]),
    ({"filter": "\"eo:cloud_cover\" < 'few'"}, ["number", "text"]),
    ({"filter": "NOT " * 4000 + "(gsd = 10)"}, ["NOT"]),
    ({"filter": "(" * 3000 + "gsd = 10" + ")" * 3000}, ["deep"]),
    ({"filter": "gsd = 1 OR " * 1700 + "gsd = 10"}, ["comparisons"]),
    ({"filter": "platform = '" + "x" * 30_000 + "'"}, ["characters"]),
    ({"filter": "{", "filter-lang": "cql2-json"}, ["JSON"]),
    ({"filter": "gsd = 10", "filter-crs": "EPSG:32633"}, ["filter-crs"]),
    ({"filter": "gsd = 10", "filter-lang": "sql"}, ["filter-lang"]),
    ({"sortby": "cloudiness"}, ["cloudiness"]),
    ({"sortby": "deepsentinel:corine_classes"}, ["array"]),
    ({"token": "no-token"}, ["token"]),
    ({"intersects": "{\"type\": \"Point\"}"}, ["geometry"]),
    ({"intersects": "POINT(1 2)"}, ["JSON"]),
    ({"query": "{\"gsd\": {\"about\": 3}}"}, ["about"]),
]  # fmt: skip


@pytest.mark.parametrize(("params", "words"), GET, ids=[f"{next(iter(p))}-{i}" for i, (p, _) in enumerate(GET)])
def test_malformed_parameters_are_named(api, params, words):
    refused(requests.get(f"{api}/api/search", params=params, timeout=20), *words)


def ring(corners: int) -> dict:
    turns = [2 * math.pi * i / corners for i in range(corners)]
    around = [[math.cos(turn), math.sin(turn)] for turn in turns]
    return {"type": "Polygon", "coordinates": [[*around, around[0]]]}


def nested(deep: int) -> dict:
    found = {"op": "=", "args": [{"property": "gsd"}, 10]}
    for _ in range(deep):
        found = {"op": "not", "args": [found]}
    return found


BOW = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
POST = [
    ({"intersects": ring(20_000)}, 400, ["20,001 corners", "5,000"]),
    ({"filter": {"op": "s_intersects", "args": [{"property": "geometry"}, ring(20_000)]}}, 400, ["corners"]),
    ({"intersects": ring(200_000)}, 413, ["1,048,576 bytes"]),
    ({"filter": nested(200)}, 400, ["deep", "64"]),
    ({"ids": ["x" * 50] * 100_000}, 413, ["bytes"]),
    ({"bbox": [0, 0, 1, 1], "intersects": ring(4)}, 400, ["exclu"]),
    ({"intersects": BOW}, 400, ["Self-inter"]),
    ({"filter": {"op": "sql", "args": ["1; DROP TABLE item"]}}, 400, ["operator"]),
    ({"filter": {"op": "=", "args": [{"property": "\" OR 1=1 --"}, 1]}}, 400, ["queryable"]),
    ({"filter": {"op": "and", "args": []}}, 400, ["nothing to join"]),
    ({"filter": {"op": "=", "args": [1]}}, 400, ["2 arguments"]),
    ({"filter": {"args": [1]}}, 400, ["no condition"]),
    ({"filter": {"op": "a_contains", "args": [{"property": "platform"}, ["x"]]}}, 400, ["array"]),
    ({"filter": {"op": "a_contains", "args": [{"property": "deepsentinel:osm_classes"}, [3]]}}, 400, ["array of text"]),
    ({"filter": {"op": "in", "args": [{"property": "gsd"}, []]}}, 400, ["list"]),
    ({"filter": {"op": "and", "args": [{"op": "isNull", "args": [{"property": "gsd"}]}] * 5000}}, 400, ["parts"]),
    ({"filter": {"op": "like", "args": [{"property": "gsd"}, "1%"]}}, 400, ["LIKE"]),
    ({"filter": {"op": "s_within", "args": [{"property": "geometry"}, ring(4)]}}, 400, ["s_intersects"]),
    ({"filter": {"op": "=", "args": [{"property": "datetime"}, "soon"]}}, 400, ["soon"]),
    ({"sortby": [{"field": "gsd", "direction": "sideways"}]}, 400, ["direction"]),
    ({"limit": 1.5}, 400, ["limit"]),
    ({"limit": None, "collections": "deepsentinel-labelled"}, 400, ["collections"]),
    ({"query": {"gsd": {"startsWith": 3}}}, 400, ["startsWith"]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "words"), POST, ids=range(len(POST)))
def test_bodies_that_ask_too_much_or_nonsense_are_refused(api, body, status, words):
    refused(requests.post(f"{api}/api/search", json=body, timeout=20), *words, status=status)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"null", b"\xff\xfe", b"[" * 500_000, b'{"a":' * 100_000, b'"' + b"x" * 1000]
)
def test_bodies_that_are_no_json_object_are_refused(api, content):
    headers = {"Content-Type": "application/json"}
    refused(requests.post(f"{api}/api/search", data=content, headers=headers, timeout=20))


def test_an_endless_body_is_cut_off(api):
    def forever():
        for _ in range(10_000):
            yield b" " * 65536

    headers = {"Content-Type": "application/json"}
    with contextlib.suppress(requests.ConnectionError):  # the server may close before all was sent
        refused(requests.post(f"{api}/api/search", data=forever(), headers=headers, timeout=20), "bytes", status=413)


def test_a_limit_beyond_all_reason_is_capped(api, items):
    found = requests.post(f"{api}/api/search", json={"limit": 10**30}, timeout=30).json()
    assert found["numberReturned"] == len(items)


def test_a_token_for_another_order_is_refused(api):
    first = requests.post(f"{api}/api/search", json={"limit": 3}, timeout=10).json()
    (following,) = [link for link in first["links"] if link["rel"] == "next"]
    body = {**following["body"], "sortby": [{"field": "eo:cloud_cover", "direction": "asc"}]}
    refused(requests.post(f"{api}/api/search", json=body, timeout=10), "order")


@pytest.mark.parametrize(
    "path",
    ["collections/nowhere", "collections/nowhere/items", "collections/nowhere/queryables", "collections/%00/items",
     "collections/deepsentinel-labelled/items/no-such-item", "no-such-route"],
)  # fmt: skip
def test_what_is_not_there_is_404(api, path):
    refused(requests.get(f"{api}/api/{path}", timeout=10), status=404)


def raw(api: str, path: str) -> tuple[int, bytes]:
    """GET a path exactly as it is written; clients tidy them up."""
    host, port = urlsplit(api).hostname, urlsplit(api).port
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(answer.split()[1]), answer


@pytest.mark.parametrize("prefix", ["stac", "data", "previews", "previews/labelled", "stac/labelled/shards"])
@pytest.mark.parametrize(
    "way", ["../secret.txt", "../../secret.txt", "../../../../../../etc/passwd", "%2e%2e/secret.txt", "..%2fsecret.txt",
            "%252e%252e/secret.txt", "....//secret.txt", "/etc/passwd", "..\\secret.txt", "%00secret.txt", ".hidden"],
)  # fmt: skip
def test_no_path_leads_out_of_the_folder(api, published, prefix, way):
    for folder in (published.parent, published, published / "labelled"):
        (folder / (".hidden" if folder != published.parent else "secret.txt")).write_text("a secret")
    status, answer = raw(api, f"/{prefix}/{way}")
    assert status in (400, 404, 405)
    assert b"a secret" not in answer
    assert b"root:" not in answer


def test_a_host_header_cannot_break_the_json(api):
    host = 'evil", "x": "'
    answer = requests.get(f"{api}/api/search", params={"limit": 1}, headers={"Host": host}, timeout=10)
    assert answer.status_code in (200, 400)
    assert "x" not in json.loads(answer.text)


def test_what_looks_like_sql_is_a_value(api, items):
    text = quote("platform = '' OR 1=1; DROP TABLE item; --'")
    refused(requests.get(f"{api}/api/search?filter={text}", timeout=10), "CQL2")
    found = requests.post(
        f"{api}/api/search", timeout=10,
        json={"filter": {"op": "=", "args": [{"property": "platform"}, "' OR '1'='1"]}, "limit": 5},
    )  # fmt: skip
    assert found.json()["numberReturned"] == 0
