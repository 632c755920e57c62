import datetime as dt
import random

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.grid import cell_at, grid_of_cell
from catalog.mgrs import transformer, utm_epsg
from catalog.patch import Scene
from ingest.match import REASONS, Matcher
from ingest.pairing import Rules, judge
from ingest.places import Place, Places

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
    exactly = judge(PLACE, [optical("a", 2, cloud=60.0)], [radar("x", 5)], Rules())
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


# Near zone borders, the equator, the antimeridian and the pole: where footprints and zones go wrong.
CORNERS = [(12.9, 52.1), (17.99, 48.0), (-179.98, -16.9), (179.99, 66.3), (-66.0, 0.01), (20.5, 78.2)]


def cell_near(lon, lat):
    epsg = int(utm_epsg(lon, lat))
    x_m, y_m = transformer(4326, epsg).transform(lon, lat)
    return cell_at(epsg, x_m, y_m)


CLOUDS = (5, 9, 60, 70)  # the limit is 60
MONTHS = st.sampled_from([(), (6,), (7,)])
BEGIN = dt.datetime(2021, 6, 26, tzinfo=dt.UTC)


def random_world(rng):
    """Places and scenes around one corner, where one month ends and the next begins.

    Footprints are turned, cut at the antimeridian or left to run across it.
    """
    lon, lat = CORNERS[rng.integers(len(CORNERS))]
    spots = lon + rng.uniform(-0.2, 0.2, 12) / np.cos(np.radians(lat)), lat + rng.uniform(-0.2, 0.2, 12)
    cells = [cell_near((x + 180) % 360 - 180, y) for x, y in zip(*spots, strict=True)]
    starts = [BEGIN + dt.timedelta(days=int(day)) for day in rng.integers(0, 3, 12)]
    places = [Place(i, c, s, s + dt.timedelta(days=6)) for i, (c, s) in enumerate(zip(cells, starts, strict=True)) if c]
    tiles = [place.grid.tile for place in places]
    whole_days = rng.integers(0, 2)  # many equal times, so that ties occur
    s2 = [
        Scene(
            f"a{i}", "s2", BEGIN + dt.timedelta(days=float(day.round() if whole_days else day)), "S2A", "descending", 1,
            32601, wrapped(random_outline(rng, lon, lat), rng), {}, float(rng.choice(CLOUDS)) if i % 5 else None,
            "04.00", tile=str(rng.choice(tiles)),
        )
        for i, day in enumerate(rng.uniform(-1, 9, 40))
    ]  # fmt: skip
    zones = sorted({place.grid.epsg for place in places})
    s1 = [
        Scene(
            f"x{i}", "s1", BEGIN + dt.timedelta(days=float(day.round() if whole_days else day)), "S1A",
            str(rng.choice(["ascending", "descending"])), 1, int(rng.choice(zones)),
            wrapped(random_outline(rng, lon, lat), rng), {},
        )
        for i, day in enumerate(rng.uniform(-5, 14, 25))
    ]  # fmt: skip
    return places, s2, s1


def random_outline(rng, lon, lat):
    turned = shapely.affinity.rotate(shapely.box(-1, -1, 1, 1), rng.uniform(0, 90))
    size = rng.uniform(0.15, 0.6)
    scaled = shapely.affinity.scale(turned, size / np.cos(np.radians(lat)), size, origin=(0, 0))
    shift = rng.uniform(-0.3, 0.3, 2)
    return shapely.affinity.translate(scaled, lon + shift[0] / np.cos(np.radians(lat)), lat + shift[1])


def wrapped(outline, rng):
    """As providers state it: longitudes within +-180, cut there or with one ring across."""
    if rng.integers(2):
        return shapely.transform(outline, lambda p: np.stack([(p[:, 0] + 180) % 360 - 180, p[:, 1]], axis=1))
    east = shapely.intersection(outline, shapely.box(-180, -90, 180, 90))
    parts = [east]
    for turn in (-360, 360):
        copy = shapely.affinity.translate(outline, turn)
        parts.append(shapely.intersection(copy, shapely.box(-180, -90, 180, 90)))
    return shapely.union_all([part for part in parts if part.area])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["any", "ascending"]), MONTHS, st.integers(1, 3))
def test_matching_in_columns_equals_judging_place_by_place(seed, orbit, months, pairs):
    rng = np.random.default_rng(seed)
    places, s2, s1 = random_world(rng)
    rules = Rules(dt.timedelta(days=2), orbit=orbit, months=months, pairs=pairs)
    matcher = Matcher(s2, s1, rules)
    for place, verdict in zip(places, matcher.match(places), strict=True):
        alone = judge(place, s2, s1, rules)
        assert (verdict.pairs, verdict.reason) == (alone.pairs, alone.reason)
        assert matcher.explain(place).pairs == alone.pairs


