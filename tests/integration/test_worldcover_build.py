"""A build with ESA WorldCover: the label travels from the provider's tiles to items and statistics."""

import json

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import rowcol
from rasterio.warp import transform

from catalog.corpus import Corpus
from catalog.index import read_index
from catalog.labels import WORLDCOVER_BY_VALUE
from catalog.patches import ShardPatches
from catalog.publish import publish
from catalog.validate import validate
from ingest.build import Build, run
from ingest.errors import PlanError
from ingest.sandbox.faults import Faults
from ingest.sandbox.server import Sandbox


@pytest.fixture(scope="module")
def built(tiny_archive, tiny_plan, tmp_path_factory):
    """With tokens that expire and storage that is busy now and then."""
    out = tmp_path_factory.mktemp("worldcover") / "build"
    faults = Faults(blob_503_every=11, tokens_expire_at=30)
    with Sandbox(tiny_archive, faults=faults) as sandbox, sandbox.applied():
        run(Build(tiny_plan, out, shard_rows=32, worldcover=2021))
    return out


def test_stored_classes_are_those_of_the_tile(built, tiny_archive):
    (tile,) = tiny_archive.glob("blobs/ai4edataeuwest/esa-worldcover/v200/2021/map/*.tif")
    assert tile.name == "ESA_WorldCover_10m_2021_v200_N51E012_Map.tif"
    with rasterio.open(tile) as image:
        for patch in list(ShardPatches(built, 0))[::7]:
            grid = patch.provenance.grid
            x_m, y_m = (edge.ravel() for edge in np.meshgrid(*grid.centres_m(10)))
            there = transform(CRS.from_epsg(grid.epsg), CRS.from_epsg(4326), x_m, y_m)
            rows, cols = (np.asarray(index) for index in rowcol(image.transform, *there))
            window = rasterio.windows.Window(cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1)
            expected = image.read(1, window=window)[rows - rows.min(), cols - cols.min()]
            np.testing.assert_array_equal(patch.labels["worldcover"].ravel(), expected)
            assert set(np.unique(expected).tolist()) <= set(WORLDCOVER_BY_VALUE)
            assert patch.provenance.extra["labels"] == {"worldcover": "ESA_WorldCover_10m_2021_v200"}


def test_published_items_and_statistics_count_the_classes(built, tmp_path):
    publish([built], tmp_path / "catalog", workers=1)
    collection = tmp_path / "catalog" / "labelled"
    assert not validate(tmp_path / "catalog").findings
    corpus = Corpus.open(collection)
    pixels = corpus.read(np.arange(len(corpus)), ["worldcover"])["worldcover"]
    values, counts = np.unique(pixels, return_counts=True)
    assert corpus.statistics.worldcover == dict(zip(values.tolist(), counts.tolist(), strict=True))
    columns = ["deepsentinel:worldcover_classes", "deepsentinel:worldcover_known_share"]
    table = read_index(collection / "items.parquet", columns)
    for row, stated in enumerate(table[columns[0]].to_pylist()):
        assert stated == np.unique(pixels[row]).tolist()
    assert set(table[columns[1]].to_pylist()) == {1.0}
    described = json.loads((collection / "collection.json").read_text())
    bands = {band["name"]: band for band in described["item_assets"]["data"]["bands"]}
    assert [entry["value"] for entry in bands["worldcover"]["classification:classes"]] == [0, *WORLDCOVER_BY_VALUE]
    licences = [link["title"] for link in described["links"] if link["rel"] == "license"]
    assert [title for title in licences if "CC-BY-4.0" in title]
    assert not [title for title in licences if "Open Database" in title]


def test_a_year_without_tiles_is_unknown_and_another_build(built, tiny_archive, tiny_plan, tmp_path):
    out = tmp_path / "build"
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        run(Build(tiny_plan, out, shard_rows=32, worldcover=2020))
    assert not any(patch.labels["worldcover"].any() for patch in ShardPatches(out, 0))


def test_a_source_without_tokens_is_refused_before_anything_is_read(tiny_archive, tiny_plan, tmp_path):
    with Sandbox(tiny_archive) as sandbox, sandbox.applied(), pytest.raises(PlanError, match="has no tokens for it"):
        run(Build(tiny_plan, tmp_path / "build", source=sandbox.stac_url, worldcover=2021))
