"""A tiny archive: two days of one Sentinel-2 tile and one Sentinel-1 scene, with pixels in one small window."""

import contextlib
import datetime as dt
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from catalog.mgrs import tile_origin, transformer
from ingest.sandbox.cogs import Window, write_sparse_cog
from ingest.sandbox.items import S1_NODATA, S2_GSD_M, blob_path, s1_item, s2_item, write_item
from ingest.sandbox.server import Sandbox

with warnings.catch_warnings():
    # planetary-computer 1.0.0, the last release, declares its pydantic models in a deprecated way.
    warnings.filterwarnings("ignore", message="Support for class-based `config`")
    import planetary_computer  # noqa: F401

TILE = "33UUU"
EPSG, WEST_M, NORTH_M = tile_origin(TILE)
FOOTPRINT = shapely.box(13.0, 51.4, 14.4, 52.3)
NOON = dt.datetime(2023, 6, 1, 10, 0, 31, 24000, tzinfo=dt.UTC)


def make_s2_item(day: int) -> dict[str, Any]:
    """Sentinel-2 item of the tile, `day` days after NOON."""
    return s2_item(
        tile=TILE,
        acquired=NOON + dt.timedelta(days=day),
        platform="S2A",
        relative_orbit=122,
        orbit_state="descending",
        baseline="05.09",
        cloud_cover=10.0 * day,
        footprint=FOOTPRINT,
    )


def make_s1_item() -> dict[str, Any]:
    """Sentinel-1 item over the tile, on the evening of the first day."""
    started = NOON.replace(hour=16, minute=50)
    return s1_item(
        started=started,
        stopped=started + dt.timedelta(seconds=25),
        platform="S1A",
        orbit_state="ascending",
        relative_orbit=44,
        absolute_orbit=48791,
        epsg=EPSG,
        west_m=WEST_M - 20_000,
        north_m=NORTH_M + 20_000,
        width_px=2700,
        height_px=2100,
        footprint=FOOTPRINT,
    )


def pixels(name: str) -> np.ndarray:
    """The 90 x 120 pixels that every asset of this name holds."""
    rng = np.random.default_rng(sum(map(ord, name)))
    if name in ("vv", "vh"):
        return rng.gamma(4.0, 0.02, (90, 120)).astype(np.float32)
    return rng.integers(1, 12 if name == "SCL" else 9000, (90, 120)).astype("uint8" if name == "SCL" else "uint16")


def write_blobs(archive: Path, item: dict[str, Any]) -> None:
    for name, asset in item["assets"].items():
        radar = name in ("vv", "vh")
        shape = item["properties"]["proj:shape"] if radar else asset["proj:shape"]
        transform = item["properties"]["proj:transform"] if radar else asset["proj:transform"]
        write_sparse_cog(
            archive / "blobs" / blob_path(asset["href"]),
            epsg=EPSG,
            west_m=transform[2],
            north_m=transform[5],
            width_px=shape[1],
            height_px=shape[0],
            gsd_m=10 if radar else S2_GSD_M[name],
            windows=[Window(300, 200, pixels(name))],
            nodata=S1_NODATA if radar else 0,
        )


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two Sentinel-2 scenes and one Sentinel-1 scene."""
    folder = tmp_path_factory.mktemp("sandbox") / "archive"
    for item in (make_s2_item(0), make_s2_item(3), make_s1_item()):
        write_blobs(folder, item)
        write_item(folder, item)
    return folder


@pytest.fixture
def running(archive: Path) -> Iterator[Callable[..., Sandbox]]:
    """Start sandboxes of the archive; all stop at the end of the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(stack.enter_context(Sandbox(archive, **options)).applied())


def lonlat(x_m: float, y_m: float) -> tuple[float, float]:
    """Longitude and latitude of a point of the tile's zone, degrees."""
    lon, lat = transformer(EPSG, 4326).transform(x_m, y_m)
    return float(lon), float(lat)
