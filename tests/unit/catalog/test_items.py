"""Items against the STAC schemas, the geometry rules of GeoJSON, and what their patch says."""

import dataclasses
import json
from typing import Any

import numpy as np
import pystac
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st

from catalog.assets import EXTENSIONS
from catalog.collections import CorpusRecord
from catalog.fake import fake_patch
from catalog.grid import PatchGrid, cell_at
from catalog.items import build_item, geometry_of, rebase
from catalog.labels import OSM_BY_NAME
from catalog.mgrs import transformer, utm_epsg
from catalog.patch import Patch
from catalog.stats import BandStatistics

RECORD = CorpusRecord("labelled", "DeepSentinel labelled patches", 64, "0.1.0", "1.0")
BERLIN = PatchGrid(32633, 389_600, 5_820_680, 64)


def item_of(patch: Patch, shard: int = 3, row: int = 7) -> dict[str, Any]:
    return build_item(patch.provenance, RECORD, shard, row, BandStatistics.of(patch))


def test_an_item_says_what_its_patch_says():
    patch = fake_patch(BERLIN, 1)
    quality = dataclasses.replace(patch.provenance.quality, cloud_share=0.125, s1_valid_share=0.5)
    patch = dataclasses.replace(patch, provenance=dataclasses.replace(patch.provenance, quality=quality))
    item = item_of(patch)
    found = item["properties"]
    assert item["id"] == patch.patch_id
    assert (found["datetime"], found["start_datetime"], found["end_datetime"]) == (
        "2021-01-02T10:20:31Z", "2021-01-02T05:30:00Z", "2021-01-02T10:20:31Z",
    )  # fmt: skip
    assert found["deepsentinel:gap_hours"] == pytest.approx(-(4 + 50 / 60 + 31 / 3600), abs=1e-4)
    assert (found["platform"], found["deepsentinel:s1_platform"]) == ("sentinel-2a", "sentinel-1a")
    assert (found["sat:orbit_state"], found["deepsentinel:s1_orbit_state"]) == ("descending", "ascending")
    assert (found["sat:relative_orbit"], found["deepsentinel:s1_relative_orbit"]) == (65, 44)
    assert (found["eo:cloud_cover"], found["deepsentinel:s1_valid_share"]) == (12.5, 0.5)
    assert (found["deepsentinel:shard"], found["deepsentinel:index"]) == (3, 7)
    assert found["proj:bbox"] == [389_600, 5_820_040, 390_240, 5_820_680]
    assert found["grid:code"] == f"MGRS-{BERLIN.tile}"


def test_sources_are_linked_by_their_own_address_and_left_out_without_one():
    patch = fake_patch(BERLIN, 5)
    assert [link["href"] for link in item_of(patch)["links"] if link["rel"] == "derived_from"] == [
        "https://example.org/sentinel-2-l2a/5", "https://example.org/sentinel-1-rtc/5",
    ]  # fmt: skip
    s1 = {**patch.provenance.s1, "item_href": None}
    lone = dataclasses.replace(patch, provenance=dataclasses.replace(patch.provenance, s1=s1))
    assert len([link for link in item_of(lone)["links"] if link["rel"] == "derived_from"]) == 1


def test_an_unknown_orbit_is_left_out_with_its_extension():
    patch = fake_patch(BERLIN, 5)
    s2 = {**patch.provenance.s2, "orbit_state": None, "relative_orbit": None}
    item = item_of(dataclasses.replace(patch, provenance=dataclasses.replace(patch.provenance, s2=s2)))
    assert not any(name.startswith("sat:") for name in item["properties"])
    assert EXTENSIONS["sat"] not in item["stac_extensions"]


def test_labels_become_classes_and_a_majority():
    corine = np.full((64, 64), 24, np.uint8)  # 312
    corine[:16], corine[16:48] = 0, 12  # unknown, 211
    osm = np.full((64, 64), 1 << OSM_BY_NAME["forest"].bit, np.uint32)
    osm[0] |= 1 << OSM_BY_NAME["building"].bit
    found = item_of(dataclasses.replace(fake_patch(BERLIN, 1), labels={"corine": corine, "osm": osm}))["properties"]
    assert found["deepsentinel:corine_classes"] == [211, 312]
    assert found["deepsentinel:corine_majority"] == 211
    assert found["deepsentinel:corine_known_share"] == 0.75
    assert found["deepsentinel:osm_classes"] == ["building", "forest"]
    bare = item_of(fake_patch(BERLIN, 1, labels=False))["properties"]
    assert not any("corine" in name or "osm" in name for name in bare)