def test_random_worlds_hold_pairs_and_every_refusal():
    """The property above would be empty without them."""
    seen = set()
    for seed in range(20):
        places, s2, s1 = random_world(np.random.default_rng(seed))
        matched = Matcher(s2, s1, Rules(orbit="ascending", months=(6,))).match_rows(Places.of(places))
        seen |= set(matched.reasons()) | {reason for reason, count in matched.refusals.items() if count}
    assert seen == set(REASONS) | {"other_orbit", "outside_season"}


def test_counts_of_refusals_are_those_of_the_judge():
    places, s2, s1 = random_world(np.random.default_rng(1))
    matched = Matcher(s2, s1, Rules(months=(7,))).match_rows(Places.of(places))
    told = [r.reason for place in places for r in judge(place, s2, s1, Rules(months=(7,))).refusals]
    assert matched.refusals["outside_season"] == told.count("outside_season") > 0


def test_a_scene_in_the_own_zone_is_preferred_even_when_another_is_nearer_in_time():
    verdict = judge(PLACE, [optical("a", 2)], [radar("x", 2, epsg=32632), radar("y", 4.5)], Rules())
    assert verdict.pair.s1.item_id == "y"


def test_several_pairs_of_a_place_lie_on_different_days():
    s2 = [optical("a", 2), optical("strip", 2.01), optical("b", 5), optical("c", 8)]
    verdict = judge(PLACE, s2, [radar("x", 2.5), radar("y", 5.1), radar("z", 8.5)], Rules(pairs=2))
    assert [pair.s2.item_id for pair in verdict.pairs] == ["b", "strip"]
    assert reasons(verdict) == {"a": "not_nearest", "c": "not_nearest", "z": "not_nearest"}


def test_only_the_wanted_flight_direction_and_season_serve():
    flight = judge(PLACE, [optical("a", 2)], [radar("x", 2)], Rules(orbit="descending"))
    assert reasons(flight) == {"x": "other_orbit", "a": "no_s1_scene"}
    season = judge(PLACE, [optical("a", 2)], [radar("x", 2)], Rules(months=(7, 8)))
    assert (reasons(season), season.reason) == ({"a": "outside_season"}, "no_s2_scene")


@pytest.mark.parametrize("s2, s1, reason", [([], [], "no_s2_scene"), ([optical("a", 2)], [], "no_s1_scene")])
def test_without_scenes_every_place_has_its_reason(s2, s1, reason):
    matcher = Matcher(s2, s1, Rules())
    assert [verdict.reason for verdict in matcher.match([PLACE, PLACE])] == [reason, reason]
    assert matcher.explain(PLACE).reason == reason
    assert matcher.match([]) == []


def test_a_cloudy_scene_says_more_than_one_that_holds_half_of_the_patch():
    scenes = [optical("a", 2, footprint=QUARTER), optical("b", 3, cloud=61.0), optical("c", 4, footprint=QUARTER)]
    (matched,) = Matcher(scenes, [radar("x", 2)], Rules()).match([PLACE])
    assert matched.reason == judge(PLACE, scenes, [radar("x", 2)], Rules()).reason == "cloudy_scene"


@pytest.mark.parametrize("tile", ["33UUT", "33UUV", "32UQD"])
def test_scenes_of_another_tile_do_not_serve_a_tile_that_has_none(tile):
    (verdict,) = Matcher([optical("a", 2, tile=tile)], [radar("x", 2)], Rules()).match([PLACE])
    assert verdict.reason == "no_s2_scene"


def test_scenes_that_hold_part_of_a_patch_are_counted_where_their_time_fits():
    s2 = [optical("a", 2), optical("b", 3, footprint=QUARTER)]
    s1 = [radar("x", 2), radar("y", 4, footprint=QUARTER), radar("z", 40, footprint=QUARTER)]
    assert Matcher(s2, s1, Rules()).match_rows(Places.of([PLACE])).refusals["not_contained"] == 2


def test_thousands_of_places_in_several_batches_are_matched_as_few_are(monkeypatch):
    rng = np.random.default_rng(3)
    places, s2, s1 = random_world(rng)
    whole = Matcher(s2, s1, Rules()).match_rows(Places.of(places))
    monkeypatch.setattr("ingest.match._BATCH", 2)
    pieces = Matcher(s2, s1, Rules()).match_rows(Places.of(places))
    for name in ("place", "s2", "s1", "reason"):
        np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))
    assert pieces.refusals == whole.refusals
    assert len(whole.place) > 0
