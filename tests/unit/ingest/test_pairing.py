import datetime as dt
import random

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from catalog.grid import grid_of_cell
from catalog.patch import Scene
from ingest.pairing import Matcher, Rules, judge
from ingest.sample import Place

GRID = grid_of_cell("33uuu-010-010")
START = dt.datetime(2021, 6, 1, tzinfo=dt.UTC)
PLACE = Place(0, GRID, START, START + dt.timedelta(days=12))
EVERYWHERE = shapely.box(10, 50, 16, 55)
QUARTER = shapely.box(10, 50, *GRID.footprint().centroid.coords[0])
DAYS = st.lists(st.integers(-50, 150), max_size=6)


def optical(name, days, *, cloud=5.0, tile="33UUU", footprint=EVERYWHERE):
    time = START + dt.timedelta(days=days)
    return Scene(name, "sentinel-2-l2a", time, "S2A", "descending", 65, 32633, footprint, {}, cloud, "04.00", tile)


def radar(name, days, *, epsg=32633, footprint=EVERYWHERE):
    time = START + dt.timedelta(days=days)
    return Scene(name, "sentinel-1-rtc", time, "S1A", "ascending", 44, epsg, footprint, {})


def reasons(verdict):
    return {refusal.item_id: refusal.reason for refusal in verdict.refusals}


def test_the_nearest_pair_wins_and_the_others_are_told_why():
    verdict = judge(PLACE, [optical("a", 2), optical("b", 6)], [radar("x", 4), radar("y", 6.5)], Rules())
    assert (verdict.pair.s2.item_id, verdict.pair.s1.item_id) == ("b", "y")
    assert verdict.pair.gap == dt.timedelta(hours=12)
    assert reasons(verdict) == {"a": "not_nearest", "x": "not_nearest"}


def test_a_gap_beyond_the_limit_is_refused_with_its_days():
    verdict = judge(PLACE, [optical("a", 2)], [radar("x", 5.5)], Rules())
    assert (verdict.pair, verdict.reason) == (None, "no_s1_scene")
    assert "x is 3.5 days away (limit 3)" in verdict.refusals[0].detail
    exactly = judge(PLACE, [optical("a", 2)], [radar("x", 5)], Rules())
    assert exactly.pair is not None


@pytest.mark.parametrize(
    "scene, reason, overall",
    [
        (optical("a", 12), "outside_period", "no_s2_scene"),
        (optical("a", -0.1), "outside_period", "no_s2_scene"),
        (optical("a", 2, cloud=60.1), "cloudy_scene", "cloudy_scene"),
        (optical("a", 2, tile="33UVU"), "other_tile", "no_s2_scene"),
        (optical("a", 2, footprint=QUARTER), "not_contained", "not_contained"),
    ],
)
def test_unfit_optical_scenes_are_refused_by_name(scene, reason, overall):
    verdict = judge(PLACE, [scene], [radar("x", 2)], Rules())
    assert (reasons(verdict)["a"], verdict.reason, verdict.pair) == (reason, overall, None)


def test_a_radar_scene_must_contain_the_whole_patch():
    half = GRID.footprint().buffer(-1e-3)
    verdict = judge(PLACE, [optical("a", 2)], [radar("x", 2, footprint=half)], Rules())
    assert verdict.pair is None
    assert reasons(verdict) == {"x": "not_contained", "a": "no_s1_scene"}


def test_ties_go_to_the_own_zone_then_the_clearer_then_the_earlier_scene():
    zone = judge(PLACE, [optical("a", 2)], [radar("x", 1, epsg=32632), radar("y", 3)], Rules())
    assert zone.pair.s1.item_id == "y"
    clear = judge(PLACE, [optical("a", 2, cloud=9), optical("b", 4, cloud=3)], [radar("x", 3)], Rules())
    assert clear.pair.s2.item_id == "b"
    early = judge(PLACE, [optical("b", 4), optical("a", 2)], [radar("x", 3)], Rules())
    assert early.pair.s2.item_id == "a"


@given(
    st.lists(st.integers(-20, 120), min_size=1, max_size=6), st.lists(st.integers(-50, 150), max_size=6), st.randoms()
)
def test_the_choice_is_the_brute_force_minimum_whatever_the_order(s2_days, s1_days, shuffle: random.Random):
    s2 = [optical(f"a{i}", day / 10) for i, day in enumerate(s2_days)]
    s1 = [radar(f"x{i}", day / 10) for i, day in enumerate(s1_days)]
    inside = [scene for scene in s2 if PLACE.start <= scene.acquired < PLACE.end]
    gaps = [abs(a.acquired - b.acquired) for a in inside for b in s1]
    within = [gap for gap in gaps if gap <= dt.timedelta(days=3)]
    verdict = judge(PLACE, s2, s1, Rules())
    assert (verdict.pair is None) == (not within)
    if within:
        assert abs(verdict.pair.gap) == min(within)
    shuffle.shuffle(s2)
    shuffle.shuffle(s1)
    assert judge(PLACE, s2, s1, Rules()).pair == verdict.pair


def test_matching_many_places_equals_judging_each_alone():
    cells = [grid_of_cell(f"33uuu-{row:03d}-{column:03d}") for row in range(0, 30, 6) for column in range(0, 30, 6)]
    places = [Place(i, cell, PLACE.start, PLACE.end) for i, cell in enumerate(cells)]
    s2 = [optical("a", 2, footprint=shapely.box(12.5, 52.4, 13, 52.9)), optical("b", 5)]
    s1 = [radar("x", 3), radar("y", 5, footprint=shapely.box(12.2, 52.2, 13.0, 52.7))]
    matched = Matcher(s2, s1, Rules()).match(places)
    assert [verdict.pair for verdict in matched] == [judge(place, s2, s1, Rules()).pair for place in places]
    assert len({verdict.pair.s1.item_id for verdict in matched}) == 2
