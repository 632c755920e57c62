import datetime as dt

import numpy as np
import pytest
import shapely

from catalog.grid import grid_of_cell
from catalog.patch import Scene
from ingest.candidates import Paired, candidates_of, refusals_of
from ingest.match import Matcher
from ingest.pairing import Rules
from ingest.places import Place, Places

START = dt.datetime(2021, 6, 1, tzinfo=dt.UTC)
EVERYWHERE = shapely.box(10, 50, 16, 55)


def scene(name, days, *, tile=None, footprint=EVERYWHERE):
    time = START + dt.timedelta(days=days)
    return Scene(name, "s", time, "P", "ascending", 1, 32633, footprint, {}, tile=tile)


def paired(cells, s2, s1, *, neighbours=0, pairs=1):
    end = START + dt.timedelta(days=12)
    places = Places.of([Place(10 + i, grid_of_cell(cell), START, end) for i, cell in enumerate(cells)])
    matcher = Matcher(s2, s1, Rules(pairs=pairs))
    return Paired(places, matcher, matcher.match_rows(places), neighbours)


def names(candidates):
    return [(c.draw, c.pair.grid.name, c.pair.s2.item_id, c.pair.s1.item_id) for c in candidates]


def test_without_neighbours_each_pair_is_one_candidate_of_its_place():
    found = candidates_of(paired(["33uuu-010-010", "33uuu-020-010"], [scene("a", 2, tile="33UUU")], [scene("x", 2)]))
    assert names(found) == [(10, "33uuu-010-010", "a", "x"), (11, "33uuu-020-010", "a", "x")]


def test_neighbours_share_a_side_and_both_scenes_and_follow_their_place():
    found = candidates_of(paired(["33uuu-010-010"], [scene("a", 2, tile="33UUU")], [scene("x", 2)], neighbours=5))
    assert [c.draw for c in found] == [60, 61, 62, 63, 64, 65]
    assert [c.pair.grid.name[6:] for c in found] == ["010-010", "010-011", "011-010", "010-009", "009-010", "011-011"]
    assert {(c.pair.s2.item_id, c.pair.s1.item_id) for c in found} == {("a", "x")}
    side = found[0].pair.grid
    for neighbour in found[1:5]:
        assert shapely.box(*side.bounds_m).intersection(shapely.box(*neighbour.pair.grid.bounds_m)).length == 2560


@pytest.mark.parametrize("ending", ["optical", "radar"])
def test_neighbours_outside_a_scene_or_the_tile_are_left_out(ending):
    """One scene ends east of the cell, and a cell in the tile's corner has no neighbours west and north of it."""
    grid = grid_of_cell("33uuu-000-000")
    east = max(grid_of_cell("33uuu-000-001").footprint().bounds[2], grid_of_cell("33uuu-002-001").footprint().bounds[2])
    narrow = shapely.box(10, 50, east + 1e-4, 55)
    footprints = (narrow, EVERYWHERE) if ending == "optical" else (EVERYWHERE, narrow)
    world = [scene("a", 2, tile="33UUU", footprint=footprints[0])], [scene("x", 2, footprint=footprints[1])]
    found = candidates_of(paired(["33uuu-000-000", "33uuu-000-001"], *world, neighbours=8))
    assert grid.name in {c.pair.grid.name for c in found}
    assert sorted(c.pair.grid.name[6:] for c in found) == ["000-000", "000-001", "001-000", "001-001"]


def test_each_cell_and_day_comes_once_and_drawn_places_before_neighbours():
    world = [scene("a", 2, tile="33UUU")], [scene("x", 2)]
    found = candidates_of(paired(["33uuu-010-010", "33uuu-010-011"], *world, neighbours=4))
    drawn = {c.pair.grid.name: c.draw for c in found}
    assert len(drawn) == len(found) == 8  # 010-010, 010-011 and the three other neighbours of each
    assert drawn["33uuu-010-011"] == 55
    assert [c.draw for c in found] == sorted(c.draw for c in found)


def test_pairs_of_one_place_have_draws_of_their_own():
    s2 = [scene("a", 2, tile="33UUU"), scene("b", 5, tile="33UUU")]
    found = candidates_of(paired(["33uuu-010-010"], s2, [scene("x", 2), scene("y", 5.5)], pairs=3, neighbours=1))
    assert [(c.draw, c.pair.s2.item_id) for c in found] == [(60, "a"), (61, "a"), (62, "b"), (63, "b")]
    assert len({c.pair.patch_id for c in found}) == 4


@pytest.mark.parametrize("neighbours", [0, 2])
def test_refused_places_name_their_scenes(neighbours):
    world = paired(["33uuu-010-010"], [scene("a", 2, tile="33UUU")], [scene("x", 7)], neighbours=neighbours)
    ((draw, cell, reason, detail),) = refusals_of(world)
    assert (draw, cell, reason) == (10 * (1 + neighbours), "33uuu-010-010", "no_s1_scene")
    assert "x is 5.0 days away (limit 3)" in detail
    assert np.array_equal(world.matched.place, [])
