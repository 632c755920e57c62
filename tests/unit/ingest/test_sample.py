import datetime as dt
import itertools

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import OutputExistsError
from catalog.grid import cell_at
from catalog.mgrs import transformer
from ingest.errors import PlanError
from ingest.sample import CYCLE, Sample, draw_places, draw_points, read_plan, run, strata

JANUARY = dt.datetime(2021, 1, 1, tzinfo=dt.UTC)


def test_points_are_uniform_by_area_on_the_sphere():
    """Between 60 N and 84 N lies the share (sin 84 - sin 60) / (sin 84 + sin 80) of the band that UTM covers."""
    rng = np.random.default_rng(0)
    batches = itertools.islice(draw_points(shapely.box(-180, -90, 180, 90), rng), 25)
    lat = np.array([point[1] for batch in batches for point in batch])
    sin = lambda degrees: np.sin(np.radians(degrees))  # noqa: E731
    share = (sin(83.9) - sin(60)) / (sin(83.9) + sin(79.9))
    assert abs(np.mean(lat > 60) - share) < 3 * np.sqrt(share * (1 - share) / len(lat))


def test_places_lie_in_the_region_and_are_distinct_and_repeatable():
    outline = shapely.box(12, 52, 13, 53)
    places = draw_places(outline, strata(JANUARY, JANUARY + 3 * CYCLE), 300, side_px=256, seed=7)
    again = draw_places(outline, strata(JANUARY, JANUARY + 3 * CYCLE), 300, side_px=256, seed=7)
    other = draw_places(outline, strata(JANUARY, JANUARY + 3 * CYCLE), 300, side_px=256, seed=8)
    assert places == again != other
    assert len({(place.grid, place.start) for place in places}) == 300
    assert [place.draw for place in places] == list(range(300))
    assert all(place.grid.footprint().intersects(outline) for place in places)
    assert {place.start for place in places} == {JANUARY + i * CYCLE for i in range(3)}


def test_a_longer_plan_begins_with_the_shorter_one():
    """The reserve comes after the places that are wanted, so a larger reserve changes none of them."""
    outline = shapely.box(12, 52, 13, 53)
    short = draw_places(outline, strata(JANUARY, JANUARY + CYCLE), 50, side_px=256, seed=0)
    assert draw_places(outline, strata(JANUARY, JANUARY + CYCLE), 90, side_px=256, seed=0)[:50] == short


def test_a_region_that_holds_too_few_cells_says_how_many_it_holds():
    west, south = transformer(32633, 4326).transform(400_000, 5_800_000)
    east, north = transformer(32633, 4326).transform(406_000, 5_806_000)
    outline = shapely.box(west, south, east, north)
    x_m, y_m = transformer(4326, 32633).transform(*shapely.get_coordinates(_lattice(outline)).T)
    cells = {cell_at(32633, x, y) for x, y in zip(x_m.tolist(), y_m.tolist(), strict=True)} - {None}
    with pytest.raises(PlanError, match=f"only {len(cells)} distinct places of 100"):
        draw_places(outline, strata(JANUARY, JANUARY + CYCLE), 100, side_px=256, seed=0)


def _lattice(outline):
    west, south, east, north = outline.bounds
    lon, lat = np.meshgrid(np.linspace(west, east, 200)[1:-1], np.linspace(south, north, 200)[1:-1])
    return shapely.points(lon.ravel(), lat.ravel())


@given(st.integers(1, 900))
def test_strata_cover_the_period_without_gap_or_overlap(days):
    end = JANUARY + dt.timedelta(days=days)
    spans = strata(JANUARY, end)
    assert (spans[0][0], spans[-1][1]) == (JANUARY, end)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    assert all(CYCLE <= b - a < 2 * CYCLE for a, b in spans) or days < 12


def test_a_plan_survives_the_disk_and_is_never_overwritten(tmp_path):
    options = Sample(tmp_path / "plan.parquet", count=20, region="LU", reserve=0.5, end="2021-03-01", seed=3)
    plan = run(options)
    assert len(plan.places) == 30
    assert read_plan(options.out) == plan
    with pytest.raises(OutputExistsError, match=r"plan\.parquet exists"):
        run(options)


@pytest.mark.parametrize(
    "change, hint",
    [
        ({"end": "2021-01-01"}, "period from 2021-01-01 to 2021-01-01 is empty"),
        ({"start": "January"}, "'January' is not a day"),
        ({"region": "Atlantis"}, "unknown region ATLANTIS"),
        ({"region": "nowhere.geojson"}, "no region file"),
        ({"count": 0}, "count is 0"),
    ],
)
def test_options_that_cannot_be_met_are_named(tmp_path, change, hint):
    options = Sample(**{"out": tmp_path / "plan.parquet", "count": 5, **change})
    with pytest.raises(PlanError, match=hint):
        run(options)
    assert list(tmp_path.iterdir()) == []


def test_a_parquet_file_that_is_no_plan_is_refused(tmp_path):
    with pytest.raises(PlanError, match="make one with: deepsentinel sample"):
        read_plan(tmp_path / "none.parquet")


def test_revisits_are_the_same_cell_in_evenly_spaced_strata():
    periods = strata(JANUARY, JANUARY + 12 * CYCLE)
    places = draw_places(shapely.box(12, 52, 13, 53), periods, 40, side_px=256, seed=1, revisits=2)
    groups = [places[i : i + 3] for i in range(0, 120, 3)]
    assert len({group[0].grid for group in groups}) == 40
    for group in groups:
        assert len({place.grid for place in group}) == 1
        steps = [(place.start - group[0].start) / CYCLE % 12 for place in group]
        assert steps == [0, 4, 8]
    with pytest.raises(PlanError, match="12 revisits of a cell need 13 strata and the period has 12"):
        draw_places(shapely.box(12, 52, 13, 53), periods, 1, side_px=256, seed=1, revisits=12)
