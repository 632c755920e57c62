"""OpenStreetMap extracts: what is written is what pyosmium reads."""

from collections import Counter

import numpy as np
import osmium
import pytest
import shapely

from catalog.osm_classes import names_of, osm_bits
from ingest.sandbox.earth import ground
from ingest.sandbox.landcover import Cover
from ingest.sandbox.noise import Frame
from ingest.sandbox.osmdata import OsmBuilder, add_region
from ingest.sandbox.settlements import works


@pytest.fixture(scope="module")
def region():
    """A window with a town in the simulated Rhineland."""
    from catalog.mgrs import tile_origin

    epsg, west_m, north_m = tile_origin("32UMA")
    frame = Frame(epsg, west_m + 33_500, north_m - 25_600, 300, 300)
    built = works(frame, 0)
    return frame, ground(frame, 0, built), built


def read(path) -> list:
    factory = osmium.geom.WKBFactory()
    found = []
    for thing in osmium.FileProcessor(str(path)).with_areas():
        tags = {tag.k: tag.v for tag in thing.tags}
        if thing.is_area():
            found.append(("area", tags, shapely.from_wkb(factory.create_multipolygon(thing))))
        elif thing.is_way():
            found.append(("way", tags, [node.ref for node in thing.nodes]))
        elif thing.is_node():
            found.append(("node", tags, (thing.location.lon, thing.location.lat)))
    return found


def test_points_lines_and_lakes_with_islands_survive(tmp_path):
    builder = OsmBuilder()
    lake = shapely.Polygon(
        [(8.0, 50.0), (8.1, 50.0), (8.1, 50.1), (8.0, 50.1)], [[(8.04, 50.04), (8.06, 50.04), (8.05, 50.06)]]
    )
    builder.add_node(np.array([8.2, 50.2]), {"power": "tower"})
    builder.add_line(np.array([[8.0, 50.0], [8.5, 50.5]]), {"highway": "primary"})
    builder.add_polygon(lake, {"natural": "water"})
    builder.write(tmp_path / "x.osm.pbf")
    found = read(tmp_path / "x.osm.pbf")
    (shore,) = [geometry for kind, _, geometry in found if kind == "area"]
    assert shapely.equals_exact(shapely.normalize(shore.geoms[0]), shapely.normalize(lake), 1e-7)
    assert ("node", {"power": "tower"}, (8.2, 50.2)) in found
    assert [nodes for kind, tags, nodes in found if tags.get("highway") == "primary"] == [[2, 3]]
    assert builder.counts == {"nodes": 1 + 2 + 4 + 3, "ways": 3, "relations": 1}


def test_a_region_reads_back_with_the_counts_it_was_built_with(region, tmp_path):
    frame, made, built = region
    builder = OsmBuilder()
    add_region(builder, frame, made, built)
    builder.write(tmp_path / "region.osm.pbf")
    found = read(tmp_path / "region.osm.pbf")
    kinds = Counter(kind for kind, _, _ in found)
    assert kinds["node"] == builder.counts["nodes"]
    assert kinds["way"] == builder.counts["ways"]
    geometries = {"node": "point", "way": "line", "area": "area"}
    classes = {name for kind, tags, _ in found for name in names_of(osm_bits(tags, geometries[kind]))}
    assert {"building", "minor_road", "forest", "farmland", "meadow", "residential"} <= classes


def test_houses_on_the_map_stand_where_pixels_have_roofs(region, tmp_path):
    frame, made, built = region
    builder = OsmBuilder()
    add_region(builder, frame, made, built)
    builder.write(tmp_path / "region.osm.pbf")
    from catalog.mgrs import transformer

    houses = [
        shape.centroid
        for kind, tags, shape in read(tmp_path / "region.osm.pbf")
        if kind == "area" and "building" in tags
    ]
    x_m, y_m = transformer(4326, frame.epsg).transform([p.x for p in houses], [p.y for p in houses])
    column = ((np.array(x_m) - frame.west_m) / 10).astype(int)
    row = ((frame.north_m - np.array(y_m)) / 10).astype(int)
    assert len(houses) > 100
    assert (made.house.astype(int) + made.hall)[row, column].min() > 0
    assert not (made.cover[row, column] == Cover.WATER).any()
    inside = (built.houses.x_m > frame.west_m) & (built.houses.x_m < frame.bounds_m[2])
    inside &= (built.houses.y_m > frame.bounds_m[1]) & (built.houses.y_m < frame.north_m)
    expected = 0.93 * inside.sum()  # the share that is mapped; binomial
    assert abs(len(houses) - expected) < 5 * np.sqrt(expected * 0.07) + np.count_nonzero(built.halls.name)
