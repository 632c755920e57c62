"""The real Planetary Computer: one patch from search to pixels. Off by default; run with `pytest -m online`."""

import datetime as dt

import pytest

from catalog.grid import grid_of_cell
from catalog.physics import check_physics
from ingest.pairing import Rules, judge
from ingest.images import Access
from ingest.read import SceneReader, read_patch
from ingest.sample import Place
from ingest.scenes import chunks_of, fetch_index, load_scenes
from ingest.sources import planetary_computer

pytestmark = pytest.mark.online


def test_a_patch_of_brandenburg_in_june_2022(tmp_path):
    source, rules = planetary_computer(), Rules()
    start = dt.datetime(2022, 6, 10, tzinfo=dt.UTC)
    place = Place(0, grid_of_cell("33uuu-019-019"), start, start + dt.timedelta(days=12))
    chunks = chunks_of([place], source, rules.max_gap)
    fetch_index(chunks, source, tmp_path)
    scenes = load_scenes(chunks, source, tmp_path)
    s2 = [scene for scene in scenes if scene.sensor == "sentinel-2"]
    s1 = [scene for scene in scenes if scene.sensor == "sentinel-1"]
    pair = judge(place, s2, s1, rules).pair
    assert pair is not None
    access = Access(source)
    with SceneReader(pair.s2, access) as optical, SceneReader(pair.s1, access) as radar:
        patch = read_patch(pair, optical, radar)
    assert patch.provenance.quality.boa_offset_applied
    assert check_physics(patch) == ()
