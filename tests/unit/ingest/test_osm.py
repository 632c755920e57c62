"""OpenStreetMap: tables, masks and objects of small made maps, against closed forms."""

import json
import logging

import geopandas
import numpy as np
import osmium
import pyarrow.parquet as pq
import pytest
import shapely

from catalog.grid import PatchGrid, cell_at
from catalog.mgrs import transformer
from catalog.osm_classes import OSM_BY_NAME, Theme
from ingest import osm_draw, osm_extract, osm_table
from ingest.errors import PlanError
from ingest.osm import OsmFeatures, extract
from ingest.osm_draw import draw
from ingest.osm_objects import objects_of
from ingest.osm_table import areas_m2, features_table, merge_parts, write_part
from ingest.sandbox.osmdata import OsmBuilder


@pytest.fixture(scope="module")
def grid() -> PatchGrid:
    found = cell_at(32632, *transformer(4326, 32632).transform(8.2, 50.1), 128)
    assert found is not None
    return found


def degrees(grid: PatchGrid, points_px) -> np.ndarray:
    """Longitude and latitude of points given in pixels from the north-west corner."""
    x, y = np.asarray(points_px, float).T
    return np.stack(transformer(grid.epsg, 4326).transform(grid.west_m + x * 10, grid.north_m - y * 10), axis=1)


def square(grid: PatchGrid, west: float, north: float, size: float) -> np.ndarray:
    return degrees(grid, [(west, north), (west + size, north), (west + size, north + size), (west, north + size)])


def features_of(builder: OsmBuilder, folder) -> OsmFeatures:
    builder.write(folder / "map.osm.pbf")
    extract(folder / "map.osm.pbf", folder / "osm")
    return OsmFeatures(folder / "osm")


def pixels(mask: np.ndarray, name: str) -> np.ndarray:
    return mask & np.uint32(OSM_BY_NAME[name].value) > 0


def test_squares_fill_their_pixels_and_classes_overlap(grid, tmp_path):
    builder = OsmBuilder()
    builder.add_ring(square(grid, 10, 20, 30), {"landuse": "residential"})
    builder.add_ring(square(grid, 20, 30, 4), {"building": "yes"})
    mask = features_of(builder, tmp_path).labels(grid)
    expected = np.zeros((128, 128), bool)
    expected[20:50, 10:40] = True
    np.testing.assert_array_equal(pixels(mask, "residential"), expected)
    assert pixels(mask, "building").sum() == 16
    assert (mask[30:34, 20:24] == OSM_BY_NAME["building"].value | OSM_BY_NAME["residential"].value).all()
    assert (mask[~expected] == 0).all()  # unknown, not background


def test_a_lake_keeps_its_island(grid, tmp_path):
    builder = OsmBuilder()
    lake = shapely.Polygon(square(grid, 10, 10, 40), [square(grid, 20, 20, 10)])
    builder.add_polygon(lake, {"natural": "water"})
    water = pixels(features_of(builder, tmp_path).labels(grid), "water")
    assert water.sum() == 40**2 - 10**2
    assert not water[20:30, 20:30].any()


@pytest.mark.parametrize(
    ("tags", "name", "width_px"),
    [
        ({"highway": "motorway"}, "major_road", 2),
        ({"highway": "residential"}, "minor_road", 1),
        ({"railway": "rail"}, "rail", 1),
        ({"waterway": "river"}, "waterway", 2),
        ({"power": "line"}, "power_line", 2),
    ],
)
def test_lines_have_the_width_of_their_class(grid, tmp_path, tags, name, width_px):
    builder = OsmBuilder()
    builder.add_line(degrees(grid, [(-20, 60.4), (150, 60.4)]), tags)
    drawn = pixels(features_of(builder, tmp_path).labels(grid), name)
    assert (drawn.sum(axis=0) == width_px).all()


