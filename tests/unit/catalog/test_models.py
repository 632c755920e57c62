"""Models and embeddings in a catalog: valid, linked to what they came from, the same when published twice."""

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pystac
import pytest
import shapely

from catalog import publish_model as program
from catalog.errors import CorpusError
from catalog.fake import fake_patches, write_fake_build
from catalog.index import read_items
from catalog.items import rebase
from catalog.publish import publish
from catalog.publish_model import PublishModel, publish_embeddings, publish_model
from catalog.shard import write_shard
from catalog.stats import BandStatistics
from catalog.validate import validate


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    publish([write_fake_build(tmp_path / "build", 5, side_px=32)], tmp_path / "public", workers=1)
    return tmp_path / "public"


@pytest.fixture
def run_folder(tmp_path: Path, dest: Path) -> Path:
    """The files of a run that `dsjax.pretrain` leaves, with a checkpoint of stand-in bytes."""
    folder, collection = tmp_path / "run", json.loads((dest / "labelled/collection.json").read_text())
    statistics = BandStatistics.from_json((dest / "labelled/statistics.json").read_text())
    normalisation = {
        "mean": {name: one.mean for name, one in statistics.bands.items()},
        "std": {name: one.std for name, one in statistics.bands.items()},
    }
    for step in ("100", "20"):
        (folder / "checkpoints" / step / "state").mkdir(parents=True)
        (folder / "checkpoints" / step / "state" / "params").write_bytes(step.encode() * 40)
    config = {"encoder": {"name": "resnet18"}, "method": {"temperature": 0.1}, "crop_px": 32, "out": str(folder)}
    corpus = {"version": "0.1.0", "fingerprint": collection["deepsentinel:fingerprint"], "patches": 5, "href": "x"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "corpus.json").write_text(json.dumps(corpus | {"normalisation": normalisation}))
    return folder


