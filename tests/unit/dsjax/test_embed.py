"""The table of embeddings against the encoder called by hand, and against the places of the crops."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from catalog.bands import S1_NODATA
from catalog.corpus import Corpus
from catalog.errors import OutputExistsError
from catalog.fake import fake_patches, write_fake_build
from catalog.publish import publish
from catalog.publish_model import publish_embeddings, publish_model
from catalog.shard import write_shard
from dsjax import embed, pretrain
from dsjax.checkpoints import load_encoder
from dsjax.config import Pretrain
from dsjax.crops import embed as embeddings_of
from dsjax.errors import CheckpointError, ConfigError


@pytest.fixture(scope="module")
def run(tiny_settings: Pretrain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = dataclasses.replace(tiny_settings, out=tmp_path_factory.mktemp("run"), stop_at_step=1)
    pretrain.run(settings)
    return settings.out


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """18 patches of 64 px, one more than a batch and another; the north-east quarter of the last has no radar."""
    folder = tmp_path_factory.mktemp("holed")
    patches = list(fake_patches(18, side_px=64))
    patches[17].s1[1, :32, 32:] = S1_NODATA
    patches[17].s2_10m[2, :8, :32] = 0
    build = write_fake_build(folder / "build", 0, side_px=64)
    write_shard(build, 0, patches)
    publish([build], folder / "catalog", workers=1)
    return folder / "catalog"


@pytest.mark.parametrize("sensors", [("sentinel-1", "sentinel-2"), ("sentinel-1",)])
def test_rows_are_the_crops_in_order_with_the_vectors_of_the_encoder(run, holed, tmp_path, sensors):
    table = tmp_path / "deep" / "t.parquet"
    assert embed.run(embed.Embed(run, str(holed / "labelled"), table, sensors)) == 18 * 4
    corpus, found = Corpus.open(holed / "labelled", columns=["id", "datetime"]), pq.read_table(table)
    expected = embeddings_of(load_encoder(run), corpus, sensors)
    stored = np.array(found["embedding"].to_pylist(), np.float32).reshape(expected.shape)
    np.testing.assert_allclose(stored, expected, rtol=1e-5, atol=1e-6)
    assert found["id"].to_pylist() == np.repeat(corpus.table["id"].to_pylist(), 4).tolist()
    assert found["datetime"].to_pylist() == np.repeat(corpus.table["datetime"].to_pylist(), 4).tolist()
    assert list(zip(found["crop_row"].to_pylist(), found["crop_column"].to_pylist(), strict=True)) == [
        (0, 0), (0, 1), (1, 0), (1, 1),
    ] * 18  # fmt: skip
    assert found["s1_valid_share"].to_pylist()[-4:] == [1, 0, 1, 1]
    assert found["s2_valid_share"].to_pylist()[-4:] == [0.75, 1, 1, 1]
    stated = json.loads(found.schema.metadata[embed.METADATA_KEY])
    assert (stated["sensors"], stated["crop_px"], stated["fingerprint"]) == (list(sensors), 32, corpus.fingerprint)


def test_crops_tile_the_footprints_of_their_patches_from_the_north_west(run, holed, tmp_path):
    embed.run(embed.Embed(run, str(holed / "labelled"), tmp_path / "t.parquet"))
    crops = shapely.from_wkb(pq.read_table(tmp_path / "t.parquet")["geometry"].to_numpy()).reshape(18, 2, 2)
    footprints = Corpus.open(holed / "labelled", columns=["geometry"]).table["geometry"].to_numpy()
    for four, whole in zip(crops, shapely.from_wkb(footprints), strict=True):
        assert shapely.union_all(four).symmetric_difference(whole).area < 1e-3 * whole.area
        assert sum(shapely.area(four).ravel()) == pytest.approx(whole.area, rel=1e-3)
        north_west, south_east = four[0, 0].centroid, four[1, 1].centroid
        assert (north_west.x < south_east.x, north_west.y > south_east.y) == (True, True)


def test_a_table_is_published_beside_its_model(run, tiny_settings, tmp_path):
    dest = shutil.copytree(Path(tiny_settings.corpus).parent, tmp_path / "catalog")
    embed.run(embed.Embed(run, tiny_settings.corpus, tmp_path / "places.parquet"))
    publish_embeddings(tmp_path / "places.parquet", dest, publish_model(run, dest, "m"))
    item = json.loads((dest / "embeddings/m-places/m-places.json").read_text())
    assert item["properties"]["table:row_count"] == 48 * 4
    described = {column["name"]: column["description"] for column in item["properties"]["table:columns"]}
    assert all(name != description for name, description in described.items())


def test_a_table_is_never_half_written_or_written_over(run, holed, tmp_path, monkeypatch):
    there = tmp_path / "t.parquet"
    there.write_text("mine")
    with pytest.raises(OutputExistsError, match="remove it or choose another --to"):
        embed.run(embed.Embed(run, str(holed / "labelled"), there))
    with pytest.raises(ConfigError, match=r"end it in \.parquet"):
        embed.run(embed.Embed(run, str(holed / "labelled"), tmp_path / "t.csv"))
    with pytest.raises(CheckpointError, match="is not a run folder"):
        embed.run(embed.Embed(tmp_path, str(holed / "labelled"), tmp_path / "u.parquet"))
    with pytest.raises(ConfigError, match="crop_px 128"):
        embed.run(embed.Embed(run, str(holed / "labelled"), tmp_path / "u.parquet", crop_px=128))
    monkeypatch.setattr(embed, "_outlines", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed.run(embed.Embed(run, str(holed / "labelled"), tmp_path / "u.parquet"))
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]
    assert there.read_text() == "mine"


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt
