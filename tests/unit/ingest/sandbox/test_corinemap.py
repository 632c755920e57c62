"""The simulated CORINE map: majority, minimum mapping unit, place and colours."""

import numpy as np
import pytest
import rasterio
import rasterio.features
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.mgrs import transformer
from ingest.sandbox.corinemap import Corine, corine, generalise, in_europe, write_corine
from ingest.sandbox.noise import Frame, fbm

FRAME = Frame(32632, 500_040, 5_600_040, 600, 500)


def areas(classes: np.ndarray) -> list[tuple[int, int]]:
    """Value and number of cells of each connected area."""
    found = []
    for shape, value in rasterio.features.shapes(classes, mask=classes > 0, connectivity=4):
        mask = rasterio.features.rasterize([shape], classes.shape)
        found.append((int(value), int(mask.sum())))
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_no_area_is_below_the_minimum_mapping_unit(seed):
    noise = fbm(Frame(32632, 0, 0, 40, 40), seed, 1, 90, 3, 0.7)
    classes = (12 + np.digitize(noise, [-1, -0.3, 0.3, 1])).astype(np.uint8)
    assert min(count for _, count in areas(generalise(classes))) >= 25
    assert min(count for _, count in areas(classes)) < 25


def test_nothing_appears_outside_the_region():
    classes = np.full((30, 30), 12, np.uint8)
    classes[:, :5] = 0
    np.testing.assert_array_equal(generalise(classes), classes)


def test_a_cell_takes_its_most_frequent_zone():
    """West of a line arable, east of it forest: cells change class where the line crosses them."""
    zone = np.full(FRAME.shape, 12, np.uint8)
    zone[:, 250:] = 23
    made = corine(FRAME, zone)
    rows, columns = np.nonzero(made.classes)
    x_m, y_m = made.west_m + (columns + 0.5) * 100, made.north_m - (rows + 0.5) * 100
    east, north = transformer(3035, FRAME.epsg).transform(x_m, y_m)
    expected = np.where(east < FRAME.west_m + 2500, 12, 23)
    clear = np.abs(east - FRAME.west_m - 2500) > 30
    np.testing.assert_array_equal(made.classes[rows, columns][clear], expected[clear])
    west, south, right, top = FRAME.bounds_m
    assert ((east > west + 30) & (east < right - 30) & (north > south + 30) & (north < top - 30)).all()
    assert len(rows) > 0.9 * 6 * 5 * 100 / 1.2 / 1.2  # 6 x 5 km, less a rim of a cell


def test_the_file_is_on_the_official_grid_with_the_official_colours(tmp_path):
    near = Corine(4_000_000, 3_000_000, np.full((30, 40), 12, np.uint8))
    far = Corine(4_010_000, 2_990_000, np.full((20, 20), 24, np.uint8))
    write_corine(tmp_path / "corine.tif", [near, far])
    with rasterio.open(tmp_path / "corine.tif") as raster:
        assert raster.crs.to_epsg() == 3035
        assert raster.bounds == (4_000_000, 2_988_000, 4_012_000, 3_000_000)
        assert raster.nodata == 0
        assert raster.colormap(1)[24][:3] == (0, 166, 0)
        pixels = raster.read(1)
    assert (pixels == 12).sum() == 1200
    assert (pixels == 24).sum() == 400
    assert pixels[100, 100] == 24


@pytest.mark.parametrize("place, inside", [((8.6, 50.1), True), ((-99.0, 49.0), False), ((36.0, -1.0), False)])
def test_only_europe_is_mapped(place, inside):
    assert in_europe(*place) is inside
