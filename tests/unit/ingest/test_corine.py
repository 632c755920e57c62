"""CORINE in every coding and edition: the same labels, and clear words where a file is something else."""

import logging
from collections.abc import Mapping
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import Affine

from catalog.grid import PatchGrid, cell_at
from catalog.labels import CORINE_BY_GRID_CODE
from catalog.mgrs import transformer, utm_epsg
from ingest.corine import check_coverage, labels_and_unknown, open_corine
from ingest.corine_raster import CorineRaster
from ingest.corine_vector import CorineVector
from ingest.errors import PlanError
from ingest.projected import centres_there

WEST_M, NORTH_M = 4_050_000, 3_100_000  # near Aachen
SIZE = 60  # cells: 6 km


def centre_grid(side_px: int = 64, x_m: float = WEST_M + 3000, y_m: float = NORTH_M - 3000) -> PatchGrid:
    grid = cell_at(32632 if x_m > 4.2e6 else 32631, *transformer(3035, 32631).transform(x_m, y_m), side_px)
    assert grid is not None
    return grid


def write_raster(path: Path, values: np.ndarray, **changes: object) -> str:
    profile = {
        "driver": "GTiff", "dtype": values.dtype, "count": 1, "crs": "EPSG:3035", "height": values.shape[0],
        "width": values.shape[1], "transform": Affine(100, 0, WEST_M, 0, -100, NORTH_M), **changes,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as image:
        image.write(values, 1)
    return str(path)


def some_classes(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 45, (SIZE, SIZE)).astype("u1")


def labels(href: str, grid: PatchGrid) -> tuple[np.ndarray, Mapping[int, int]]:
    with open_corine(href) as corine:
        return corine.labels(grid), corine.unknown


def test_each_pixel_has_the_class_of_the_cell_that_holds_its_centre(tmp_path):
    values, grid = some_classes(), centre_grid()
    found, _ = labels(write_raster(tmp_path / "clc.tif", values), grid)
    to_laea = transformer(grid.epsg, 3035)
    for row, col in ((0, 0), (13, 50), (63, 63), (31, 7)):
        x_m, y_m = to_laea.transform(grid.west_m + col * 10 + 5, grid.north_m - row * 10 - 5)
        assert found[row, col] == values[int((NORTH_M - y_m) // 100), int((x_m - WEST_M) // 100)]


@pytest.mark.parametrize(("lon", "lat"), [(6.1, 50.8), (-8.9, 38.2), (25.3, 65.1), (11.99, 45.0)])
def test_centres_equal_those_projected_one_by_one(lon, lat):
    epsg = int(utm_epsg(lon, lat))
    grid = cell_at(epsg, *transformer(4326, epsg).transform(lon, lat))
    assert grid is not None
    exact = transformer(epsg, 3035).transform(*np.meshgrid(*grid.centres_m(10)))
    np.testing.assert_allclose(centres_there(grid, 3035), exact, rtol=0, atol=1e-6)


def test_three_digit_codes_give_the_labels_of_grid_codes(tmp_path):
    values, grid = some_classes(), centre_grid()
    codes = np.array([999, *(CORINE_BY_GRID_CODE[i].code for i in range(1, 45))], "i2")[values]
    found, unknown = labels(write_raster(tmp_path / "codes.tif", codes, nodata=999), grid)
    np.testing.assert_array_equal(found, labels(write_raster(tmp_path / "grid.tif", values), grid)[0])
    assert not unknown


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("u1", 0), ("u1", 48), ("u1", 128), ("u1", 255), ("i1", -128), ("i2", -32768), ("i2", 999), ("i2", 32767)],
)
@pytest.mark.parametrize("declared", [True, False])
def test_every_nodata_value_seen_in_the_wild_is_unknown_and_not_counted(tmp_path, dtype, nodata, declared):
    values = some_classes().astype(dtype)
    values[30:] = nodata  # through the middle of the patch
    changes = {"nodata": nodata} if declared else {}
    found, unknown = labels(write_raster(tmp_path / "clc.tif", values, **changes), centre_grid())
    assert 0 < (found == 0).mean() < 1
    assert not unknown


def test_values_of_no_class_are_ignored_counted_and_reported(tmp_path, caplog):
    values, grid = some_classes(), centre_grid()
    truth, _ = labels(write_raster(tmp_path / "clean.tif", values), grid)
    values[29:31, 29:31] = 77
    with caplog.at_level(logging.WARNING):
        found, unknown = labels(write_raster(tmp_path / "odd.tif", values), grid)
    assert unknown == {77: (found == 0).sum()}
    assert 0 < (found == 0).sum() <= 400
    np.testing.assert_array_equal(found[found > 0], truth[found > 0])
    assert "77" in caplog.text


def test_each_patch_counts_its_own_unknown_values(tmp_path):
    values = some_classes()
    values[:, : SIZE // 2] = 77
    west, east = centre_grid(x_m=WEST_M + 1000), centre_grid(x_m=WEST_M + 5000)
    href = write_raster(tmp_path / "clc.tif", np.vstack([values, *9 * [some_classes()]]))  # most is known
    with open_corine(href) as corine:
        for _ in range(2):
            codes, unknown = labels_and_unknown(corine, west)
            assert unknown == {"77": 64 * 64}
            assert not codes.any()
            codes, unknown = labels_and_unknown(corine, east)
            assert unknown == {}
            assert codes.all()
        assert corine.unknown == {77: 2 * 64 * 64}


def test_beyond_the_raster_all_is_unknown(tmp_path):
    found, unknown = labels(write_raster(tmp_path / "clc.tif", some_classes()), centre_grid(x_m=WEST_M + 30_000))
    assert not found.any()
    assert not unknown


def test_a_warped_copy_is_refused_by_name(tmp_path):
    href = write_raster(tmp_path / "utm.tif", some_classes(), crs="EPSG:32631")
    with pytest.raises(PlanError, match=r"CRS EPSG:32631; CORINE comes in EPSG:3035: take the original"):
        open_corine(href)


def test_cells_of_another_size_are_refused(tmp_path):
    href = write_raster(tmp_path / "coarse.tif", some_classes(), transform=Affine(250, 0, WEST_M, 0, -250, NORTH_M))
    with pytest.raises(PlanError, match="cells of 250 x 250 m"):
        open_corine(href)


def test_another_map_is_refused_with_the_share_that_fits(tmp_path):
    href = write_raster(tmp_path / "worldcover.tif", np.tile(np.array([10, 50, 60, 95], "u1"), (SIZE, SIZE // 4)))
    with pytest.raises(PlanError, match=r"not a CORINE raster.*25.0% are grid codes"):
        open_corine(href)


def test_a_file_that_is_no_image_or_absent_is_refused(tmp_path):
    (tmp_path / "clc.tif").write_text("please log in")
    with pytest.raises(PlanError, match="cannot read the CORINE raster"):
        open_corine(str(tmp_path / "clc.tif"))
    with pytest.raises(PlanError, match="there is no CORINE file"):
        open_corine(str(tmp_path / "absent.tif"))


def test_a_raster_that_misses_the_region_says_which_share_it_covers(tmp_path, caplog):
    inside, outside = centre_grid(), centre_grid(x_m=WEST_M + 30_000)
    with CorineRaster(write_raster(tmp_path / "clc.tif", some_classes())) as corine:
        check_coverage(corine, [inside] * 10)
        with pytest.raises(PlanError, match=r"has a class at 25.0% of the plan's places \(limit 90%\)"):
            check_coverage(corine, [inside, outside, outside, outside])
        assert not caplog.records
        check_coverage(corine, [inside] * 19 + [outside])
        assert "95.0%" in caplog.text


@pytest.mark.parametrize(("name", "column"), [("clc.gpkg", "Code_18"), ("clc.shp", "CODE_18")])
def test_polygons_give_the_labels_of_the_raster_they_outline(tmp_path, name, column):
    """Squares of 1 km: both editions must agree at every pixel, for both ask about the pixel's centre."""
    blocks = np.random.default_rng(1).integers(1, 45, (SIZE // 10, SIZE // 10)).astype("u1")
    raster = write_raster(tmp_path / "clc.tif", np.kron(blocks, np.ones((10, 10), "u1")))
    squares = [
        shapely.box(x_m, y_m - 1000, x_m + 1000, y_m)
        for y_m in NORTH_M - 1000 * np.arange(SIZE // 10)
        for x_m in WEST_M + 1000 * np.arange(SIZE // 10)
    ]
    codes = [str(CORINE_BY_GRID_CODE[i].code) for i in blocks.ravel().tolist()]
    geopandas.GeoDataFrame({column: codes}, geometry=squares, crs=3035).to_file(tmp_path / name)
    found, _ = labels(str(tmp_path / name), centre_grid())
    np.testing.assert_array_equal(found, labels(raster, centre_grid())[0])


def test_polygons_of_an_unknown_code_are_ignored_and_counted(tmp_path):
    whole = shapely.box(WEST_M, NORTH_M - 6000, WEST_M + 6000, NORTH_M)
    geopandas.GeoDataFrame({"CODE_18": ["990"]}, geometry=[whole], crs=3035).to_file(tmp_path / "clc.gpkg")
    with CorineVector(tmp_path / "clc.gpkg") as corine:
        assert not corine.labels(centre_grid()).any()
        assert corine.unknown == {990: 1}
        with pytest.raises(PlanError, match=r"at 0.0% of the plan's places"):
            check_coverage(corine, [centre_grid()])


def test_a_vector_file_without_codes_is_refused(tmp_path):
    geopandas.GeoDataFrame({"name": ["x"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=3035).to_file(tmp_path / "x.gpkg")
    with pytest.raises(PlanError, match="columns name; a CORINE vector edition has a CRS and a column CODE_18"):
        open_corine(str(tmp_path / "x.gpkg"))
