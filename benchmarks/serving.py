"""How fast a served catalog answers: build its index, then ask every kind of question over HTTP.

For 100,000 and for a million synthetic items: seconds, bytes and peak memory of building the index, milliseconds of
each kind of query with other places, times and values every time (100 items a page unless it says otherwise), and
requests a second at one, two and four clients. Every answer is compared with the rows of the geoparquet themselves.
Other servers, which `benchmarks.serving_peers` starts, are asked the same:

    python -m benchmarks.serving run --peers-python peers/bin/python
"""

import dataclasses
import datetime as dt
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks.pages import renewed
from benchmarks.serving_page import section
from benchmarks.serving_peers.servers import SERVERS, served
from benchmarks.serving_questions import LIMIT, deep_paging, latencies, throughput
from benchmarks.serving_truth import Truth
from benchmarks.synthetic_items import write_again, write_synthetic
from catalog.errors import DeepSentinelError
from catalog.fake import write_fake_build
from catalog.program import main

PEER_REPEATS = 10
GOALS = {
    "100000": "bbox, datetime, CQL2: p50 < 30 ms, >= 100 requests/s at 4 clients",
    "1000000": "index in <= 600 s, p95 < 150 ms for every kind",
}


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
    peers_python: Path | None = None
    """Python of an environment made from benchmarks/serving_peers/requirements.txt; no peer is asked where None."""
    peers: tuple[str, ...] = tuple(SERVERS)
    """Which of them."""
    peers_size: int = 100_000
    """Items that they are asked about."""
    page: Path | None = Path("docs/serving.md")
    """Page whose section of measured numbers is renewed from the record."""
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Build:
    """Build one index in a process of its own, so that its peak memory is its own."""

    catalog: Annotated[Path, tyro.conf.Positional]
    index: Annotated[Path, tyro.conf.Positional]
    before: Path | None = None
    """Index of an earlier state to make it from."""


def resident_mb(pid: int) -> int:
    """Memory of a process now, without files that it maps."""
    found = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(found["RssAnon"].split()[0]) // 1024


def synthetic(folder: Path, count: int, seed: int) -> Path:
    """A published folder of so many items, written unless it is there."""
    catalog = folder / f"catalog-{count}"
    if not index_of(catalog).is_file():
        build = write_fake_build(folder / f"build-{count}", 64, side_px=16)
        write_synthetic(catalog, build, count, seed)
    return catalog


def index_of(catalog: Path) -> Path:
    """The geoparquet of a synthetic catalog."""
    return catalog / "labelled" / "items.parquet"


def measure(options: Serving, folder: Path, count: int) -> dict[str, Any]:
    """All numbers of one size."""
    catalog, index = synthetic(folder, count, options.seed), folder / f"index-{count}.sqlite"
    record = index.with_suffix(".json")
    if not record.is_file():
        record.write_text(json.dumps(build(catalog, index)))
    with served(catalog, "--index", str(index)) as (api, pid):
        found = {
            "index": json.loads(record.read_text()),
            "published_again": published_again(catalog, index, options.seed),
            "queries": latencies(api, options.repeats, options.seed + 1, Truth(index_of(catalog))),
            "deep_paging": deep_paging(api),
            "requests_per_second": {
                str(clients): throughput(api, clients, options.seconds, options.seed + 2) for clients in (1, 2, 4)
            },
            "server_mb": resident_mb(pid),
        }
    return found


def build(catalog: Path, index: Path, *options: str) -> dict[str, Any]:
    """Build an index in a process of its own; what it took."""
    command = [sys.executable, "-m", "benchmarks.serving", "build", str(catalog), str(index), *options]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def published_again(catalog: Path, index: Path, seed: int) -> dict[str, Any]:
    """What it takes to make the index of a later state of a catalog from this one."""
    with tempfile.TemporaryDirectory(dir=index.parent) as place:
        later = Path(place)
        counts = write_again(catalog, later / "catalog", seed)
        return counts | build(later / "catalog", later / "index.sqlite", "--before", str(index))


def ask_peer(name: str, python: Path, options: Serving, catalog: Path) -> dict[str, Any]:
    """The same questions, asked of another server; or why it does not run."""
    try:
        with SERVERS[name](catalog, python) as running:
            return {
                "items": options.peers_size,
                "load_s": round(running.load_s, 1),
                "queries": latencies(running.api, PEER_REPEATS, options.seed + 1, Truth(index_of(catalog))),
                "requests_per_second": {"4": throughput(running.api, 4, options.seconds, options.seed + 2)},
            }
    except (DeepSentinelError, OSError, subprocess.CalledProcessError) as error:
        return {"items": options.peers_size, "error": str(error)[:300]}


def run_build(options: Build) -> None:
    """Build an index and print what it took."""
    from catalog.serving.published import Published
    from catalog.serving.sqlite_build import build_index
    from catalog.serving.sqlite_renew import renew_index

    started, cpu = time.perf_counter(), time.process_time()
    published = Published.open(options.catalog)
    if options.before is None:
        build_index(published, options.index)
    elif not renew_index(published, options.before, options.index):
        raise DeepSentinelError(f"{options.index} cannot be made from {options.before}; its log says why")
    found = {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "mb": round(options.index.stat().st_size / 1e6),
        "parquet_mb": round(index_of(options.catalog).stat().st_size / 1e6, 1),
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
        if options.peers_python is not None:
            catalog = synthetic(folder, options.peers_size, options.seed)
            for name in options.peers:
                peers[name] = ask_peer(name, options.peers_python, options, catalog)
    record = {
        "date": f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}",
        "command": "python -m benchmarks.serving run" + (" --peers-python peers/bin/python" if peers else ""),
        "options": {"repeats": options.repeats, "seconds": options.seconds, "seed": options.seed, "limit": LIMIT},
        "items": dict(sorted(sizes.items(), key=lambda pair: int(pair[0]))),
        "peers": peers,
        "goal": GOALS,
        "load_average": round(os.getloadavg()[1], 1),
        "machine": {"python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("stac-fastapi-api", "fastapi", "uvicorn", "orjson", "pyarrow")},
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    if options.page is not None:
        options.page.write_text(renewed(options.page.read_text(), "benchmarks.serving", section(record)))
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


def start(
    options: Annotated[Serving, tyro.conf.subcommand("run")] | Annotated[Build, tyro.conf.subcommand("build")],
) -> None:
    """Run the benchmark, or build one index."""
    run(options) if isinstance(options, Serving) else run_build(options)


if __name__ == "__main__":
    main(Annotated[Serving, tyro.conf.subcommand("run")] | Annotated[Build, tyro.conf.subcommand("build")], start)