def test_a_line_outside_is_drawn_as_far_as_it_is_wide(grid, tmp_path):
    builder = OsmBuilder()
    builder.add_line(degrees(grid, [(-0.3, -20), (-0.3, 150)]), {"highway": "motorway"})  # 3 m west of the patch
    drawn = pixels(features_of(builder, tmp_path).labels(grid), "major_road")
    assert drawn[:, 0].all()
    assert not drawn[:, 1:].any()


def test_a_wind_turbine_is_a_disc_of_its_width(grid, tmp_path):
    builder = OsmBuilder()
    builder.add_node(degrees(grid, [(50, 50)])[0], {"power": "generator", "generator:source": "wind"})
    features = features_of(builder, tmp_path)
    y, x = np.mgrid[:128, :128] + 0.5
    np.testing.assert_array_equal(pixels(features.labels(grid), "wind_turbine"), np.hypot(x - 50, y - 50) < 2)
    table = objects_of(features.near(grid), "p", grid)
    box = [table[name][0].as_py() for name in ("x_min", "y_min", "x_max", "y_max")]
    np.testing.assert_allclose(box, [48, 48, 52, 52], atol=1e-3)


def test_what_a_pixel_cannot_show_is_left_out_and_counted(grid, tmp_path):
    builder = OsmBuilder()
    for size_m, column in ((4, 10), (6, 20)):  # 16 and 36 m2; the limit of a building is 25
        builder.add_ring(square(grid, column, 10, size_m / 10), {"building": "yes"})
    builder.write(tmp_path / "map.osm.pbf")
    found = extract(tmp_path / "map.osm.pbf", tmp_path / "osm")
    assert (found.features["building"], found.too_small["building"]) == (1, 1)


def test_a_closed_road_is_a_line_and_an_airfield_an_area(grid, tmp_path):
    builder = OsmBuilder()
    builder.add_ring(square(grid, 10, 10, 20), {"highway": "residential"})
    builder.add_ring(square(grid, 60, 60, 20), {"aeroway": "aerodrome"})
    mask = features_of(builder, tmp_path).labels(grid)
    assert not pixels(mask, "minor_road")[15:25, 15:25].any()
    assert pixels(mask, "minor_road").any()
    assert pixels(mask, "airfield").sum() == 400


def test_objects_have_box_class_area_and_the_share_that_is_seen(grid, tmp_path):
    builder = OsmBuilder()
    builder.add_ring(square(grid, -10, 20, 20), {"landuse": "quarry"})  # half outside
    builder.add_ring(square(grid, 60, 70, 5), {"building": "yes"})
    builder.add_line(degrees(grid, [(0, 0), (100, 100)]), {"highway": "primary"})
    features = features_of(builder, tmp_path)
    rows = objects_of(features.near(grid), "cell-1", grid).to_pylist()
    assert [row["class"] for row in rows] == ["building", "quarry"]
    quarry = rows[1]
    np.testing.assert_allclose([quarry[k] for k in ("x_min", "y_min", "x_max", "y_max")], [0, 20, 10, 40], atol=1e-2)
    np.testing.assert_allclose(quarry["area_m2"], 100 * 200, rtol=1e-3)
    np.testing.assert_allclose(quarry["seen_share"], 0.5, rtol=1e-3)
    shape = shapely.from_wkb(quarry["geometry"])
    assert shape.within(grid.footprint().buffer(1e-6))


