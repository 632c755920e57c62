"""CORINE of the Aachen region on UTM patches, against GDAL's own warp."""

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.warp import Resampling, reproject

from catalog.grid import PatchGrid, cell_at
from catalog.labels import CORINE_BY_GRID_CODE
from catalog.mgrs import transformer
from ingest.corine import open_corine

PLACES = {"Aachen": (6.08, 50.77), "Eifel": (6.4, 50.55), "Düren": (6.48, 50.80), "Liège": (5.70, 50.63)}


@pytest.fixture(scope="module", params=PLACES)
def grid(request) -> PatchGrid:
    lon, lat = PLACES[request.param]
    epsg = 32632 if lon >= 6 else 32631
    found = cell_at(epsg, *transformer(4326, epsg).transform(lon, lat))
    assert found is not None
    return found


def warp(path, grid: PatchGrid) -> np.ndarray:
    """Nearest neighbour by GDAL, with exact coordinates (tolerance 0) at every pixel."""
    out = np.zeros((grid.side_px, grid.side_px), "u1")
    with rasterio.open(path) as image:
        reproject(
            rasterio.band(image, 1), out, dst_transform=rasterio.Affine(*grid.transform), tolerance=0,
            dst_crs=CRS.from_epsg(grid.epsg), resampling=Resampling.nearest,
        )  # fmt: skip
    return out


def on_an_edge(path, grid: PatchGrid) -> np.ndarray:
    """Pixels whose centre lies within 1 mm of the edge of two cells: which one holds it is a matter of rounding."""
    with rasterio.open(path) as image:
        west_m, north_m = image.transform.c, image.transform.f
    x_m, y_m = transformer(grid.epsg, 3035).transform(*np.meshgrid(*grid.centres_m(10)))
    offsets_m = np.stack([(x_m - west_m) % 100, (north_m - y_m) % 100])
    return (np.minimum(offsets_m, 100 - offsets_m) < 1e-3).any(axis=0)


@pytest.mark.parametrize("name", ["clc-aachen_clipped.tif", "clippedCLC.tif"])
def test_labels_equal_gdals_warp_pixel_for_pixel(shared_data, grid, name):
    path = shared_data / "clc_osm_aachen" / name
    with open_corine(str(path)) as corine:
        found = corine.labels(grid)
    tied = on_an_edge(path, grid)
    np.testing.assert_array_equal(np.where(tied, 0, found), np.where(tied, 0, warp(path, grid)))
    assert tied.sum() < 10
    if name == "clc-aachen_clipped.tif":
        assert (found > 0).all()
        assert len(np.unique(found)) > 3


def test_both_codings_give_the_same_labels(shared_data, grid, tmp_path):
    path = shared_data / "clc_osm_aachen" / "clc-aachen_clipped.tif"
    with rasterio.open(path) as image:
        codes = np.array([999, *(CORINE_BY_GRID_CODE[i].code for i in range(1, 45))], "i2")[image.read(1)]
        profile = {**image.profile, "dtype": "int16", "nodata": 999}
    with rasterio.open(tmp_path / "codes.tif", "w", **profile) as image:
        image.write(codes, 1)
    with open_corine(str(path)) as by_grid_code, open_corine(str(tmp_path / "codes.tif")) as by_code:
        assert by_grid_code.coding != by_code.coding
        np.testing.assert_array_equal(by_code.labels(grid), by_grid_code.labels(grid))
