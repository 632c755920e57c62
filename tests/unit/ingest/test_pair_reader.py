"""Pairs read ahead: the patches of single reads, in order, with no more scenes open than are needed."""

import datetime as dt
import itertools
from contextlib import ExitStack

import numpy as np
import pytest
import shapely

from catalog.bands import S1, S2
from catalog.grid import PatchGrid
from catalog.patch import Scene, ScenePair
from ingest import pair_reader
from ingest.errors import ReadError, Refused
from ingest.images import Access
from ingest.pair_reader import PATCHES_AHEAD, PairReader
from ingest.read import SceneReader, read_patch
from ingest.sandbox.cogs import Window, write_sparse_cog
from ingest.sources import local

EPSG, WEST, NORTH, SIDE_PX = 32633, 399_960, 5_800_020, 192
ACCESS = Access(local("catalog.json"))


def scene_in(folder, name, bands, **more):
    """A scene of noise of its own."""
    rng = np.random.default_rng(sum(name.encode()))
    hrefs = {}
    for band, gsd_m in bands.items():
        side = SIDE_PX * 10 // gsd_m
        pixels = rng.integers(1, 9000, (side, side), np.uint16)
        if gsd_m == 10 and band in ("VV", "VH"):
            pixels = rng.gamma(4.4, 0.02, (side, side)).astype(np.float32)
        hrefs[band] = str(folder / f"{name}-{band}.tif")
        write_sparse_cog(
            folder / f"{name}-{band}.tif", epsg=EPSG, west_m=WEST, north_m=NORTH, width_px=side, height_px=side,
            gsd_m=gsd_m, windows=[Window(0, 0, pixels.astype(np.uint8) if band == "SCL" else pixels)], nodata=0,
        )  # fmt: skip
    time = dt.datetime(2021, 6, 1, tzinfo=dt.UTC)
    return Scene(name, "made up", time, "P", None, None, EPSG, shapely.box(0, 0, 1, 1), hrefs, **more)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Twelve patches of four optical and two radar scenes, those of one scene one after the other."""
    folder = tmp_path_factory.mktemp("pairs")
    optical = {band.name: band.gsd_m for band in S2} | {"SCL": 20}
    s2 = [scene_in(folder, f"s2-{i}", optical, baseline="02.12", tile="33UUU") for i in range(4)]
    s1 = [scene_in(folder, f"s1-{i}", {band.name: 10 for band in S1}) for i in range(2)]
    grids = [PatchGrid(EPSG, WEST + 640 * i, NORTH, 64) for i in range(3)]
    return [ScenePair(grid, s1[i // 2], s2[i]) for i in range(4) for grid in grids]


@pytest.fixture
def opened(monkeypatch):
    """Names of the scenes that are open, and the most that were at once."""
    names, most = [], [0]

    class Watched(SceneReader):
        def __init__(self, scene, access):
            super().__init__(scene, access)
            names.append(scene.item_id)
            most[0] = max(most[0], len(names))

        def close(self):
            super().close()
            names.remove(self.scene.item_id)

    monkeypatch.setattr(pair_reader, "SceneReader", Watched)
    return names, most


def alone(pair):
    with SceneReader(pair.s2, ACCESS) as s2, SceneReader(pair.s1, ACCESS) as s1:
        return read_patch(pair, s2, s1)


def test_patches_come_in_order_as_if_each_were_read_alone(pairs, opened):
    with ExitStack() as stack:
        found = list(PairReader(ACCESS, stack).read_all(pairs))
    for pair, patch in zip(pairs, found, strict=True):
        expected = alone(pair)
        assert patch.provenance == expected.provenance
        for name in ("s2_10m", "s2_20m", "scl", "s1"):
            np.testing.assert_array_equal(getattr(patch, name), getattr(expected, name))


def test_scenes_are_closed_when_the_patches_have_moved_on(pairs, opened):
    names, most = opened
    with ExitStack() as stack:
        for _ in PairReader(ACCESS, stack).read_all(pairs):
            assert len(names) <= 4
    assert names == []
    assert most[0] == 4  # two of each sensor where one pair of scenes ends and the next begins
    assert PATCHES_AHEAD < 3  # patches a scene here


def test_a_refused_patch_is_named_in_its_place_and_the_rest_goes_on(pairs):
    outside = ScenePair(PatchGrid(EPSG, WEST - 640, NORTH, 64), pairs[0].s1, pairs[0].s2)
    with ExitStack() as stack:
        found = list(PairReader(ACCESS, stack).read_all([pairs[0], outside, pairs[1]]))
    assert [isinstance(one, Refused) for one in found] == [False, True, False]
    assert found[1].reason == "outside_image"


def test_an_error_ends_the_reading_and_leaves_nothing_open(pairs, opened, monkeypatch):
    names, _ = opened
    calls = itertools.count()

    def failing(self, name, grid, gsd_m):
        if next(calls) > 40:
            raise ReadError(f"{name} cannot be had now")
        return SceneReader.read(self, name, grid, gsd_m)

    monkeypatch.setattr(pair_reader.SceneReader, "read", failing)
    with pytest.raises(ReadError), ExitStack() as stack:
        list(PairReader(ACCESS, stack).read_all(pairs))
    assert names == []
