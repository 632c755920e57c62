"""Roads and buildings of Aachen as drawn on patches, against rasterisations that share no code with them."""

import itertools

import geopandas
import numpy as np
import pytest
import shapely

from catalog.grid import PatchGrid, cell_at
from catalog.osm_classes import OSM_BY_NAME, osm_bits
from ingest.osm import OsmFeatures
from ingest.osm_table import features_table, merge_parts, write_part

HALF_WIDTH_M = {"major_road": 10.0, "minor_road": 5.0}


@pytest.fixture(scope="module")
def grid() -> PatchGrid:
    """The town of Aachen: the cell with the most roads."""
    found = cell_at(32632, 295_000, 5_630_000)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def built_grid() -> PatchGrid:
    """East of the town: the cell with the most buildings, 1,299 of them."""
    found = cell_at(32632, 303_000, 5_630_000)
    assert found is not None
    return found


def read(shared_data, name: str) -> geopandas.GeoDataFrame:
    return geopandas.read_file(shared_data / "clc_osm_aachen" / name)


@pytest.fixture(scope="module")
def features(shared_data, tmp_path_factory) -> OsmFeatures:
    """The two shapefiles as the tables that an extract gives."""
    folder = tmp_path_factory.mktemp("osm")
    layers = {
        "transport": (read(shared_data, "aachenRoads.shp"), lambda kind: osm_bits({"highway": kind or ""}, "line")),
        "buildings": (read(shared_data, "aachen_buildings.shp"), lambda kind: osm_bits({"building": "yes"}, "area")),
    }
    for theme in ("buildings", "transport", "water", "landcover", "landuse", "energy"):
        parts = []
        if theme in layers:
            frame, bits_of = layers[theme]
            bits = np.array([bits_of(kind) for kind in frame["type"]], "u4")
            kept = np.flatnonzero(bits)
            ids = kept.tolist()
            table = features_table(["way"] * len(ids), ids, bits[kept], frame.geometry.to_numpy()[kept])
            parts.append(folder / f"{theme}.arrow")
            write_part(table, parts[0])
        merge_parts(parts, folder / f"{theme}.parquet")
    return OsmFeatures(folder)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def in_zone(frame: geopandas.GeoDataFrame, grid: PatchGrid) -> geopandas.GeoDataFrame:
    west, south, east, north = grid.bounds_m
    return frame.to_crs(grid.epsg).cx[west - 50 : east + 50, south - 50 : north + 50]


def test_roads_are_the_pixels_near_a_road(shared_data, grid, features):
    """Reference: the distance from every pixel's centre to the nearest road, without any drawing."""
    roads = in_zone(read(shared_data, "aachenRoads.shp"), grid)
    x_m, y_m = np.meshgrid(*grid.centres_m(10))
    centres = shapely.points(x_m.ravel(), y_m.ravel())
    mask = features.labels(grid)
    for name, half_m in HALF_WIDTH_M.items():
        kinds = OSM_BY_NAME[name].tags["highway"]
        near = np.zeros(centres.shape, bool)
        lines = roads[roads["type"].isin(kinds)].geometry.to_numpy()
        hits = shapely.STRtree(lines).query(centres, predicate="dwithin", distance=half_m)[0]
        near[hits] = True
        drawn = (mask & np.uint32(OSM_BY_NAME[name].value) > 0).ravel()
        assert near.sum() > 500, name
        assert iou(drawn, near) >= 0.98, name


def test_buildings_are_the_pixels_whose_centre_is_inside(shared_data, built_grid, features):
    """Reference: even-odd counting of edges crossed on the way from each centre to the east, in numpy."""
    buildings = in_zone(read(shared_data, "aachen_buildings.shp"), built_grid)
    x_m, y_m = np.meshgrid(*built_grid.centres_m(10))
    inside = np.zeros(x_m.shape, bool)
    for polygon in buildings.explode().geometry:
        if polygon.area >= OSM_BY_NAME["building"].min_area_m2:
            inside |= _even_odd(polygon, x_m, y_m)
    drawn = features.labels(built_grid) & np.uint32(OSM_BY_NAME["building"].value) > 0
    assert inside.sum() > 500
    assert iou(drawn, inside) >= 0.98


def _even_odd(polygon: shapely.Polygon, x_m: np.ndarray, y_m: np.ndarray) -> np.ndarray:
    west, south, east, north = polygon.bounds
    near = (x_m > west) & (x_m < east) & (y_m > south) & (y_m < north)
    odd = np.zeros(x_m.shape, bool)
    for ring in (polygon.exterior, *polygon.interiors):
        points = np.asarray(ring.coords)[:, :2]
        for (x0, y0), (x1, y1) in itertools.pairwise(points.tolist()):
            if y0 != y1:
                crosses = (y0 > y_m) != (y1 > y_m)
                odd ^= near & crosses & (x_m < x0 + (y_m - y0) / (y1 - y0) * (x1 - x0))
    return odd
