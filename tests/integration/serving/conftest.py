"""A small published corpus with something of everything, and servers that serve it, one for each backend."""

import contextlib
import dataclasses
import datetime as dt
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.postgres import PostgresMissingError, programs, temporary_postgres
from catalog import schema
from catalog.fake import fake_patch
from catalog.grid import PatchGrid, cell_at
from catalog.labels import CORINE
from catalog.mgrs import tile_origin, transformer
from catalog.patch import Quality, format_time
from catalog.publish import publish
from catalog.shard import write_shard

logging.getLogger("stac_fastapi.types.config").setLevel(logging.ERROR)

SIDE_PX = 16
# three zones of Europe, the southern hemisphere, and both sides of the antimeridian
TILES = ("33UUU", "31UFS", "32VNH", "22JGS", "60KXF", "01KAA")


def varied_patch(i: int, *, labels: bool) -> Any:
    """A patch whose place, times, quality, orbits and labels differ from others; decided by `i`."""
    rng = np.random.default_rng(i)
    grid = _grid(i)
    patch = fake_patch(grid, i, labels=labels)
    optical = dt.datetime(2018, 1, 1, 10, 20, 31, tzinfo=dt.UTC) + dt.timedelta(days=int(rng.integers(0, 1200)))
    radar = optical + dt.timedelta(hours=float(rng.integers(-72, 72)))
    orbit = ("ascending", "descending")
    baseline = ("02.12", "03.01", "04.00")[int(rng.integers(3))]
    shift = float(rng.normal(0, 3)) if rng.random() < 0.6 else None
    cloud, shadow, snow = (round(float(share), 4) for share in rng.dirichlet((1, 1, 1, 6))[:3])
    valid = [round(float(share), 3) for share in rng.uniform(0.8, 1, 2)]
    provenance = dataclasses.replace(
        patch.provenance,
        patch_id=f"{grid.name}-{optical:%Y%m%d}",
        s1={
            **patch.provenance.s1,
            "acquired": format_time(radar),
            "platform": ("SENTINEL-1A", "SENTINEL-1B")[i % 2],
            "orbit_state": orbit[int(rng.integers(2))],
            "relative_orbit": int(rng.integers(1, 176)),
        },
        s2={
            **patch.provenance.s2,
            "acquired": format_time(optical),
            "platform": ("Sentinel-2A", "Sentinel-2B")[i // 5 % 2],
            "orbit_state": None if i % 7 == 0 else orbit[i % 2],
            "relative_orbit": None if i % 7 == 0 else int(rng.integers(1, 144)),
            "cloud_cover": round(float(rng.uniform(0, 20)), 2),
            "baseline": baseline,
        },
        quality=Quality(
            *valid, cloud, shadow, snow,
            boa_offset_applied=baseline == "04.00", s1_zone_changed=bool(rng.random() < 0.1),
            s1_shift_east_m=shift, s1_shift_north_m=None if shift is None else -shift / 2,
            s1_shift_peak=None if shift is None else 7.5,
        ),
    )  # fmt: skip
    return dataclasses.replace(patch, provenance=provenance, labels=_labels(rng) if labels else {})


def _grid(i: int) -> PatchGrid:
    """Cells 6.4 km apart, so that boxes part them; every 24th lies across the antimeridian."""
    if i % 24 == 0:
        x_m, y_m = transformer(4326, 32701).transform(-179.9999, -16.5 - i % 288 * 0.002)
        grid = cell_at(32701, x_m, y_m, SIDE_PX)
        assert grid is not None
        return grid
    epsg, west_m, north_m = tile_origin(TILES[i % len(TILES)])
    step = SIDE_PX * 10 * 40
    return PatchGrid(epsg, west_m + i // 6 % 8 * step, north_m - i // 48 % 6 * step, SIDE_PX)


def _labels(rng: np.random.Generator) -> dict[str, Any]:
    codes = rng.choice([c.grid_code for c in CORINE[:30]], int(rng.integers(1, 5)), replace=False)
    bits = rng.choice(20, int(rng.integers(0, 4)), replace=False)
    corine = rng.choice(codes, (SIDE_PX, SIDE_PX)).astype("u1")
    corine.flat[: len(codes)] = codes
    osm = np.zeros((SIDE_PX, SIDE_PX), "u4")
    for bit in bits:
        osm[int(rng.integers(SIDE_PX))] |= np.uint32(1 << int(bit))
    return {"corine": corine, "osm": osm}


def write_varied_build(root: Path, first: int, count: int, *, labels: bool) -> Path:
    """A build of such patches, 96 to a shard."""
    (root / "shards").mkdir(parents=True)
    record = schema.corpus_record("labelled" if labels else "unlabelled", SIDE_PX)
    (root / "corpus.json").write_text(json.dumps(record))
    for shard, start in enumerate(range(0, count, 96)):
        numbers = range(first + start, first + min(start + 96, count))
        write_shard(root, shard, [varied_patch(i, labels=labels) for i in numbers])
    return root


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Path:
    """A catalog of 192 labelled patches and 96 without labels."""
    folder = tmp_path_factory.mktemp("serving")
    builds = [
        write_varied_build(folder / "labelled", 0, 192, labels=True),
        write_varied_build(folder / "unlabelled", 1000, 96, labels=False),
    ]
    publish(builds, folder / "catalog", workers=1)
    return folder / "catalog"


@pytest.fixture(scope="session")
def items(published) -> list[dict[str, Any]]:
    """Every published item, from the static files: what any search must agree with."""
    return [json.loads(path.read_text()) for path in sorted(published.glob("*/shard-*/*-*-*.json"))]


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """A real server in a thread; gives its origin."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server ended before it served"
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def _sqlite_backend(published: Any, folder: Path) -> Iterator[Any]:
    from catalog.serving.sqlite_backend import SqliteBackend, ensure_index

    ensure_index(published, folder / "index.sqlite")
    yield SqliteBackend(published, folder / "index.sqlite")


@contextlib.contextmanager
def _pgstac_backend(published: Any, folder: Path) -> Iterator[Any]:
    from catalog.serving.pgstac_backend import PgstacBackend
    from catalog.serving.pgstac_load import load

    with database() as url:
        load(published, url)
        yield PgstacBackend(published, url)


BACKENDS = {"sqlite": _sqlite_backend, "pgstac": _pgstac_backend}


@contextlib.contextmanager
def database() -> Iterator[str]:
    """A database of its own; skips where PostgreSQL or PostGIS is not installed."""
    try:
        programs()
    except PostgresMissingError as error:
        pytest.skip(str(error))
    with temporary_postgres() as url:
        yield url


@pytest.fixture(scope="session", params=list(BACKENDS))
def api(request, published, tmp_path_factory) -> Iterator[str]:
    """Origin of a server, once with each backend: tests that take it hold for all of them."""
    from catalog.serving.app import create_app
    from catalog.serving.published import Published

    opened, folder = Published.open(published), tmp_path_factory.mktemp(request.param)
    with BACKENDS[request.param](opened, folder) as backend, serving(create_app(opened, backend)) as origin:
        yield origin


@pytest.fixture
def empty_database() -> Iterator[str]:
    """URL of a database that nothing was loaded into."""
    with database() as url:
        yield url
