"""Files of a published catalog that are torn, gone or of another version: one error, and validation goes on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.corpus import Corpus
from catalog.errors import CorpusError, DeepSentinelError
from catalog.fake import write_fake_build
from catalog.publish import publish
from catalog.validate import validate


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    publish([write_fake_build(folder / "build", 6, side_px=32, shard_rows=3)], folder / "public")
    return folder


@pytest.fixture
def labelled(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole / "public", tmp_path / "public")
    return tmp_path / "public/labelled"


def tear(path: Path) -> None:
    path.write_text('{"a"')


def set_member(path: Path, name: str, value: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))


def drop_column(folder: Path, name: str) -> None:
    path = folder / "items.parquet"
    pq.write_table(pq.read_table(path).drop_columns(name), path)


def use(folder: Path) -> None:
    corpus = Corpus.open(folder)
    assert corpus.statistics.patches == 6
    assert corpus[0].patch_id


OPENING: dict[str, tuple[Callable[[Path], object], str]] = {
    "collection torn": (lambda folder: tear(folder / "collection.json"), r"collection\.json cannot be read"),
    "collection a list": (lambda folder: (folder / "collection.json").write_text("[]"), "no JSON object"),
    "collection of another schema": (
        lambda folder: set_member(folder / "collection.json", "deepsentinel:schema_version", "9.0"),
        r"schema version 9\.0",
    ),
    "index torn": (lambda folder: tear(folder / "items.parquet"), r"items\.parquet is damaged"),
    "index gone": (lambda folder: (folder / "items.parquet").unlink(), "no index"),
    "index without rows": (lambda folder: drop_column(folder, "deepsentinel:index"), "publish the build again"),
    "statistics torn": (lambda folder: tear(folder / "statistics.json"), r"statistics\.json cannot be read"),
    "statistics gone": (lambda folder: (folder / "statistics.json").unlink(), r"statistics\.json cannot be read"),
    "array of nothing": (lambda folder: (folder / "shards/000000.zarr/s1/zarr.json").write_text("{}"), "lacks shape"),
    "provenance gone": (lambda folder: shutil.rmtree(folder / "shards/000000.zarr/provenance"), "not a readable"),
}


@pytest.mark.parametrize("name", OPENING)
def test_a_damaged_collection_is_one_error_that_names_the_file(labelled: Path, name: str):
    use(labelled)
    damage, message = OPENING[name]
    damage(labelled)
    with pytest.raises(DeepSentinelError, match=message):
        use(labelled)


def test_an_index_from_before_a_property_was_invented_holds_nulls(labelled: Path):
    drop_column(labelled, "deepsentinel:corine_majority")
    column = Corpus.open(labelled, columns=None).table["deepsentinel:corine_majority"]
    assert (column.to_pylist(), column.type) == ([None] * 6, pa.int32())


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: tear(folder / "collection.json"),
        lambda folder: (folder / "collection.json").write_text("[]"),
        lambda folder: tear(folder / "items.parquet"),
        lambda folder: (folder / "statistics.json").unlink(),
        lambda folder: shutil.rmtree(folder / "shards/000000.zarr/patch"),
        lambda folder: (folder / "shards/000000.zarr/s1/zarr.json").write_text("{}"),
        lambda folder: tear(sorted((folder / "shard-000000").glob("3*.json"))[0]),
        lambda folder: set_member(folder / "collection.json", "links", [{"rel": "child", "href": "odd.json"}]),
    ],
)
def test_validation_reports_damage_and_goes_on(labelled: Path, damage: Callable[[Path], object]):
    assert not validate(labelled.parent).findings
    damage(labelled)
    assert validate(labelled.parent).findings


@pytest.mark.parametrize("text", ["{", "{}"])
def test_what_publishing_noted_of_a_shard_is_made_again_when_damaged(labelled: Path, whole: Path, text: str):
    path = labelled / "shard-000000/shard.json"
    before = path.read_text()
    path.write_text(text)
    publish([whole / "build"], labelled.parent)
    assert path.read_text() == before


@pytest.mark.parametrize(
    "name", ["collection.json", "shard-000000/catalog.json", "shard-000000/31ufs-000-000-20210102.json"]
)
def test_publishing_over_damage_names_what_to_remove(labelled: Path, whole: Path, name: str):
    tear(labelled / name)
    with pytest.raises(CorpusError, match=r"cannot be read .*; remove .* publish again"):
        publish([whole / "build"], labelled.parent)


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_a_build_whose_record_is_damaged_is_refused(whole: Path, tmp_path: Path, text: str):
    (tmp_path / "corpus.json").write_text(text)
    with pytest.raises(CorpusError, match=r"corpus\.json"):
        publish([tmp_path], tmp_path / "public")


def test_rows_that_do_not_exist_are_refused(whole: Path):
    corpus = Corpus.open(whole / "public/labelled")
    for rows in ([6], [-1], [0, 9]):
        with pytest.raises(CorpusError, match=r"rows 0\.\.5"):
            corpus.read(rows, ["s1"])
        with pytest.raises(CorpusError, match=r"rows 0\.\.5"):
            corpus.select(np.array(rows))
    np.testing.assert_array_equal(corpus.cube(-1), corpus.cube(5))
    assert corpus.read([], ["s1"])["s1"].shape == (0, 2, 32, 32)