def test_relations_with_missing_members_are_counted_and_do_not_stop_the_rest(grid, tmp_path, caplog):
    path = tmp_path / "broken.osm.pbf"
    mutable = osmium.osm.mutable
    with osmium.SimpleWriter(str(path)) as writer:
        for number, corner in enumerate(square(grid, 10, 10, 20), start=1):
            writer.add_node(mutable.Node(id=number, version=1, location=tuple(corner), tags={}))
        writer.add_way(mutable.Way(id=1, version=1, nodes=[1, 2, 3, 4, 1], tags={"landuse": "forest"}))
        writer.add_way(mutable.Way(id=2, version=1, nodes=[1, 2, 99], tags={"highway": "primary"}))  # 99 is cut off
        writer.add_way(mutable.Way(id=3, version=1, nodes=[98, 1, 99], tags={"highway": "primary"}))
        members = [("w", 77, "outer")]
        tags = {"type": "multipolygon", "natural": "water"}
        writer.add_relation(mutable.Relation(id=5, version=1, members=members, tags=tags))
        open_ring = [("w", 2, "outer")]
        writer.add_relation(mutable.Relation(id=6, version=1, members=open_ring, tags=tags))
    with caplog.at_level(logging.WARNING):
        found = extract(path, tmp_path / "osm")
    assert found.broken == {"relation": [5, 6], "way": [3]}
    assert found.features == {"forest": 1, "major_road": 1}  # the known part of way 2
    assert "2 relations without a usable geometry" in caplog.text


def test_an_unreadable_or_absent_extract_is_an_error_with_a_cure(tmp_path):
    (tmp_path / "page.osm.pbf").write_text("<html>please accept the terms</html>")
    with pytest.raises(PlanError, match=r"page.osm.pbf is not a readable .osm.pbf file.*download it again"):
        extract(tmp_path / "page.osm.pbf", tmp_path / "osm")
    with pytest.raises(PlanError, match="there is no OpenStreetMap extract"):
        extract(tmp_path / "absent.osm.pbf", tmp_path / "osm")