def test_equal_patches_give_equal_bytes():
    first, second = (json.dumps(item_of(fake_patch(BERLIN, 2))) for _ in range(2))
    assert first == second


FIJI = cell_at(32701, *transformer(4326, 32701).transform(-179.999, -16.5))


def test_a_patch_across_the_antimeridian_is_cut_there():
    assert FIJI is not None
    geometry, (west, _south, east, _north) = geometry_of(FIJI)
    assert geometry["type"] == "MultiPolygon"
    assert 179.9 < west < 180
    assert -180 < east < -179.9
    parts = list(shapely.geometry.shape(geometry).geoms)
    assert sorted(part.bounds[0] < 0 for part in parts) == [False, True]
    assert {-180.0, 180.0} <= {lon for part in parts for lon, _ in part.exterior.coords}
    np.testing.assert_allclose(sum(part.area for part in parts), FIJI.footprint().area, rtol=1e-4)


@example(lon=179.999, lat=-16.5)
@example(lon=-180.0, lat=68.0)
@example(lon=179.9999, lat=83.0)
@given(lon=st.floats(-180, 180, exclude_max=True), lat=st.floats(-79.5, 83.5))
def test_any_geometry_lies_in_range_is_valid_and_holds_its_grid(lon: float, lat: float):
    epsg = int(utm_epsg(lon, lat))
    grid = cell_at(epsg, *transformer(4326, epsg).transform(lon, lat))
    if grid is None:  # the strip between the cells of two tiles
        return
    geometry, (west, south, east, north) = geometry_of(grid)
    shape = shapely.geometry.shape(geometry)
    assert shape.is_valid
    parts = shape.geoms if shape.geom_type == "MultiPolygon" else [shape]
    assert all(part.exterior.is_ccw for part in parts)
    assert shape.bounds[0] >= -180
    assert shape.bounds[2] <= 180
    assert (west > east) == (shape.geom_type == "MultiPolygon")
    assert south - 1e-4 <= lat <= north + 1e-4
    assert shapely.distance(shape, shapely.Point(lon, lat)) < 1e-4


def test_rebase_turns_hrefs_to_the_folder_above():
    item = rebase(item_of(fake_patch(BERLIN, 1)), "shard-000003")
    hrefs = {link["rel"]: link["href"] for link in item["links"]}
    assert hrefs["root"] == "../catalog.json"
    assert hrefs["collection"] == "./collection.json"
    assert hrefs["parent"] == "./shard-000003/catalog.json"
    assert hrefs["derived_from"].startswith("https://")
    assert item["assets"]["data"]["href"] == "./shards/000003.zarr"
    assert item["assets"]["thumbnail"]["href"].startswith("./previews/000003/")


def _valid_items() -> dict[str, dict[str, Any]]:
    assert FIJI is not None
    return {
        "labelled": item_of(fake_patch(BERLIN, 1)),
        "unlabelled": item_of(fake_patch(BERLIN, 2, labels=False)),
        "antimeridian": item_of(fake_patch(FIJI, 3)),
    }


@pytest.mark.parametrize("kind", ["labelled", "unlabelled", "antimeridian"])
def test_items_fit_the_core_and_every_extension_schema(validate_offline, kind: str):
    item = _valid_items()[kind]
    validate_offline(item)
    assert pystac.Item.from_dict(item).ext.has("proj")


def test_every_named_extension_is_used_and_every_prefix_is_named():
    prefixes = {"proj": "projection", "cube": "datacube"}
    item = item_of(fake_patch(BERLIN, 1))
    described = [*item["assets"].values(), *item["assets"]["data"]["bands"]]
    keys = [*item["properties"], *(key for entry in described for key in entry)]
    used = {prefixes.get(key.split(":")[0], key.split(":")[0]) for key in keys if ":" in key} - {"deepsentinel"}
    assert {EXTENSIONS[name] for name in used | {"version"}} == set(item["stac_extensions"])


def test_the_schemas_do_refuse_a_wrong_item(validate_offline):
    item = item_of(fake_patch(BERLIN, 1))
    item["properties"]["sat:orbit_state"] = "sideways"
    with pytest.raises(pystac.STACValidationError, match="sideways"):
        validate_offline(item)


def test_ids_suit_every_tool():
    assert set(item_of(fake_patch(BERLIN, 1))["id"]) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
