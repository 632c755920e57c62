import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import GridError
from catalog.grid import PatchGrid, cell_at, cells_at, grid_of_cell
from catalog.mgrs import tile_origin, transformer

TILES = st.sampled_from(["33UUU", "31UFS", "36JTT", "22JGS", "60WWB", "01CDH", "32VNH"])
SIDES = st.sampled_from([60, 64, 120, 250, 256])


@given(TILES, SIDES, st.floats(0, 99_900), st.floats(100, 99_900))
def test_a_cell_holds_its_point_and_its_name_leads_back_to_it(tile, side_px, east_m, south_m):
    epsg, west_m, north_m = tile_origin(tile)
    x_m, y_m = west_m + 60 + east_m, north_m - 60 - south_m
    grid = cell_at(epsg, x_m, y_m, side_px)
    if grid is None:  # the strip at the square's east or south edge
        assert max(east_m, south_m) > 100_000 - 1.5 * side_px * 10
        return
    west, south, east, north = grid.bounds_m
    assert west <= x_m < east
    assert south <= y_m <= north
    assert grid_of_cell(grid.name, side_px) == grid


@given(st.integers(0, 38), st.integers(0, 38))
def test_cells_touch_one_512_block_of_every_band(row, column):
    epsg, west_m, north_m = tile_origin("33UUU")
    grid = grid_of_cell(f"33uuu-{row:03d}-{column:03d}")
    for gsd_m in (10, 20, 60):
        first = (grid.west_m - west_m) // gsd_m, (north_m - grid.north_m) // gsd_m
        last = (grid.west_m + 2559 - west_m) // gsd_m, (north_m - grid.north_m + 2559) // gsd_m
        blocks = {index // 512 for index in (first[0], last[0])}, {index // 512 for index in (first[1], last[1])}
        if gsd_m < 60:
            assert [len(axis) for axis in blocks] == [1, 1]
    assert grid.epsg == epsg


def test_cells_of_neighbouring_tiles_never_overlap():
    """Cells that straddle the border of two squares belong to one of them or to none."""
    epsg, west_m, north_m = tile_origin("33UUU")
    x = np.arange(west_m + 90_000, west_m + 112_000, 500)
    y = np.arange(north_m - 112_000, north_m - 90_000, 500)
    cells = {cell_at(epsg, float(a), float(b)) for a in x for b in y} - {None}
    boxes = [shapely.box(*cell.bounds_m) for cell in cells]
    assert len({cell.tile for cell in cells}) == 4
    assert shapely.union_all(boxes).area == sum(box.area for box in boxes)


def test_a_60_m_pixel_falls_on_the_20_m_grid_by_index_over_three():
    _, west_m, north_m = tile_origin("33UUU")
    grid = grid_of_cell("33uuu-001-001")  # starts 2560 m in: not a multiple of 60 m
    x_m, y_m = grid.centres_m(20)
    col_60 = np.floor((x_m - west_m) / 60).astype(int)
    col_20 = np.floor((x_m - west_m) / 20).astype(int)
    np.testing.assert_array_equal(col_60, col_20 // 3)
    assert np.bincount(col_60 - col_60[0])[1:-1].tolist() == [3] * (len(set(col_60)) - 2)
    assert len(y_m) == 128
    assert y_m[0] == grid.north_m - 10
    assert north_m > y_m[0]


def test_a_footprint_is_the_projected_outline_within_a_metre():
    grid = grid_of_cell("33uuu-005-007")
    west, south, east, north = grid.bounds_m
    dense = shapely.segmentize(shapely.box(west, south, east, north), 10)
    back = shapely.transform(
        grid.footprint(), lambda p: np.stack(transformer(4326, grid.epsg).transform(p[:, 0], p[:, 1]), axis=1)
    )
    assert shapely.hausdorff_distance(shapely.segmentize(back, 10), dense) < 1
    assert shapely.is_ccw(grid.footprint().exterior)


def test_a_footprint_across_the_antimeridian_stays_in_one_piece():
    epsg, west_m, north_m = tile_origin("60WWB")
    lon_edge = transformer(4326, epsg).transform(180.0, 68.0)
    grid = PatchGrid(epsg, int(lon_edge[0] // 10) * 10 - 1280, int(lon_edge[1] // 10) * 10)
    west, _, east, _ = grid.footprint().bounds
    assert west < 180 < east
    assert east - west < 0.2
    assert west_m < north_m


@pytest.mark.parametrize("west_m, side_px, hint", [(5, 256, "lattice"), (0, 255, "even"), (0, 0, "even")])
def test_grids_off_the_lattice_are_refused(west_m, side_px, hint):
    with pytest.raises(GridError, match=hint):
        PatchGrid(32633, west_m, 0, side_px)


def test_a_grid_between_cells_has_no_name():
    grid = grid_of_cell("33uuu-001-001")
    with pytest.raises(GridError, match="not a cell of 33UUU"):
        _ = PatchGrid(grid.epsg, grid.west_m + 10, grid.north_m).name


def test_cells_of_many_points_are_those_of_each_point():
    """Over whole zones, so that strips without a cell, band borders and the equator occur."""
    rng = np.random.default_rng(0)
    epsg = rng.choice([32601, 32633, 32732, 32760], 4000)
    x, y = rng.uniform(200_000, 800_000, 4000), rng.uniform(1_200_000, 9_000_000, 4000)
    west, north, exists = cells_at(epsg, x, y)
    alone = [cell_at(*point) for point in zip(epsg.tolist(), x.tolist(), y.tolist(), strict=True)]
    assert exists.tolist() == [cell is not None for cell in alone]
    together = zip(west[exists].tolist(), north[exists].tolist(), strict=True)
    assert list(together) == [(cell.west_m, cell.north_m) for cell in alone if cell is not None]
    assert 0.8 < exists.mean() < 1