def test_a_truncated_extract_is_an_error(shared_data, tmp_path):
    whole = (shared_data / "osm_pbf" / "Helsinki.osm.pbf").read_bytes()
    (tmp_path / "half.osm.pbf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PlanError, match=r"not a readable \.osm\.pbf file"):
        extract(tmp_path / "half.osm.pbf", tmp_path / "osm")


def test_what_is_done_is_not_done_again_and_a_stopped_merge_goes_on(grid, tmp_path, monkeypatch):
    builder = OsmBuilder()
    builder.add_ring(square(grid, 10, 10, 20), {"landuse": "forest"})
    builder.write(tmp_path / "map.osm.pbf")
    calls = []

    def stop(parts, out):
        calls.append(out.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return merge_parts(parts, out)

    monkeypatch.setattr(osm_extract, "merge_parts", stop)
    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path / "map.osm.pbf", tmp_path / "osm")
    monkeypatch.setattr(osm_extract, "_features", None)  # the pass must not run again
    found = extract(tmp_path / "map.osm.pbf", tmp_path / "osm")
    assert len(calls) == len(Theme.__args__) + 1
    assert extract(tmp_path / "map.osm.pbf", tmp_path / "osm") == found
    assert found.features == {"forest": 1}
    assert not (tmp_path / "osm" / "parts").exists()


@pytest.mark.parametrize("stopped_in", ["reading", "the mark"])
def test_a_pass_that_was_killed_starts_again_and_leaves_nothing_behind(grid, tmp_path, monkeypatch, stopped_in):
    builder = OsmBuilder()
    for i in range(5):
        builder.add_ring(square(grid, 10, 10 * i, 8), {"landuse": "forest"})
    builder.write(tmp_path / "map.osm.pbf")
    whole = extract(tmp_path / "map.osm.pbf", tmp_path / "whole")
    monkeypatch.setattr(osm_extract, "BATCH_FEATURES", 2)

    def killed(*_):
        raise KeyboardInterrupt

    write = osm_extract._write_batch
    with monkeypatch.context() as patch:
        if stopped_in == "reading":
            patch.setattr(osm_extract, "_write_batch", lambda *given: killed() if given[2] == 1 else write(*given))
        else:
            patch.setattr("pathlib.Path.rename", killed)
        with pytest.raises(KeyboardInterrupt):
            extract(tmp_path / "map.osm.pbf", tmp_path / "osm")
    left = tmp_path / "osm" / "parts"
    assert list(left.iterdir())
    assert not (left / "pass.json").exists()
    (left / "forest-000099.arrow").write_bytes(b"half a batch")
    assert extract(tmp_path / "map.osm.pbf", tmp_path / "osm") == whole
    names = {path.relative_to(tmp_path / "osm").as_posix() for path in (tmp_path / "osm").rglob("*")}
    assert names == {path.relative_to(tmp_path / "whole").as_posix() for path in (tmp_path / "whole").rglob("*")}
    for theme in Theme.__args__:
        tables = [pq.read_table(tmp_path / folder / f"{theme}.parquet") for folder in ("osm", "whole")]
        assert tables[0].equals(tables[1])


def test_another_extract_replaces_what_an_earlier_one_left(grid, tmp_path):
    for corner in (10, 60):
        builder = OsmBuilder()
        for i in range(corner):
            builder.add_ring(square(grid, i, corner, 20), {"landuse": "forest"})
        builder.write(tmp_path / "map.osm.pbf")
        assert extract(tmp_path / "map.osm.pbf", tmp_path / "osm").features["forest"] == corner


def test_merged_tables_are_sorted_complete_and_read_by_others(tmp_path, monkeypatch):
    """Many batches, stretches of few rows: nothing is lost at any seam."""
    monkeypatch.setattr(osm_table, "_STRETCH_ROWS", 7)
    rng = np.random.default_rng(0)
    parts = []
    for number in range(5):
        points = shapely.points(rng.uniform((8, 50), (9, 51), (40, 2)))
        ids = np.arange(40) + 40 * number
        parts.append(tmp_path / f"x-{number}.arrow")
        write_part(features_table(["node"] * 40, ids.tolist(), np.full(40, 8, "u4"), points), parts[-1])
    assert merge_parts(parts, tmp_path / "x.parquet") == 200
    table = pq.read_table(tmp_path / "x.parquet")
    assert sorted(table["osm_id"].to_pylist()) == list(range(200))
    assert np.all(np.diff(table["cell"].to_numpy()) >= 0)
    frame = geopandas.read_parquet(tmp_path / "x.parquet", bbox=(8, 50, 8.5, 51))
    assert frame.crs == "OGC:CRS84"
    assert len(frame) == int((shapely.get_x(shapely.from_wkb(table["geometry"].to_numpy())) <= 8.5).sum())


def test_areas_equal_those_of_the_ellipsoid():
    from pyproj import Geod

    boxes = np.array([shapely.box(8, lat, 8.02, lat + 0.01) for lat in (-35.0, 0.0, 50.0, 70.0)])
    truth = [abs(Geod(ellps="WGS84").geometry_area_perimeter(box)[0]) for box in boxes]
    np.testing.assert_allclose(areas_m2(boxes), truth, rtol=1e-4)


def test_drawing_equals_distances_pixel_by_pixel(grid):
    """Every kind of geometry, against the distance of each pixel's centre."""
    rng = np.random.default_rng(3)
    west, south, east, north = grid.bounds_m
    ends = rng.uniform((west, south), (east, north), (12, 2, 2))
    lines = np.array([shapely.LineString(pair) for pair in ends])
    x, y = np.meshgrid(*grid.centres_m(10))
    centres = shapely.points(x.ravel(), y.ravel())
    near = np.zeros(centres.shape)
    for line in lines:
        near = np.maximum(near, 10.0 - shapely.distance(line, centres))
    drawn = pixels(draw(np.full(12, OSM_BY_NAME["major_road"].value, "u4"), lines, grid), "major_road").ravel()
    clear = np.abs(near) > osm_draw._SAGITTA_M  # the drawn ends are polygons, so much short of the circle
    np.testing.assert_array_equal(drawn[clear], near[clear] > 0)


def test_nothing_near_gives_nothing(grid, tmp_path):
    builder = OsmBuilder()
    builder.add_ring(square(grid, 1000, 1000, 20), {"landuse": "forest"})
    features = features_of(builder, tmp_path)
    assert not features.labels(grid).any()
    assert objects_of(features.near(grid), "p", grid).num_rows == 0
    assert json.loads((tmp_path / "osm" / "extract.json").read_text())["features"] == {"forest": 1}