def embeddings_table(path: Path) -> Path:
    points = shapely.to_wkb(shapely.points([[5.0, 50.0], [6.0, 52.0]]))
    times = pa.array(np.array(["2021-05-01T10:00:00", "2021-06-01T10:00:00"], "datetime64[us]")).cast(
        pa.timestamp("us", tz="UTC")
    )
    vectors = pa.array(np.eye(2, 8, dtype="f4").tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": ["a", "b"], "geometry": points, "datetime": times, "embedding": vectors}), path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_models_and_embeddings_fit_every_schema_and_are_linked(
    dest: Path, run_folder: Path, tmp_path: Path, validate_offline: Callable[[Any], None]
):
    program.run(PublishModel(run_folder, dest, "simclr-tiny", embeddings=embeddings_table(tmp_path / "places.parquet")))
    root = pystac.Catalog.from_file(dest / "catalog.json")
    assert [child.id for child in root.get_children()] == [
        "deepsentinel-embeddings", "deepsentinel-labelled", "deepsentinel-models",
    ]  # fmt: skip
    for name in ("models", "embeddings"):
        for path in (dest / name).rglob("*.json"):
            if path.name not in ("config.json", "corpus.json"):
                validate_offline(json.loads(path.read_text()))
    (model,) = root.get_child("deepsentinel-models").get_items()
    (vectors,) = root.get_child("deepsentinel-embeddings").get_items()
    for item in (model, vectors):
        for link in item.links:
            assert Path(link.get_absolute_href()).exists(), link
        for asset in item.assets.values():
            content = Path(asset.get_absolute_href()).read_bytes()
            assert asset.extra_fields["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
    assert vectors.bbox == [5.0, 50.0, 6.0, 52.0]
    assert (vectors.properties["table:row_count"], vectors.properties["deepsentinel:model"]) == (2, "simclr-tiny")
    assert validate(dest).findings == ()


def test_a_model_says_what_it_was_trained_on_also_after_the_corpus_has_grown(dest: Path, run_folder: Path):
    build = run_folder.parent / "build"
    write_shard(build, 1, list(fake_patches(8, side_px=32))[5:])
    publish([build], dest)
    assert json.loads((dest / "labelled/collection.json").read_text())["version"] == "0.1.1"
    assert publish_model(run_folder, dest) == "simclr-resnet18-100"
    item = pystac.Item.from_file(dest / "models/simclr-resnet18-100/simclr-resnet18-100.json")
    assert item.properties["mlm:pretrained_source"] == "deepsentinel-labelled 0.1.0"
    assert item.properties["deepsentinel:corpus_version"] == "0.1.0"
    assert item.properties["deepsentinel:step"] == 100
    (radar,) = [one for one in item.properties["mlm:input"] if one["name"] == "s1"]
    assert radar["bands"] == ["s1[pol=VV]", "s1[pol=VH]"]
    assert radar["input"]["shape"] == [-1, 32, 32, 2]
    values = np.concatenate([patch.s1[0].ravel() for patch in fake_patches(5, side_px=32)]) * 0.01
    assert radar["value_scaling"][0]["mean"] == pytest.approx(values.mean())
    assert radar["value_scaling"][0]["stddev"] == pytest.approx(values.std())
    with tarfile.open(item.assets["weights"].get_absolute_href()) as archive:
        assert archive.extractfile("100/state/params").read() == b"100" * 40
    assert "out" not in json.loads(Path(item.assets["config"].get_absolute_href()).read_text())


def test_publishing_a_model_again_changes_no_byte(dest: Path, run_folder: Path, tmp_path: Path):
    table = embeddings_table(tmp_path / "places.parquet")
    for _ in range(2):
        publish_embeddings(table, dest, publish_model(run_folder, dest, "m"))
        before = before if _ else contents(dest)
    assert contents(dest) == before
    publish_model(run_folder, dest, "other", "0.2.0")
    collection = pystac.Collection.from_file(dest / "models/collection.json")
    assert [item.id for item in collection.get_items()] == ["m", "other"]
    assert pq.read_table(dest / "models/items.parquet")["id"].to_pylist() == ["m", "other"]


def test_the_index_of_models_gives_their_items_back(dest: Path, run_folder: Path, tmp_path: Path):
    publish_embeddings(embeddings_table(tmp_path / "places.parquet"), dest, publish_model(run_folder, dest, "m"))
    for folder, name in (("models", "m"), ("embeddings", "m-places")):
        (found,) = read_items(dest / folder / "items.parquet")
        stored = json.loads((dest / folder / name / f"{name}.json").read_text())
        assert {**found, "geometry": 0} == {**rebase(stored, name), "geometry": 0}
        assert shapely.geometry.shape(found["geometry"]).equals(shapely.geometry.shape(stored["geometry"]))


def test_what_cannot_be_published_says_why(dest: Path, run_folder: Path, tmp_path: Path):
    corpus = json.loads((run_folder / "corpus.json").read_text())
    with pytest.raises(CorpusError, match="give the folder of a pre-training run"):
        publish_model(tmp_path, dest)
    with pytest.raises(CorpusError, match="'Bad Name' is no id"):
        publish_model(run_folder, dest, "Bad Name")
    with pytest.raises(CorpusError, match="publish the model first"):
        publish_embeddings(embeddings_table(tmp_path / "e.parquet"), dest, "nowhere")
    publish_model(run_folder, dest, "m")
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "thin.parquet")
    with pytest.raises(CorpusError, match="lacks the columns geometry, datetime, embedding"):
        publish_embeddings(tmp_path / "thin.parquet", dest, "m")
    (run_folder / "corpus.json").write_text(json.dumps(corpus | {"fingerprint": "0" * 64}))
    with pytest.raises(CorpusError, match="publish its corpus there first"):
        publish_model(run_folder, dest)
    for step in (run_folder / "checkpoints").iterdir():
        step.rename(step.with_name(f"{step.name}.orbax-checkpoint-tmp"))
    with pytest.raises(CorpusError, match="no finished checkpoint"):
        publish_model(run_folder, dest)
