"""How fast a served catalog answers: build its index, then ask every kind of question over HTTP.

For 100,000 and for a million synthetic items: seconds, bytes and peak memory of building the index, milliseconds of
each kind of query with other places, times and values every time (100 items a page unless it says otherwise), and
requests a second at one, two and four clients. Other servers are asked the same, where they are running.
"""

import dataclasses
import datetime as dt
import http.client
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
import tyro

from benchmarks.synthetic_items import BOUNDS, FIRST, LAST, write_synthetic
from catalog.fake import write_fake_build
from catalog.labels import CORINE
from catalog.program import main

Body = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Serving:
    """Build an index, serve it, ask, and record how long all of it took."""

    out: Annotated[Path, tyro.conf.Positional] = Path("benchmarks/results/serving.json")
    """Record to write, or to add to: sizes that it has already and are not asked for stay."""
    sizes: tuple[int, ...] = (100_000, 1_000_000)
    """Items."""
    repeats: int = 40
    """Questions of each kind."""
    seconds: float = 5.0
    """How long each number of clients asks."""
    folder: Path | None = None
    """Keep catalogs and indices here and use what is there; by default a temporary folder."""
    peers: tuple[str, ...] = ()
    """Other STAC APIs that hold the same items, as NAME=URL: asked the same questions."""
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Build:
    """Build one index in a process of its own, so that its peak memory is its own."""

    catalog: Annotated[Path, tyro.conf.Positional]
    index: Annotated[Path, tyro.conf.Positional]


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
    "sorted by clouds": lambda rng: {"sortby": [{"field": "properties.eo:cloud_cover", "direction": "desc"}]},
    "sorted by clouds, filtered": lambda rng: {
        "filter": shows(rng), "sortby": [{"field": "properties.eo:cloud_cover", "direction": "asc"}]
    },
    "bbox, fields": lambda rng: {"bbox": box(rng, 10), "fields": {"include": ["id", "properties.eo:cloud_cover"]}},
    "everything": lambda rng: {},
}  # fmt: skip


class Client:
    """One connection that is kept open."""

    def __init__(self, api: str) -> None:
        parts = urlsplit(api)
        self._path = parts.path.rstrip("/")
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=300)

    def ask(self, body: Body, *, limit: int = 100) -> bytes:
        """The bytes of one page."""
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", f"{self._path}/search", json.dumps({"limit": limit, **body}), headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise ConnectionError(f"{answer.status}: {content[:300]!r}")
        return content


def latencies(api: str, repeats: int, seed: int) -> dict[str, Any]:
    """Milliseconds of each kind of question: median, 95th percentile, most; and items found in the median."""
    client, found = Client(api), {}
    for kind, make in KINDS.items():
        rng, taken, items = np.random.default_rng(seed), [], []
        try:
            client.ask(make(rng))
            for _ in range(repeats):
                body = make(rng)
                started = time.perf_counter()
                content = client.ask(body)
                taken.append(1e3 * (time.perf_counter() - started))
                items.append(len(json.loads(content)["features"]))
        except (ConnectionError, http.client.HTTPException) as error:
            found[kind] = {"error": str(error)[:120]}
            client = Client(api)
            continue
        p95 = float(np.percentile(taken, 95))
        found[kind] = {
            "p50_ms": round(statistics.median(taken), 1), "p95_ms": round(p95, 1), "max_ms": round(max(taken), 1),
            "items": int(statistics.median(items)),
        }  # fmt: skip
    return found


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


