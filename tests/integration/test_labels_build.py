"""A labelled build of the simulated Earth: labels and objects arrive in the corpus as the sources say."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from catalog.errors import OutputExistsError
from catalog.objects import objects_path
from catalog.patches import ShardPatches
from catalog.shard import list_shards
from ingest.build import Build, run
from ingest.corine import open_corine
from ingest.errors import PlanError
from ingest.osm import OsmFeatures
from ingest.sandbox.server import Sandbox


def label_files(archive):
    (corine,), (osm,) = archive.rglob("*corine*.tif"), archive.rglob("*.osm.pbf")
    return {"corine": str(corine), "osm": osm}


@pytest.fixture(scope="module")
def labelled(tiny_archive, tiny_plan, tmp_path_factory):
    out = tmp_path_factory.mktemp("labelled") / "corpus"
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        run(Build(tiny_plan, out, shard_rows=32, **label_files(tiny_archive)))
    return out


def test_stored_labels_are_those_of_the_sources(labelled, tiny_archive):
    features = OsmFeatures(labelled / "osm")
    with open_corine(label_files(tiny_archive)["corine"]) as corine:
        for patch in ShardPatches(labelled, 0)[:5]:
            grid = patch.provenance.grid
            np.testing.assert_array_equal(patch.labels["corine"], corine.labels(grid))
            np.testing.assert_array_equal(patch.labels["osm"], features.labels(grid))
            assert patch.labels["corine"].any()
            assert patch.provenance.extra["labels"].keys() == {"corine", "osm"}


def test_objects_of_every_shard_are_where_their_pixels_are(labelled):
    for shard in list_shards(labelled):
        patches = {patch.patch_id: patch for patch in ShardPatches(labelled, shard)}
        table = pq.read_table(objects_path(labelled, shard))
        rows = table.to_pylist()
        assert len(rows) > 0
        assert {row["patch_id"] for row in rows} <= patches.keys()
        forests = [row for row in rows if row["class"] == "forest" and row["area_m2"] > 5000]
        for row in forests:
            left, top, right, bottom = (int(row[k] + 0.5) for k in ("x_min", "y_min", "x_max", "y_max"))
            inside = patches[row["patch_id"]].labels["osm"][top:bottom, left:right] & (1 << 8)
            assert (inside > 0).sum() * 100 >= 0.9 * row["area_m2"]


def test_a_map_of_elsewhere_is_refused_before_anything_is_read(tiny_plan, tiny_archive, shared_data, tmp_path):
    elsewhere = str(shared_data / "clc_osm_aachen" / "clippedCLC.tif")
    with pytest.raises(PlanError, match=r"has a class at \d+\.\d% of the plan's places"):
        run(Build(tiny_plan, tmp_path / "corpus", corine=elsewhere))


def test_other_labels_are_another_build(labelled, tiny_plan, tiny_archive):
    with pytest.raises(OutputExistsError):
        run(Build(tiny_plan, labelled, shard_rows=32, corine=label_files(tiny_archive)["corine"]))
