"""Questions of every kind that a served catalog is asked, and how long its answers take."""

import datetime as dt
import http.client
import json
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.serving_truth import Truth
from benchmarks.synthetic_items import BOUNDS, FIRST, LAST
from catalog.labels import CORINE

Body = dict[str, Any]
LIMIT = 100  # items a page


def box(rng: np.random.Generator, side_deg: float) -> list[float]:
    """A box somewhere in the area that holds items."""
    west, south, east, north = BOUNDS
    lon, lat = rng.uniform(west, east - side_deg), rng.uniform(south, north - side_deg)
    return [round(edge, 4) for edge in (lon, lat, lon + side_deg, lat + side_deg)]


def interval(rng: np.random.Generator, days: int) -> str:
    """So many days, somewhere in the period that holds items."""
    start = FIRST + dt.timedelta(days=int(rng.integers(0, (LAST - FIRST).days - days)))
    return f"{start:%Y-%m-%dT%H:%M:%SZ}/{start + dt.timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def shape(rng: np.random.Generator, side_deg: float, corners: int = 24) -> Body:
    """A star around some place."""
    west, south, east, north = box(rng, side_deg)
    turns = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = side_deg / 2 * np.where(np.arange(corners) % 2, 0.6, 1.0)
    ring = np.stack([(west + east) / 2 + radius * np.cos(turns), (south + north) / 2 + radius * np.sin(turns)], 1)
    return {"type": "Polygon", "coordinates": [[*ring.round(5).tolist(), ring[0].round(5).tolist()]]}


def compare(op: str, name: str, value: Any) -> Body:
    """One comparison as CQL2-JSON."""
    return {"op": op, "args": [{"property": name}, value]}


def every(*parts: Body) -> Body:
    """All of them."""
    return {"op": "and", "args": list(parts)}


def clouds(rng: np.random.Generator) -> Body:
    """Clouds below some percentage."""
    return compare("<", "eo:cloud_cover", float(rng.integers(3, 30)))


def shows(rng: np.random.Generator) -> Body:
    """A class of CORINE."""
    return compare("a_contains", "deepsentinel:corine_classes", [CORINE[int(rng.integers(len(CORINE)))].code])


KINDS: Mapping[str, Callable[[np.random.Generator], Body]] = {
    "bbox of 5 degrees": lambda rng: {"bbox": box(rng, 5)},
    "bbox of 60 degrees": lambda rng: {"bbox": box(rng, 60)},
    "intersects 5 degrees": lambda rng: {"intersects": shape(rng, 5)},
    "intersects 30 degrees": lambda rng: {"intersects": shape(rng, 30)},
    "datetime, a day": lambda rng: {"datetime": interval(rng, 1)},
    "datetime, a month": lambda rng: {"datetime": interval(rng, 30)},
    "datetime, open": lambda rng: {"datetime": "../" + interval(rng, 30).partition("/")[0]},
    "bbox, datetime, CQL2": lambda rng: {
        "bbox": box(rng, 30), "datetime": interval(rng, 365),
        "filter": every(clouds(rng), compare("=", "deepsentinel:split", "train")),
    },
    "CQL2, clouds": lambda rng: {"filter": clouds(rng)},
    "CQL2, a class": lambda rng: {"filter": shows(rng)},
    "CQL2, two classes and clouds": lambda rng: {"filter": every(shows(rng), shows(rng), clouds(rng))},
    "CQL2, four conditions": lambda rng: {
        "filter": every(
            clouds(rng), shows(rng), compare("=", "deepsentinel:split", "test"), compare("=", "platform", "sentinel-2b")
        )
    },
    "sorted by clouds": lambda rng: {"sortby": [{"field": "eo:cloud_cover", "direction": "desc"}]},
    "sorted by clouds, filtered": lambda rng: {
        "filter": shows(rng), "sortby": [{"field": "eo:cloud_cover", "direction": "asc"}]
    },
    "bbox, fields": lambda rng: {"bbox": box(rng, 10), "fields": {"include": ["id", "properties.eo:cloud_cover"]}},
    "everything": lambda rng: {},
}  # fmt: skip


class Client:
    """One connection that is kept open."""

    def __init__(self, api: str) -> None:
        parts = urlsplit(api)
        self._path = parts.path.rstrip("/")
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)

    def ask(self, body: Body, *, limit: int = LIMIT) -> bytes:
        """The bytes of one page."""
        headers = {"Content-Type": "application/json"}
        stated = {"limit": limit, **({"filter-lang": "cql2-json"} if "filter" in body else {}), **body}
        self._connection.request("POST", f"{self._path}/search", json.dumps(stated), headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise ConnectionError(f"{answer.status}: {content[:300]!r}")
        return content


def latencies(api: str, repeats: int, seed: int, truth: Truth) -> dict[str, Any]:
    """Of each kind of question: milliseconds, and how many of the answers are right."""
    client, found = Client(api), {}
    for kind, make in KINDS.items():
        try:
            found[kind] = _asked(client, make, np.random.default_rng(seed), repeats, truth)
        except (OSError, http.client.HTTPException) as error:
            found[kind] = {"error": str(error)[:200]}
            client = Client(api)
    return found


def _asked(
    client: Client, make: Callable[[np.random.Generator], Body], rng: np.random.Generator, repeats: int, truth: Truth
) -> dict[str, Any]:
    """Median, 95th percentile and most of the milliseconds, items found in the median, and what is wrong, if any is."""
    taken, items, wrong = [], [], []
    client.ask(make(rng))
    for _ in range(repeats):
        body = make(rng)
        started = time.perf_counter()
        content = client.ask(body)
        taken.append(1e3 * (time.perf_counter() - started))
        features = json.loads(content)["features"]
        items.append(len(features))
        wrong.append(truth.wrong(body, features, LIMIT))
    faults = sorted({fault for fault in wrong if fault})
    return {
        "p50_ms": round(statistics.median(taken), 1), "p95_ms": round(float(np.percentile(taken, 95)), 1),
        "max_ms": round(max(taken), 1), "items": int(statistics.median(items)),
        "right": f"{wrong.count(None)}/{repeats}", **({"wrong": faults} if faults else {}),
    }  # fmt: skip


def deep_paging(api: str, pages: int = 20, limit: int = 500) -> dict[str, float]:
    """Milliseconds a page, from the first of many pages to the last."""
    client, body, taken = Client(api), {}, []
    for _ in range(pages):
        started = time.perf_counter()
        page = json.loads(client.ask(body, limit=limit))
        taken.append(1e3 * (time.perf_counter() - started))
        following = [link for link in page["links"] if link["rel"] == "next"]
        if not following:
            break
        body = following[0].get("body", {})
        body.pop("limit", None)
    return {"pages": len(taken), "first_ms": round(taken[0], 1), "last_ms": round(taken[-1], 1)}


def throughput(api: str, clients: int, seconds: float, seed: int) -> float | None:
    """Requests a second of clients that ask for box, time and CQL2, 100 items each; None where they are refused."""
    make, done, stop = KINDS["bbox, datetime, CQL2"], [0] * clients, time.perf_counter() + seconds

    def work(number: int) -> None:
        client, rng = Client(api), np.random.default_rng(seed + number)
        while time.perf_counter() < stop:
            client.ask(make(rng))
            done[number] += 1

    with ThreadPoolExecutor(clients) as pool:
        working = [pool.submit(work, number) for number in range(clients)]
    refused = [one for one in working if isinstance(one.exception(), (OSError, http.client.HTTPException))]
    return None if refused else round(sum(done) / seconds, 1)