def throughput(api: str, clients: int, seconds: float, seed: int) -> float:
    """Requests a second of clients that ask for box, time and CQL2, 100 items each."""
    make, done, stop = KINDS["bbox, datetime, CQL2"], [0] * clients, time.perf_counter() + seconds

    def work(number: int) -> None:
        client, rng = Client(api), np.random.default_rng(seed + number)
        while time.perf_counter() < stop:
            client.ask(make(rng))
            done[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return round(sum(done) / seconds, 1)


@contextmanager
def served(catalog: Path, index: Path) -> Iterator[tuple[str, int]]:
    """The API of `catalog.serve` in a process of its own, and that process."""
    command = [sys.executable, "-m", "catalog.serve", str(catalog), "--port", "0", "--index", str(index)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})
    assert process.stderr is not None
    try:
        origin = next(found.group() for line in process.stderr if (found := re.search(r"http://[^/]+", line)))
        yield f"{origin}/api", process.pid
    finally:
        process.terminate()
        process.wait()


def resident_mb(pid: int) -> int:
    """Memory of a process now, without files that it maps."""
    found = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(found["RssAnon"].split()[0]) // 1024


def measure(options: Serving, folder: Path, count: int) -> dict[str, Any]:
    """All numbers of one size."""
    catalog, index = folder / f"catalog-{count}", folder / f"index-{count}.sqlite"
    if not (catalog / "labelled" / "items.parquet").is_file():
        build = write_fake_build(folder / f"build-{count}", 64, side_px=16)
        write_synthetic(catalog, build, count, options.seed)
    record = index.with_suffix(".json")
    if not record.is_file():
        command = [sys.executable, "-m", "benchmarks.serving", "build", str(catalog), str(index)]
        record.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    with served(catalog, index) as (api, pid):
        found = {
            "index": json.loads(record.read_text()),
            "queries": latencies(api, options.repeats, options.seed + 1),
            "deep_paging": deep_paging(api),
            "requests_per_second": {
                str(clients): throughput(api, clients, options.seconds, options.seed + 2) for clients in (1, 2, 4)
            },
            "server_mb": resident_mb(pid),
        }
    return found


def ask_peer(peer: str, options: Serving) -> dict[str, Any]:
    """The same questions, asked of another server."""
    api = peer.partition("=")[2]
    return {
        "queries": latencies(api, min(options.repeats, 10), options.seed + 1),
        "requests_per_second": {"4": throughput(api, 4, options.seconds, options.seed + 2)},
    }


def run_build(options: Build) -> None:
    """Build an index and print what it took."""
    from catalog.serving.published import Published
    from catalog.serving.sqlite_build import build_index

    started, cpu = time.perf_counter(), time.process_time()
    build_index(Published.open(options.catalog), options.index)
    found = {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "mb": round(options.index.stat().st_size / 1e6),
        "parquet_mb": round((options.catalog / "labelled" / "items.parquet").stat().st_size / 1e6, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    sys.stdout.write(json.dumps(found) + "\n")


def run(options: Serving) -> None:
    """Measure every size, then the peers, and write the record."""
    before = json.loads(options.out.read_text()) if options.out.is_file() else {}
    sizes, peers = before.get("items", {}), before.get("peers", {})
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for count in options.sizes:
            sizes[str(count)] = measure(options, folder, count)
    for peer in options.peers:
        peers[peer.partition("=")[0]] = ask_peer(peer, options)
    record = {
        "date": f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}",
        "command": "python -m benchmarks.serving run",
        "options": {"repeats": options.repeats, "seconds": options.seconds, "seed": options.seed, "limit": 100},
        "items": sizes,
        "peers": peers,
        "goal": {"100000": "bbox, datetime, CQL2: p50 < 30 ms, >= 100 requests/s at 4 clients",
                 "1000000": "index in <= 600 s, p95 < 150 ms for every kind"},
        "load_average": round(os.getloadavg()[1], 1),
        "machine": {"python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("stac-fastapi-api", "fastapi", "uvicorn", "orjson", "pyarrow")},
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


def start(
    options: Annotated[Serving, tyro.conf.subcommand("run")] | Annotated[Build, tyro.conf.subcommand("build")],
) -> None:
    """Run the benchmark, or build one index."""
    run(options) if isinstance(options, Serving) else run_build(options)


if __name__ == "__main__":
    main(Annotated[Serving, tyro.conf.subcommand("run")] | Annotated[Build, tyro.conf.subcommand("build")], start)
