"""Recorded items of both providers become scenes; the collection with the unsure offset does not."""

import json

import pytest

from catalog.bands import S2
from ingest.errors import PlanError, SourceError
from ingest.radiometry import boa_add_offset
from ingest.scene_index import strip_key
from ingest.sources import earth_search, planetary_computer, source_of
from ingest.sources.profile import scene_of


def items_of(folder, name, collection):
    page = json.loads((folder / "stac-fixtures" / name).read_text())
    items = page["features"] if isinstance(page, dict) else page
    return [item for item in items if item["collection"] == collection]


def test_earth_search_items_have_every_band_under_this_projects_names(shared_data):
    items = items_of(shared_data, "earthsearch/search/mixed_s2_20250731_p2.json", "sentinel-2-c1-l2a")
    scene = scene_of(items[0], earth_search())
    assert (scene.tile, scene.epsg, scene.baseline, scene.sensor) == ("24MWV", 32724, "05.11", "sentinel-2")
    files = {name: href.rpartition("/")[2].removesuffix(".tif") for name, href in scene.hrefs.items()}
    assert files == {band.name: band.name for band in S2} | {"SCL": "SCL"}
    assert scene.item_href == next(link["href"] for link in items[0]["links"] if link["rel"] == "self")


def test_earth_search_states_the_offset_that_the_baseline_gives(shared_data):
    for item in items_of(shared_data, "earthsearch/search/mixed_s2_20250731_p2.json", "sentinel-2-c1-l2a"):
        stated = {
            asset["raster:bands"][0].get("offset") for key, asset in item["assets"].items() if key in ("red", "nir")
        }
        assert stated == {boa_add_offset(item["properties"]["s2:processing_baseline"]) / 10_000}


def test_the_collection_with_the_unsure_offset_is_refused_by_name(shared_data):
    for page in ("mixed_s2_20250731_p2", "s2-l2a_and_landsat_20231008"):
        for item in items_of(shared_data, f"earthsearch/search/{page}.json", "sentinel-2-l2a"):
            for source in (earth_search(), planetary_computer(), source_of("https://example.org/stac")):
                with pytest.raises(SourceError, match=r"sentinel-2-l2a.*--source earth-search"):
                    scene_of(item | {"collection": source.s2_collection}, source)


def test_two_providers_agree_on_the_key_of_a_strip(shared_data):
    """The key has the tile, the datatake and the start of the strip, none of which depends on the provider."""
    item = items_of(shared_data, "earthsearch/search/mixed_s2_20250731_p2.json", "sentinel-2-c1-l2a")[0]
    assert strip_key(item) == "24MWV GS2B_20250731T130249_043879 S20250731T130245"
    as_on_azure = item | {"properties": item["properties"] | {"s2:mgrs_tile": "24MWV"}}
    assert strip_key(as_on_azure) == strip_key(item)


def test_radar_of_earth_search_comes_from_the_planetary_computer(shared_data):
    source, other = earth_search(), planetary_computer()
    assert source.api_of(source.s1_collection) == other.stac_href
    assert source.api_of(source.s2_collection) == "https://earth-search.aws.element84.com/v1"
    items = items_of(shared_data, "pc/items/sentinel-1-rtc-pc.json", "sentinel-1-rtc")
    assert [scene_of(item, source).hrefs for item in items] == [scene_of(item, other).hrefs for item in items]
    assert source.sign("https://e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com/B04.tif").endswith("B04.tif")


def test_sources_by_name():
    assert source_of("earth-search").name == source_of("https://earth-search.aws.element84.com/v1/").name
    assert source_of("planetary-computer").name == "planetary-computer"
    with pytest.raises(PlanError, match="give planetary-computer, earth-search, the http address"):
        source_of("copernicus")
