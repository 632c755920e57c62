"""The simulated ground is a function of seed and coordinates, and areas are drawn exactly."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.mgrs import tile_origin
from ingest.sandbox.buildings import Boxes
from ingest.sandbox.drawing import boxes_share, lines_share
from ingest.sandbox.earth import Ground, departure, ground
from ingest.sandbox.landcover import Cover, Zone
from ingest.sandbox.noise import Frame, fbm, fbm_at, mosaic, spline_noise, uniform
from ingest.sandbox.noise import mix as mix_bits
from ingest.sandbox.roads import Line

EPSG, WEST_M, NORTH_M = tile_origin("32UMA")


def frame_at(row: int, column: int, rows: int, cols: int) -> Frame:
    return Frame(EPSG, WEST_M + column * 10, NORTH_M - row * 10, rows, cols)


@pytest.fixture(scope="module")
def town() -> tuple[Frame, Ground]:
    """A window with a town, roads, fields and wood."""
    frame = frame_at(2560, 3350, 300, 420)
    return frame, ground(frame, 0)


@settings(max_examples=4, deadline=None)
@given(st.integers(-60, 250), st.integers(-60, 350), st.integers(40, 90), st.integers(40, 90))
def test_two_windows_agree_exactly_where_they_overlap(town, down, right, rows, cols):
    frame, whole = town
    other = ground(frame_at(2560 + down, 3350 + right, rows, cols), 0)
    top, left = max(down, 0), max(right, 0)
    bottom, east = min(down + rows, frame.rows), min(right + cols, frame.cols)
    mine = whole.window(slice(top, bottom), slice(left, east))
    theirs = other.window(slice(top - down, bottom - down), slice(left - right, east - right))
    for field in fields(Ground):
        np.testing.assert_array_equal(getattr(mine, field.name), getattr(theirs, field.name), field.name)


def test_the_window_holds_a_town_so_that_the_agreement_means_something(town):
    _, whole = town
    assert whole.house.any()
    assert whole.road.any()
    assert len(np.unique(whole.cover)) > 8
    assert whole.house[whole.cover == Cover.WATER].sum() == 0


def test_another_seed_is_another_earth(town):
    frame, whole = town
    assert (ground(frame.strip(0, 60), 1).zone != whole.zone[:60]).mean() > 0.2


def test_built_shares_never_exceed_the_pixel(town):
    _, whole = town
    assert (whole.house.astype(int) + whole.hall + whole.road).max() <= 255


def test_arable_blocks_hold_other_covers_than_crops(town):
    """The label noise of CORINE: parcels differ from the class of their block."""
    _, whole = town
    inside = whole.cover[whole.zone == Zone.ARABLE]
    other = np.isin(inside, (Cover.GRASS, Cover.BROADLEAF, Cover.CONIFER)).mean()
    assert 0.03 < other < 0.4


def test_ground_survives_saving(town, tmp_path):
    _, whole = town
    whole.save(tmp_path)
    again = Ground.load(tmp_path)
    for field in fields(Ground):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(whole, field.name))


def test_departures_are_kept_in_steps_of_a_thirty_second():
    np.testing.assert_array_equal(departure(np.array([-64, 0, 16], np.int8)), [-2.0, 0.0, 0.5])


def test_noise_has_unit_variance_and_zero_mean():
    """The mean of 80 x 80 nodes of standard deviation 2.1 is known to 0.026, the variance to about 0.026."""
    field = spline_noise(frame_at(0, 0, 800, 800), 3, 1, 100)
    assert abs(field.mean()) < 4 * 0.026
    assert abs(field.var() - 1) < 0.1


def test_noise_at_points_is_the_noise_of_the_frame():
    frame = frame_at(100, 200, 7, 9)
    x_m, y_m = np.meshgrid(frame.x_m, frame.y_m)
    np.testing.assert_allclose(fbm_at(EPSG, x_m, y_m, 5, 9, 700, 3), fbm(frame, 5, 9, 700, 3), atol=1e-5)


def test_hashes_are_uniform():
    draws = uniform(mix_bits(7, np.arange(200_000)))
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    chi_squared = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi_squared < 43.8  # 99.9 % of chi-squared with 19 degrees of freedom
    assert draws.max() < 1


def test_mosaic_finds_the_nearest_site_of_all():
    """Sites are recovered from the pixels' offsets; none may be nearer than the one a pixel names."""
    frame = frame_at(0, 0, 200, 200)
    blocks = mosaic(frame, 1, 2, 400)
    x_m, y_m = np.meshgrid(frame.x_m, frame.y_m)
    _, first = np.unique(blocks.block, return_index=True)
    site_x, site_y = (x_m - blocks.dx_m).ravel()[first], (y_m - blocks.dy_m).ravel()[first]
    distance = np.hypot(x_m[..., None] - site_x, y_m[..., None] - site_y)
    np.testing.assert_allclose(np.hypot(blocks.dx_m, blocks.dy_m), distance.min(axis=-1), atol=0.5)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 3.1), st.floats(6, 90), st.floats(3, 6), st.floats(-5, 5))
def test_a_rectangle_narrower_than_a_pixel_covers_its_own_area(angle, length, width, shift):
    frame = frame_at(0, 0, 30, 30)
    x_m, y_m = frame.west_m + 150.0 + shift, frame.north_m - 150.0 - shift
    box = Boxes(*(np.array([value]) for value in (x_m, y_m, length, width, angle)), np.array([1]))
    drawn_m2 = boxes_share(frame, box).astype(float).sum() / 255 * 100
    rounding_m2 = 0.25 * np.count_nonzero(boxes_share(frame, box))  # a share is kept to half of 1/255
    assert drawn_m2 == pytest.approx(length * width, abs=rounding_m2 + 0.1)


def test_a_pixel_wholly_under_a_roof_is_full_to_an_eighth():
    frame = frame_at(0, 0, 20, 20)
    middle = np.array([frame.west_m + 100.0]), np.array([frame.north_m - 100.0])
    hall = Boxes(*middle, np.array([97.0]), np.array([83.0]), np.array([0.3]), np.array([1]))
    share = boxes_share(frame, hall)[8:12, 8:12] / 255
    assert share.min() > (1 - 1 / 8) ** 2


def test_a_road_covers_its_length_times_its_width():
    frame = frame_at(0, 0, 60, 60)
    corner = np.array([frame.west_m, frame.north_m], float)
    line = Line(corner + np.array([[50.0, -50.0], [450.0, -350.0]]), 7.0, "residential")
    drawn_m2 = lines_share(frame, [line]).astype(float).sum() / 255 * 100
    assert drawn_m2 == pytest.approx(500 * 7, rel=0.01)


def test_rectangles_corners_are_where_geometry_says():
    box = Boxes(*(np.array([value]) for value in (100.0, 200.0, 20.0, 10.0, np.pi / 2)), np.array([1]))
    np.testing.assert_allclose(box.corners()[0], [[105, 190], [105, 210], [95, 210], [95, 190]], atol=1e-9)
