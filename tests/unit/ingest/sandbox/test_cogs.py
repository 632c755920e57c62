from pathlib import Path

import numpy as np
import pytest
import rasterio

from catalog.errors import GridError
from ingest.sandbox.cogs import Window, write_sparse_cog

RASTER = {"epsg": 32633, "west_m": 300_000, "north_m": 5_900_040, "width_px": 1830, "height_px": 1830, "gsd_m": 60}


def write(path: Path, *windows: Window, **changes) -> Path:
    options = RASTER | {"windows": windows, "nodata": 0} | changes
    write_sparse_cog(path / "deep" / "raster.tif", **options)
    return path / "deep" / "raster.tif"


def test_windows_come_back_where_they_were_put_and_the_rest_is_nodata(tmp_path):
    rng = np.random.default_rng(1)
    first, second = (rng.integers(1, 9000, shape).astype(np.uint16) for shape in ((100, 700), (1, 1)))
    expected = np.zeros((1830, 1830), np.uint16)
    expected[450:550, 5:705] = first
    expected[1829:, 1829:] = second
    with rasterio.open(write(tmp_path, Window(450, 5, first), Window(1829, 1829, second))) as raster:
        np.testing.assert_array_equal(raster.read(1), expected)


def test_a_later_window_wins(tmp_path):
    low, high = np.full((4, 4), 1, np.uint8), np.full((2, 2), 2, np.uint8)
    with rasterio.open(write(tmp_path, Window(0, 0, low), Window(1, 1, high))) as raster:
        np.testing.assert_array_equal(raster.read(1)[:3, :3], [[1, 1, 1], [1, 2, 2], [1, 2, 2]])


@pytest.mark.parametrize(("dtype", "nodata", "predictor"), [("uint16", 0, "2"), ("float32", -32768.0, "3")])
def test_file_has_the_profile_of_the_real_ones(tmp_path, dtype, nodata, predictor):
    pixels = np.ones((10, 10), dtype)
    path = write(tmp_path, Window(700, 700, pixels), nodata=nodata, tags={"Polarization": "VV"})
    with rasterio.open(path) as raster:
        assert raster.crs.to_epsg() == 32633
        assert raster.transform[:6] == (60, 0, 300_000, 0, -60, 5_900_040)
        assert raster.shape == (1830, 1830)
        assert raster.block_shapes == [(512, 512)]
        assert raster.dtypes == (dtype,)
        assert raster.nodata == nodata
        assert raster.tags(1)["Polarization"] == "VV"
        structure = raster.tags(ns="IMAGE_STRUCTURE")
        assert (structure["LAYOUT"], structure["COMPRESSION"], structure["PREDICTOR"]) == ("COG", "DEFLATE", predictor)
        assert raster.overviews(1) == []
        assert raster.read(1)[0, 0] == nodata
        assert raster.read(1)[700, 700] == 1


def test_full_size_scene_takes_kilobytes_and_leaves_nothing_beside_it(tmp_path):
    pixels = np.ones((64, 64), np.uint16)
    path = write(tmp_path, Window(5000, 5000, pixels), width_px=10_980, height_px=10_980, gsd_m=10)
    assert path.stat().st_size < 20_000
    assert list(path.parent.iterdir()) == [path]


def test_nodata_tag_may_be_missing(tmp_path):
    with rasterio.open(write(tmp_path, Window(0, 0, np.ones((2, 2), np.uint16)), nodata=None)) as raster:
        assert raster.nodata is None
        assert raster.read(1)[5, 5] == 0


@pytest.mark.parametrize(("row", "col"), [(-1, 0), (0, -1), (1821, 0), (0, 1821)])
def test_window_that_leaves_the_raster_is_refused(tmp_path, row, col):
    with pytest.raises(GridError, match="leaves the raster of 1830 x 1830"):
        write(tmp_path, Window(row, col, np.ones((10, 10), np.uint8)))


def test_windows_need_one_dtype(tmp_path):
    with pytest.raises(GridError, match=r"uint16.*uint8"):
        write(tmp_path, Window(0, 0, np.ones((2, 2), np.uint8)), Window(0, 0, np.ones((2, 2), np.uint16)))
    with pytest.raises(GridError, match="at least one window"):
        write(tmp_path)
