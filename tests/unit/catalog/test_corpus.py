"""Corpora on disk: joined, selected, of a subset, and the statistics that normalise each of them."""

import gc
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from catalog.bands import S1, S1_NODATA, S2
from catalog.buffers import BufferPool
from catalog.corpus import SPLIT, Corpus
from catalog.cubes import CubeReader
from catalog.errors import ChecksumError, CorpusError
from catalog.fake import fake_patches, write_fake_build
from catalog.publish import publish
from catalog.split_statistics import NAME as BY_SPLIT
from catalog.splits import SplitRules
from catalog.stats import BandStatistics, merge_all
from catalog.subset import Source, write_subset

NAMES = ("s2_10m", "s2_20m", "s1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    build = write_fake_build(folder / "build", 20, side_px=32, shard_rows=8)
    publish([build], folder / "public", split_rules=SplitRules(block_deg=0.01, buffer_m=0))
    return folder / "public/labelled"


@pytest.fixture
def corpus(folder: Path) -> Corpus:
    return Corpus.open(folder)


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    publish([write_fake_build(tmp_path / "build", 8, side_px=32, shard_rows=4)], tmp_path / "public")
    return tmp_path / "public/labelled"


def other(tmp_path: Path, count: int, side_px: int = 32) -> Corpus:
    publish([write_fake_build(tmp_path / "build", count, side_px=side_px, seed=100, labels=False)], tmp_path / "public")
    return Corpus.open(tmp_path / "public/unlabelled")


def test_a_selection_is_normalised_by_the_patches_of_its_splits_alone(corpus: Corpus):
    splits = np.array(corpus.table[SPLIT].to_pylist())
    assert len(set(splits)) > 1
    for split in set(splits):
        rows = np.flatnonzero(splits == split)
        expected = merge_all(BandStatistics.of(corpus[int(row)]) for row in rows)
        for part in (corpus.select(rows), corpus.select(rows[:1])):
            assert part.statistics.patches == len(rows)
            for band in S2 + S1:
                got, want = part.statistics.bands[band.name], expected.bands[band.name]
                np.testing.assert_allclose([got.mean, got.std], [want.mean, want.std], rtol=1e-12)
    assert corpus.statistics.patches == 20


def test_statistics_of_splits_that_belong_to_another_state_are_refused(own_folder: Path):
    assert Corpus.open(own_folder)[:1].statistics
    path = own_folder / BY_SPLIT
    path.write_text(path.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(CorpusError, match="publishing was interrupted"):
        _ = Corpus.open(own_folder)[:1].statistics
    path.write_text("{}")
    with pytest.raises(CorpusError, match=r"split-statistics\.json lacks fingerprint"):
        _ = Corpus.open(own_folder)[:1].statistics


def test_joined_corpora_are_read_as_one(corpus: Corpus, tmp_path: Path):
    second = other(tmp_path, 5)
    both = Corpus.join([corpus, second])
    assert len(both) == 25
    assert both.arrays == tuple(name for name in corpus.arrays if name in second.arrays)
    rows = np.array([24, 3, 20, 19, 0])
    found = both.read(rows, NAMES)
    for i, row in enumerate(rows):
        part, own = (corpus, row) if row < 20 else (second, row - 20)
        for name in NAMES:
            np.testing.assert_array_equal(found[name][i], part.read([own], [name])[name][0])
    assert both[22].patch_id == second[2].patch_id
    assert both.statistics == corpus.statistics.merge(second.statistics)
    assert both.select(np.arange(20)).statistics == corpus.statistics
    assert both.select(np.arange(20, 23)).statistics == second.statistics
    assert both.shard_href(20) == f"{second.href}/shards/000000.zarr"
    assert both.select(rows).collection_of_row.tolist() == [1, 0, 1, 0, 0]
    assert len(set(both.shard_of_row[:20])) == 3
    assert not set(both.shard_of_row[:20]) & set(both.shard_of_row[20:])
    assert both.fingerprint not in (corpus.fingerprint, second.fingerprint)


def test_corpora_that_do_not_fit_each_other_are_refused(corpus: Corpus, tmp_path: Path):
    with pytest.raises(CorpusError, match=r"labelled of 32 px, .* of 64 px"):
        Corpus.join([corpus, other(tmp_path, 1, side_px=64)])
    for weights in ((1.0,), (1.0, 0.0), (1.0, float("nan"))):
        with pytest.raises(CorpusError, match="weights"):
            Corpus.join([corpus, corpus], weights)


def test_a_subset_is_the_patches_it_names_in_its_order(corpus: Corpus, tmp_path: Path):
    rows = np.array([3, 9, 17])
    table = corpus.table.take(pa.array(rows))
    columns = {"id": table["id"], "shard": table["deepsentinel:shard"], "index": table["deepsentinel:index"]}
    subset = pa.table(columns | {"split": table[SPLIT], "datetime": table["id"], "cloud": pa.array([0.0] * 3)})
    source = Source(corpus.href, "deepsentinel-labelled", corpus.version, corpus.fingerprint)
    write_subset(tmp_path / "subset.parquet", subset, source)
    found = Corpus.open(tmp_path / "subset.parquet")
    assert [patch.patch_id for patch in found] == [corpus[int(row)].patch_id for row in rows]
    write_subset(tmp_path / "wrong.parquet", subset.set_column(0, "id", pa.array(["a", "b", "c"])), source)
    with pytest.raises(CorpusError, match=r"names other patches than .*labelled holds"):
        Corpus.open(tmp_path / "wrong.parquet")
    write_subset(tmp_path / "gone.parquet", subset.set_column(2, "index", pa.array([3, 1, 99])), source)
    with pytest.raises(CorpusError, match="row 99 of shard 2"):
        Corpus.open(tmp_path / "gone.parquet")
    write_subset(tmp_path / "empty.parquet", subset.slice(0, 0), source)
    with pytest.raises(CorpusError, match="holds no patches"):
        Corpus.open(tmp_path / "empty.parquet")


def test_damage_that_appears_while_a_corpus_is_read_names_shard_patch_and_cure(own_folder: Path):
    corpus = Corpus.open(own_folder)
    corpus.read(range(8), NAMES)
    file = own_folder / "shards/000001.zarr/s1/c/0/0/0/0"
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 3)
        byte = stream.read(1)[0]
        stream.seek(-1, 1)
        stream.write(bytes([byte ^ 1]))
    with pytest.raises(ChecksumError, match=r"row \d of .*000001\.zarr/s1 is damaged.*restore the shard") as caught:
        corpus.read(range(8), NAMES)
    assert str(caught.value).startswith(f"patch {corpus.table['id'][4 + (caught.value.row or 0)].as_py()}: ")


def test_cubes_are_standardised_physical_values_and_zero_where_nothing_was_measured(corpus: Corpus):
    statistics = corpus.statistics
    cubes = CubeReader(corpus, statistics).read([4, 11])
    for i, row in enumerate((4, 11)):
        patch = corpus[row]
        coarse = patch.s2_20m.repeat(2, axis=1).repeat(2, axis=2)
        s2 = np.concatenate([patch.s2_10m, coarse]) * 1e-4
        for found, physical, bands in ((cubes.s2[i], s2, S2), (cubes.s1[i], patch.s1 * 0.01, S1)):
            names = [band.name for band in bands]
            mean, std = (values[:, None, None] for values in (statistics.mean(names), statistics.std(names)))
            np.testing.assert_allclose(found, (physical - mean) / std, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("place", "advice"),
    [
        ("public", r"this is a catalog: give one of its collections \(labelled\)"),
        ("build", "this is a build: publish it"),
        ("nowhere", "check the path, or publish a build there"),
        ("public/labelled/shards", "publish a build there"),
        ("public/labelled/items.parquet", "is the index of a corpus; give the folder"),
    ],
)
def test_a_wrong_place_is_answered_by_what_it_holds(own_folder: Path, place: str, advice: str):
    with pytest.raises(CorpusError, match=advice):
        Corpus.open(own_folder.parents[1] / place)


@pytest.mark.parametrize("href", ["collection.json", ".", Path("collection.json"), Path()])
def test_a_corpus_is_opened_from_inside_its_folder(own_folder: Path, monkeypatch: pytest.MonkeyPatch, href: str | Path):
    monkeypatch.chdir(own_folder)
    assert len(Corpus.open(href)) == 8


def test_slips_in_python_are_told(corpus: Corpus, own_folder: Path):
    with pytest.raises(CorpusError, match=r"give a list of them, \['s1'\]"):
        corpus.read([0], "s1")
    with pytest.raises(CorpusError, match=r"has no column cloud; it has .*eo:cloud_cover"):
        Corpus.open(own_folder, columns=["id", "cloud"])
    assert repr(corpus).endswith("labelled: 20 patches of 32 px with s2_10m, s2_20m, scl, s1, corine, osm>")


def test_a_mask_is_no_list_of_rows(corpus: Corpus):
    mask = np.arange(len(corpus)) < 3
    for ask in (corpus.select, lambda rows: corpus.read(rows, NAMES)):
        with pytest.raises(CorpusError, match=r"given as bool; take whole numbers, np\.flatnonzero"):
            ask(mask)
    assert len(corpus.select(np.array([], int))) == 0


def test_a_lost_file_of_labels_is_not_read_as_unknown(tmp_path: Path):
    publish([write_fake_build(tmp_path / "build", 4, side_px=32)], tmp_path / "public")
    for name in ("corine", "scl"):
        for file in (tmp_path / "public/labelled/shards/000000.zarr" / name / "c").rglob("*"):
            if file.is_file():
                file.unlink()
        with pytest.raises(ChecksumError, match=f"{name}/c.* is missing"):
            Corpus.open(tmp_path / "public/labelled").read([0], [name])


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_cubes_are_those_of_each_row_alone(corpus: Corpus, threads: int):
    cubes, rows = CubeReader(corpus, corpus.statistics, threads), [9, 0, 3, 3, 17]
    many = cubes.read(rows)
    for i, row in enumerate(rows):
        alone = cubes.read([row])
        assert np.array_equal(many.s2[i], alone.s2[0])
        assert np.array_equal(many.s1[i], alone.s1[0])
    assert len(cubes.read([]).s2) == 0


def test_memory_of_an_earlier_read_is_filled_again(corpus: Corpus):
    first = corpus.read([3, 14], NAMES)
    where = {name: values.ctypes.data for name, values in first.items()}
    again = corpus.read([15, 2], NAMES, first)
    assert {name: values.ctypes.data for name, values in again.items()} == where
    for name, values in corpus.read([15, 2], NAMES).items():
        assert np.array_equal(again[name], values)
    for rows in ([1], [1, 2, 3]):
        with pytest.raises(CorpusError, match=r"cannot be read into s2_10m for 2, .*; give memory"):
            corpus.read(rows, NAMES, first)
    with pytest.raises(CorpusError, match="no memory to read corine into"):
        corpus.read([1, 2], [*NAMES, "corine"], first)
    with pytest.raises(CorpusError, match="the buffer is"):
        corpus.read([1, 2], NAMES, {name: np.empty((2, 3), np.int8) for name in NAMES})


def test_cubes_hold_the_mean_where_a_pixel_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    patches = list(fake_patches(4, side_px=32))
    for patch in patches:
        patch.s2_10m[0, :3], patch.s2_20m[5, 7], patch.s1[1, 4:6] = 0, 0, S1_NODATA
    monkeypatch.setattr("catalog.fake.fake_patches", lambda *_, **__: iter(patches))
    publish([write_fake_build(tmp_path / "build", 4, side_px=32)], tmp_path / "public")
    corpus = Corpus.open(tmp_path / "public/labelled")
    s2, s1 = CubeReader(corpus, corpus.statistics).read([0])
    assert np.count_nonzero(s2[0, 0, :3]) == np.count_nonzero(s2[0, 9, 14:16]) == np.count_nonzero(s1[0, 1, 4:6]) == 0
    assert np.count_nonzero(s2[0, 0, 3:]) > 0
    assert abs(s2[0, 0, 3:].mean()) < 5  # not -mean / std of zeros


def test_memory_of_a_batch_is_used_again_only_when_no_view_of_it_is_left():
    pool = BufferPool()
    array = pool.empty((1 << 19,), np.uint32)
    where, part = array.ctypes.data, array[10:20].reshape(2, 5)
    assert where % 64 == 0
    del array
    gc.collect()
    assert pool.idle_bytes == 0
    del part
    assert pool.idle_bytes == 1 << 21
    assert pool.empty((1 << 20,), np.uint16).ctypes.data == where
    assert pool.empty((1 << 21,), np.uint32).nbytes == 1 << 23


@pytest.mark.timeout(20)  # to wait would be for ever
def test_memory_may_come_back_while_the_pool_is_in_use_by_the_same_thread():
    """As the garbage collector gives it back, in the middle of whatever runs."""
    pool = BufferPool()
    held = [pool.empty((1 << 20,), np.uint8)]
    with pool._lock:
        held.clear()  # ends the lease: must neither wait for the lock nor touch what it guards
    assert pool.idle_bytes == 1 << 20


def test_idle_memory_is_bounded():
    pool = BufferPool(max_idle_bytes=5 << 20)
    held = [pool.empty((2 << 20,), np.uint8) for _ in range(4)]
    del held
    assert pool.idle_bytes == 4 << 20


def test_a_subset_is_found_through_a_link_to_its_folder(folder: Path, tmp_path: Path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "deep/er")
    source = Source(os.path.relpath(folder, tmp_path / "deep/er"), "labelled", "1", "f")
    assert Path(source.locate(tmp_path / "runs/part.parquet")) == folder.resolve()
