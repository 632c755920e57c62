"""A real extract of central Helsinki: every tagged element becomes a feature, or is counted among those left out."""

from collections import Counter

import numpy as np
import osmium
import pyarrow.parquet as pq
import pytest
import shapely

from catalog.grid import PatchGrid, cell_at
from catalog.mgrs import transformer
from catalog.osm_classes import OSM, OSM_BY_NAME
from ingest.osm import OsmFeatures, extract
from ingest.osm_objects import objects_of


@pytest.fixture(scope="module")
def pbf(shared_data):
    return shared_data / "osm_pbf" / "Helsinki.osm.pbf"


@pytest.fixture(scope="module")
def folder(pbf, tmp_path_factory):
    return tmp_path_factory.mktemp("helsinki") / "osm"


@pytest.fixture(scope="module")
def extraction(pbf, folder):
    return extract(pbf, folder)


def tagged(pbf) -> dict[str, list[tuple[str, int, dict[str, str], bool]]]:
    """Every tagged element with its kind, read without areas, locations or filters."""
    found: dict[str, list[tuple[str, int, dict[str, str], bool]]] = {"node": [], "way": [], "relation": []}
    for thing in osmium.FileProcessor(str(pbf)):
        kind = "node" if thing.is_node() else "way" if thing.is_way() else "relation"
        closed = thing.is_way() and len(thing.nodes) > 3 and thing.nodes[0].ref == thing.nodes[-1].ref
        tags = {tag.k: tag.v for tag in thing.tags}
        if tags:
            found[kind].append((kind, thing.id, tags, closed))
    return found


def has_class(name: str, tags: dict[str, str]) -> bool:
    rules = OSM_BY_NAME[name].tags
    return any(tags[key] in values if values else tags[key] != "no" for key, values in rules.items() if key in tags)


def test_counts_by_class_equal_an_independent_count_of_tags(pbf, extraction):
    """Kept, too small or broken: closed ways and multipolygons of area classes, ways of lines, nodes of points."""
    elements = tagged(pbf)
    broken = {kind: set(ids) for kind, ids in extraction.broken.items()}
    for osm in OSM:
        expected = Counter[str]()
        for kind, number, tags, closed in (*elements["node"], *elements["way"], *elements["relation"]):
            if not has_class(osm.name, tags) or number in broken.get(kind, ()):
                continue
            is_area = (kind == "way" and closed and tags.get("area") != "no") or (
                kind == "relation" and tags.get("type") in ("multipolygon", "boundary")
            )
            if "area" in osm.kinds and is_area:
                expected["area"] += 1
            elif "line" in osm.kinds and kind == "way":
                expected["line"] += 1
            elif "point" in osm.kinds and kind == "node":
                expected["point"] += 1
        assert extraction.features[osm.name] + extraction.too_small[osm.name] == expected.total(), osm.name
    assert extraction.features["building"] > 400
    assert extraction.broken.keys() == {"way", "relation"}


def test_what_is_reported_as_broken_is_broken(pbf, extraction):
    """Each relation lacks a member way in the extract, or has one that lacks nodes; each way lacks nodes."""
    ways, nodes = {}, set()
    members = {}
    for thing in osmium.FileProcessor(str(pbf)):
        if thing.is_node():
            nodes.add(thing.id)
        elif thing.is_way():
            ways[thing.id] = [node.ref for node in thing.nodes]
        elif thing.id in extraction.broken["relation"]:
            members[thing.id] = [member.ref for member in thing.members if member.type == "w"]
    assert len(members) == len(extraction.broken["relation"]) > 0
    assert len(extraction.broken["way"]) > 0
    for number in extraction.broken["way"]:
        assert not nodes.issuperset(ways[number]), number
    for number, refs in members.items():
        cut = [ref for ref in refs if ref not in ways or not nodes.issuperset(ways[ref])]
        assert cut, number


def test_multipolygons_keep_their_holes(pbf, folder, extraction):
    """The features with holes, and the area of the holes, are those that pyosmium's own areas have."""
    table = pq.read_table(folder / "buildings.parquet")
    shapes = shapely.from_wkb(table["geometry"].to_numpy())
    stored = {
        number: sum(len(part.interiors) for part in shapely.get_parts(shape))
        for number, kind, shape in zip(table["osm_id"].to_pylist(), table["osm_type"].to_pylist(), shapes, strict=True)
        if kind == "relation"
    }
    expected = {
        thing.orig_id(): thing.num_rings()[1]
        for thing in osmium.FileProcessor(str(pbf)).with_areas()
        if thing.is_area() and not thing.from_way() and thing.orig_id() in stored
    }
    assert stored == expected
    assert sum(stored.values()) > 50


@pytest.fixture(scope="module")
def grid() -> PatchGrid:
    found = cell_at(32635, *transformer(4326, 32635).transform(24.944, 60.172), 128)
    assert found is not None
    return found


def test_courtyards_are_not_roof(folder, extraction, grid):
    """Every pixel whose centre lies in a hole of a building, and in no other building, is no building."""
    features = OsmFeatures(folder)
    near = features.near(grid)
    building = np.uint32(OSM_BY_NAME["building"].value)
    shapes = near.shapes[near.bits & building > 0]
    holes = [shapely.Polygon(ring) for part in shapely.get_parts(shapes) for ring in part.interiors]
    x_m, y_m = np.meshgrid(*grid.centres_m(10))
    centres = shapely.points(x_m, y_m)
    yard = shapely.contains(shapely.union_all(holes), centres) & ~shapely.contains(shapely.union_all(shapes), centres)
    assert yard.sum() > 50
    assert not (features.labels(grid) & building)[yard].any()


def test_masks_and_objects_tell_the_same_area(folder, extraction, grid):
    """Area of buildings: pixels of the mask against the union of the objects' outlines, 2 % of sampling noise."""
    features = OsmFeatures(folder)
    mask = features.labels(grid) & np.uint32(OSM_BY_NAME["building"].value) > 0
    table = objects_of(features.near(grid), "p", grid)
    rows = [row for row in table.to_pylist() if row["class"] == "building"]
    near = features.near(grid)
    union = shapely.union_all(near.shapes[near.bits & 1 > 0]) & shapely.box(*grid.bounds_m)
    assert len(rows) > 150
    np.testing.assert_allclose(mask.sum() * 100, union.area, rtol=0.02)
    assert all(0 <= row["x_min"] < row["x_max"] <= 128 for row in rows)
