"""The real Planetary Computer: one patch from search to pixels. Off by default; run with `pytest -m online`."""

import datetime as dt

import pytest

from catalog.grid import grid_of_cell
from catalog.physics import check_physics
from ingest.images import Access
from ingest.match import Matcher
from ingest.pairing import Rules
from ingest.places import Place
from ingest.read import SceneReader, read_patch
from ingest.scenes import find_scenes
from ingest.sources import planetary_computer

pytestmark = pytest.mark.online


def test_a_patch_of_brandenburg_in_june_2022(tmp_path):
    source, rules = planetary_computer(), Rules()
    start = dt.datetime(2022, 6, 10, tzinfo=dt.UTC)
    place = Place(0, grid_of_cell("33uuu-019-019"), start, start + dt.timedelta(days=12))
    found = find_scenes([place], source, tmp_path, rules.max_gap)
    pair = Matcher(found.s2, found.s1, rules).match([place])[0].pair
    assert pair is not None
    access = Access(source)
    with SceneReader(pair.s2, access) as optical, SceneReader(pair.s1, access) as radar:
        patch = read_patch(pair, optical, radar)
    assert patch.provenance.quality.boa_offset_applied
    assert check_physics(patch) == ()
