"""The root catalog and collections against the STAC schemas, and what they sum up."""

import json
from pathlib import Path
from typing import Any

import pystac
import pytest

from catalog import schema
from catalog.assets import EXTENSIONS
from catalog.collections import CorpusRecord, Summary, build_collection, build_root
from catalog.errors import CorpusError
from catalog.fake import fake_patches
from catalog.items import build_item
from catalog.stats import BandStatistics, merge_all


def collection_of(*, labelled: bool) -> dict[str, Any]:
    name = "labelled" if labelled else "unlabelled"
    record = CorpusRecord(name, f"DeepSentinel {name} patches", 64, "0.1.0", "1.0")
    patches = list(fake_patches(4, labels=labelled))
    statistics = [BandStatistics.of(patch) for patch in patches]
    items = [
        build_item(p.provenance, record, 0, row, s) for row, (p, s) in enumerate(zip(patches, statistics, strict=True))
    ]
    arrays = [spec.name for spec in schema.ARRAYS if labelled or not spec.is_label]
    summary = Summary.merge(map(Summary.of, items))
    return build_collection(record, arrays, [0], summary, merge_all(statistics), "f" * 64)


@pytest.mark.parametrize("labelled", [True, False])
def test_collections_fit_the_core_and_every_extension_schema(validate_offline, labelled: bool):
    collection = collection_of(labelled=labelled)
    validate_offline(collection)
    assert pystac.Collection.from_dict(collection).id == f"deepsentinel-{'' if labelled else 'un'}labelled"


def test_the_root_catalog_fits_the_schema_and_links_each_collection(validate_offline):
    root = build_root({"unlabelled": "Unlabelled", "labelled": "Labelled"})
    validate_offline(root)
    children = [link["href"] for link in root["links"] if link["rel"] == "child"]
    assert children == ["./labelled/collection.json", "./unlabelled/collection.json"]


def test_extent_and_summaries_cover_the_items():
    collection = collection_of(labelled=True)
    assert collection["extent"]["temporal"]["interval"] == [["2021-01-01T05:30:00Z", "2021-01-04T10:20:31Z"]]
    (west, south, east, north) = collection["extent"]["spatial"]["bbox"][0]
    assert 4 < west < 5 < 12 < east < 13  # 31UFS and 33UUU
    assert 51 < south < 52 < 53 < north < 54
    assert collection["summaries"]["platform"] == ["sentinel-1a", "sentinel-2a"]
    assert collection["summaries"]["deepsentinel:corine_classes"] == [112, 211, 312, 512]
    assert "deepsentinel:corine_classes" not in collection_of(labelled=False)["summaries"]


def test_a_set_on_both_sides_of_the_antimeridian_spans_all_longitudes():
    item = {"bbox": [179.9, -17.0, -179.9, -16.0], "properties": dict.fromkeys(("eo:cloud_cover",), 1.0)}
    item["properties"] |= {"deepsentinel:gap_hours": 2.0, "start_datetime": "a", "end_datetime": "b"}
    item["properties"] |= {"platform": "sentinel-2a", "deepsentinel:s1_platform": "sentinel-1a"}
    assert Summary.of(item).bbox == (-180.0, -17.0, 180.0, -16.0)


def test_bands_name_how_to_select_them_and_their_stored_statistics():
    bands = {band["name"]: band for band in collection_of(labelled=True)["item_assets"]["data"]["bands"]}
    assert len([name for name in bands if name.startswith("s2_")]) == 12
    blue = bands["s2_10m[band_10m=B02]"]
    assert (blue["eo:common_name"], blue["data_type"], blue["nodata"], blue["raster:scale"]) == (
        "blue", "uint16", 0, 1e-4,
    )  # fmt: skip
    stored = [patch.s2_10m[0].mean() for patch in fake_patches(4)]
    assert blue["statistics"]["mean"] == pytest.approx(sum(stored) / 4, abs=1e-3)
    radar = bands["s1[pol=VV]"]
    assert (radar["unit"], radar["nodata"], radar["raster:scale"]) == ("dB", -32768, 0.01)
    assert [entry["value"] for entry in bands["corine"]["classification:classes"]] == list(range(45))
    assert [field["offset"] for field in bands["osm"]["classification:bitfields"]] == list(range(32))


def test_an_unlabelled_collection_mentions_no_labels():
    text = json.dumps(collection_of(labelled=False))
    assert "corine" not in text.lower()
    assert "openstreetmap" not in text.lower()
    assert "opendatacommons" in json.dumps(collection_of(labelled=True))


def test_every_named_extension_is_used_and_every_prefix_is_named():
    collection = collection_of(labelled=True)
    words = json.dumps(collection)
    prefixes = {"sci": "scientific", "cube": "datacube", "classification": "classification", "zarr": "zarr"}
    prefixes |= {"eo": "eo", "raster": "raster", "table": "table"}
    used = {extension for prefix, extension in prefixes.items() if f'"{prefix}:' in words}
    assert {EXTENSIONS[name] for name in used | {"version"}} == set(collection["stac_extensions"])


def test_a_record_of_another_schema_is_refused(tmp_path: Path):
    (tmp_path / "corpus.json").write_text(json.dumps(schema.corpus_record("labelled", 64) | {"schema_version": "0.3"}))
    with pytest.raises(CorpusError, match=r"schema version 0\.3, this software reads"):
        CorpusRecord.read(tmp_path)
    with pytest.raises(CorpusError, match=r"holds no corpus\.json"):
        CorpusRecord.read(tmp_path / "nowhere")
