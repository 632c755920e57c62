"""Small made-up corpora for tests and benchmarks: valid by the contract, seeded, and cheap."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from catalog import bands, schema
from catalog.grid import PatchGrid
from catalog.mgrs import tile_origin
from catalog.patch import Patch, Provenance, Quality
from catalog.shard import write_shard

# Grid codes of CORINE and, for each, a plausible reflectance of the visible, near and shortwave infrared and a
# gamma0 in dB: enough contrast for code that learns, not a claim about the world (ingest.sandbox makes that one).
_COVERS = (
    (2, 0.12, 0.22, 0.22, -7.0),
    (12, 0.08, 0.28, 0.20, -10.5),
    (24, 0.03, 0.22, 0.09, -9.0),
    (41, 0.04, 0.02, 0.01, -19.0),
)


def fake_patch(grid: PatchGrid, seed: int, *, labels: bool = True) -> Patch:
    """A patch of one land cover with noise, decided by the seed alone."""
    rng = np.random.default_rng(seed)
    code, visible, nir, swir, db = _COVERS[seed % len(_COVERS)]
    side = grid.side_px
    mean = {"B02": visible, "B03": visible, "B04": visible, "B01": visible, "B11": swir, "B12": swir}

    def reflectance(group: tuple[bands.Band, ...], side_px: int) -> Any:
        means = np.array([mean.get(band.name, nir) for band in group])[:, None, None]
        return np.clip(np.rint(1e4 * means * rng.normal(1, 0.1, (len(group), side_px, side_px))), 1, 65535).astype("u2")

    gamma0 = np.array([db, db - 7.0])[:, None, None] + rng.normal(0, 2, (2, side, side))
    made = {"corine": np.full((side, side), code, "u1"), "osm": np.zeros((side, side), "u4")} if labels else {}
    return Patch(
        fake_provenance(grid, seed),
        s2_10m=reflectance(bands.S2_10M, side),
        s2_20m=reflectance(bands.S2_20M, side // 2),
        scl=np.full((side // 2, side // 2), 4, "u1"),
        s1=np.rint(gamma0 / bands.S1_SCALE_DB).astype("i2"),
        labels=made,
    )


def fake_patches(count: int, *, side_px: int = 64, seed: int = 0, labels: bool = True) -> Iterator[Patch]:
    """Patches of different cells, ten to a row, in two tiles of different zones."""
    for i in range(count):
        epsg, west_m, north_m = tile_origin(("33UUU", "31UFS")[i % 2])
        side_m = side_px * 10
        grid = PatchGrid(epsg, west_m + (i // 2 % 10) * side_m, north_m - (i // 20) * side_m, side_px)
        yield fake_patch(grid, seed + i, labels=labels)


def write_fake_build(
    root: Path, count: int, *, side_px: int = 64, seed: int = 0, labels: bool = True, shard_rows: int = 16
) -> Path:
    """What `ingest.build` leaves behind, made up: corpus.json and committed shards under `root`."""
    (root / "shards").mkdir(parents=True)
    (root / "corpus.json").write_text(json.dumps(schema.corpus_record("labelled" if labels else "unlabelled", side_px)))
    patches = list(fake_patches(count, side_px=side_px, seed=seed, labels=labels))
    for index in range(0, count, shard_rows):
        write_shard(root, index // shard_rows, patches[index : index + shard_rows])
    return root


def fake_provenance(grid: PatchGrid, seed: int) -> Provenance:
    """Where the pixels of `fake_patch` would come from."""
    day = dt.datetime(2021, 1, 1, 10, 20, 31, tzinfo=dt.UTC) + dt.timedelta(days=seed % 365)
    tile, blobs = grid.tile, "https://example.blob.core.windows.net/fake"
    s2 = {
        "item_id": f"S2A_MSIL2A_{day:%Y%m%dT%H%M%S}_R065_T{tile}_{day:%Y%m%dT%H%M%S}", "collection": "sentinel-2-l2a",
        "platform": "Sentinel-2A", "orbit_state": "descending", "relative_orbit": 65, "epsg": grid.epsg,
        "item_href": f"https://example.org/sentinel-2-l2a/{seed}", "acquired": f"{day:%Y-%m-%dT%H:%M:%SZ}",
        "hrefs": {band.name: f"{blobs}/{band.name}.tif" for band in bands.S2},
        "cloud_cover": float(seed % 20), "baseline": "02.12", "tile": tile,
    }  # fmt: skip
    s1 = {
        "item_id": f"S1A_IW_GRDH_1SDV_{day:%Y%m%d}T053000_{seed:06d}_rtc", "collection": "sentinel-1-rtc",
        "platform": "SENTINEL-1A", "orbit_state": "ascending", "relative_orbit": 44, "epsg": grid.epsg,
        "item_href": f"https://example.org/sentinel-1-rtc/{seed}", "acquired": f"{day:%Y-%m-%d}T05:30:00Z",
        "hrefs": {band.name: f"{blobs}/{band.name}.tif" for band in bands.S1},
    }  # fmt: skip
    quality = Quality(1.0, 1.0, 0.0, 0.0, 0.0, boa_offset_applied=False, s1_zone_changed=False)
    return Provenance(f"{grid.name}-{day:%Y%m%d}", grid, s1, s2, quality)
