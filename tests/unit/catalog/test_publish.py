"""A published catalog: walked by pystac, opened by xarray, the same when published twice."""

import csv
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import xarray as xr
from PIL import Image

from catalog import objects, preview, settle
from catalog import publish as program
from catalog.assets import PICTURES
from catalog.corpus import Corpus
from catalog.errors import ChecksumError, CorpusError, OutputExistsError
from catalog.fake import fake_patches, write_fake_build
from catalog.index import read_index
from catalog.patch import Patch
from catalog.publish import publish
from catalog.shard import list_shards, shard_ref, write_shard
from catalog.stats import BandStatistics, merge_all
from catalog.validate import validate


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return write_fake_build(tmp_path / "build", 5, side_px=32, shard_rows=3)


@pytest.fixture
def dest(tmp_path: Path, build: Path) -> Path:
    publish([build], tmp_path / "public", workers=2)
    return tmp_path / "public"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_pystac_walks_everything_and_every_link_leads_to_a_file(dest: Path):
    items = []
    for root, _, found in pystac.Catalog.from_file(dest / "catalog.json").walk():
        items += found
        for stac in (root, *found):
            for link in stac.links:
                href = link.get_absolute_href()
                assert href is not None
                assert href.startswith("https://") or Path(href).exists(), f"{stac.id}: {link.rel} {href}"
    assert [item.id for item in items] == [patch.patch_id for patch in fake_patches(5, side_px=32)]
    for item in items:
        assert item.get_collection().id == "deepsentinel-labelled"
        for asset in item.assets.values():
            assert Path(asset.get_absolute_href()).exists()


def test_catalogs_collections_and_items_fit_their_schemas(dest: Path, validate_offline):
    for path in sorted(dest.rglob("*.json")):
        if ".zarr" not in str(path) and path.name not in ("statistics.json", "split-statistics.json", "shard.json"):
            validate_offline(json.loads(path.read_text()))


def test_xarray_opens_an_item_and_selects_its_patch_by_name(dest: Path):
    patches = {patch.patch_id: patch for patch in fake_patches(5, side_px=32)}
    for item in pystac.Catalog.from_file(dest / "catalog.json").get_items(recursive=True):
        asset = item.assets["data"]
        consolidated = asset.extra_fields["zarr:consolidated"]
        dataset = xr.open_zarr(asset.get_absolute_href(), consolidated=consolidated, mask_and_scale=False, chunks=None)
        assert dataset.s2_10m.dims == ("patch", "band_10m", "y_10m", "x_10m")
        found = dataset.sel(patch=item.id)
        patch = patches[item.id]
        np.testing.assert_array_equal(found.s2_10m.sel(band_10m="B08"), patch.s2_10m[3])
        np.testing.assert_array_equal(found.s2_20m.sel(band_20m="B8A"), patch.s2_20m[3])
        np.testing.assert_array_equal(found.s1.sel(pol="VH"), patch.s1[1])
        np.testing.assert_array_equal(found.corine, patch.labels["corine"])
        assert int(found.epsg) == patch.provenance.grid.epsg


def test_bands_of_the_collection_name_variables_and_labels_of_the_group(dest: Path):
    collection = json.loads((dest / "labelled" / "collection.json").read_text())
    dataset = xr.open_zarr(dest / "labelled" / "shards" / "000000.zarr", consolidated=True, chunks=None)
    for band in collection["item_assets"]["data"]["bands"]:
        variable, _, rest = band["name"].partition("[")
        if rest:
            dim, label = rest.rstrip("]").split("=")
            dataset[variable].sel({dim: label})
        assert variable in dataset
        assert collection["cube:variables"][variable]["dimensions"] == list(dataset[variable].dims)
    assert set(collection["cube:variables"]) | set(collection["cube:dimensions"]) >= set(dataset.variables)


def test_publishing_again_changes_no_byte_and_redraws_nothing(
    dest: Path, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = contents(dest)
    publish([build], tmp_path / "other", workers=1)
    assert contents(tmp_path / "other") == before

    def refuse(*_: object) -> None:
        raise AssertionError("a published shard was drawn again")

    monkeypatch.setattr(preview, "draw", refuse)
    publish([build], dest)
    assert contents(dest) == before


def test_only_new_shards_are_made_when_a_build_has_grown(dest: Path, build: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = []
    draw = preview.draw
    monkeypatch.setattr(preview, "draw", lambda patch: drawn.append(patch.patch_id) or draw(patch))
    new = list(fake_patches(7, side_px=32))[5:]
    write_shard(build, 2, new)
    publish([build], dest)
    assert sorted(drawn) == sorted(patch.patch_id for patch in new)
    assert read_index(dest / "labelled" / "items.parquet").num_rows == 7
    statistics = BandStatistics.from_json((dest / "labelled" / "statistics.json").read_text())
    expected = merge_all(BandStatistics.of(patch) for patch in fake_patches(7, side_px=32))
    np.testing.assert_allclose(statistics.mean(["B02", "VH"]), expected.mean(["B02", "VH"]), rtol=1e-12)
    assert statistics.corine == expected.corine


def test_a_shard_that_was_made_again_gets_new_items_and_loses_the_old(dest: Path, build: Path):
    for folder in (build, dest / "labelled"):
        shutil.rmtree(folder / "shards/000001.zarr")
    new = list(fake_patches(9, side_px=32))[6:]
    write_shard(build, 1, new)
    publish([build], dest)
    items = {path.stem for path in (dest / "labelled/shard-000001").glob("*.json")} - {"catalog", "shard"}
    assert items == {patch.patch_id for patch in new}
    assert len(list((dest / "labelled/previews/000001").iterdir())) == 3 * len(PICTURES)
    assert validate(dest).findings == ()


def test_what_a_killed_publishing_left_aside_is_removed(dest: Path, build: Path):
    before = contents(dest)
    for name in (".catalog.json.7", "labelled/.items.parquet.7", "labelled/shard-000001/.catalog.json.7"):
        (dest / name).write_text("half")
    (dest / ".htaccess").write_text("a file of the web server's")
    shutil.copytree(build / "shards/000000.zarr", dest / "labelled/shards/.000000.zarr.7")
    publish([build], dest)
    assert contents(dest) == before | {".htaccess": b"a file of the web server's"}


@pytest.mark.parametrize("last", ["items.parquet", "statistics.json"])
def test_a_reader_notices_a_collection_that_was_replaced_by_half(dest: Path, build: Path, last: str, monkeypatch):
    Corpus.open(dest / "labelled")
    write_shard(build, 2, list(fake_patches(7, side_px=32))[5:])
    replace = program.replace_file

    def die(path: Path, content: str | bytes) -> None:
        if path.name == "collection.json":
            raise KeyboardInterrupt
        replace(path, content)

    monkeypatch.setattr(program, "replace_file", die)
    if last == "statistics.json":
        monkeypatch.setattr(program, "settle_items", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        publish([build], dest)
    with pytest.raises(CorpusError, match="publishing was interrupted"):
        Corpus.open(dest / "labelled")
    monkeypatch.undo()
    publish([build], dest)
    assert len(Corpus.open(dest / "labelled")) == 7


def test_a_shard_whose_new_items_were_cut_short_is_made_again(dest: Path, build: Path, monkeypatch):
    record = (build / "corpus.json").read_text()
    before = contents(dest)
    (build / "corpus.json").write_text(record.replace('"version": "0.1.0"', '"version": "0.2.0"'))
    draw, drawn = preview.draw, []

    def cut_short(patch: Patch) -> dict[str, bytes]:
        if drawn:
            raise KeyboardInterrupt
        drawn.append(patch.patch_id)
        return draw(patch)

    monkeypatch.setattr(preview, "draw", cut_short)
    with pytest.raises(KeyboardInterrupt):
        publish([build], dest, workers=1)
    assert contents(dest) != before
    monkeypatch.undo()
    (build / "corpus.json").write_text(record)
    publish([build], dest)
    assert contents(dest) == before


class CutShort(KeyboardInterrupt):
    """Ends publishing as Ctrl-C does."""


def cut_settling(monkeypatch: pytest.MonkeyPatch, items: int) -> None:
    """Let publishing end after so many items were settled."""
    left, replace = [None] * items, settle.replace_file

    def replace_some(path: Path, content: bytes, *, unread: bool = False) -> None:
        if not left:
            raise CutShort
        left.pop()
        replace(path, content, unread=unread)

    monkeypatch.setattr(settle, "replace_file", replace_some)


@pytest.mark.parametrize("items", [0, 2])
def test_items_of_new_shards_are_written_once_also_when_publishing_was_cut_short(
    dest: Path, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, items: int
):
    before, cut = contents(dest), tmp_path / "cut"
    cut_settling(monkeypatch, items)
    with pytest.raises(CutShort):
        publish([build], cut, workers=1)
    assert len(list(cut.glob("labelled/shard-*/[0-9]*.json"))) == items
    assert len(list(cut.glob("labelled/shard-*/unsettled.jsonl"))) == 2
    assert not (cut / "labelled/collection.json").exists()
    monkeypatch.undo()
    monkeypatch.setattr(preview, "draw", lambda patch: pytest.fail(f"{patch.patch_id} was drawn again"))
    publish([build], cut)
    assert contents(cut) == before


def test_what_items_were_written_from_goes_next_time_where_publishing_was_killed_at_the_very_end(
    dest: Path, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def die(*_: object) -> None:
        raise CutShort

    monkeypatch.setattr(program, "remove_strays", die)
    with pytest.raises(CutShort):
        publish([build], tmp_path / "cut")
    assert len(list(tmp_path.glob("cut/labelled/shard-*/unsettled.jsonl"))) == 2
    monkeypatch.undo()
    publish([build], tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(dest)


def test_a_damaged_file_of_unsettled_items_is_named_with_the_cure(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cut_settling(monkeypatch, 0)
    with pytest.raises(CutShort):
        publish([build], tmp_path / "cut", workers=1)
    monkeypatch.undo()
    path = tmp_path / "cut/labelled/shard-000001/unsettled.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"assets"', b'"asset"'))
    with pytest.raises(CorpusError, match=r"unsettled\.jsonl lacks assets; remove .*shard\.json and publish again"):
        publish([build], tmp_path / "cut")
    (path.parent / "shard.json").unlink()
    publish([build], tmp_path / "cut")
    assert validate(tmp_path / "cut").findings == ()


def test_progress_counts_every_shard_and_every_item(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shown = []

    class Shown(program.Progress):
        """Kept to be asked."""

        def __init__(self, *columns: object, **options: object) -> None:
            super().__init__(*columns, **options)
            shown.append(self)

    monkeypatch.setattr(program, "Progress", Shown)
    publish([build], tmp_path / "public")
    tasks = {task.description: (task.completed, task.total) for task in shown[0].tasks}
    assert tasks == {"publish labelled, shards": (2, 2), "publish labelled, items": (5, 5)}


def test_the_index_lies_along_the_z_order_of_the_ground(dest: Path):
    stored = pq.read_table(dest / "labelled/items.parquet", columns=["id"])["id"].to_pylist()
    ids = [patch.patch_id for patch in fake_patches(5, side_px=32)]
    assert stored == [*ids[1::2], *ids[::2]]  # 31UFS lies west of 33UUU
    assert read_index(dest / "labelled/items.parquet", ["id"])["id"].to_pylist() == ids


def test_shards_are_linked_not_copied(dest: Path, build: Path):
    published, source = (folder / "shards/000001.zarr/zarr.json" for folder in (dest / "labelled", build))
    assert published.samefile(source)


def test_shards_are_copied_where_links_fail(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError("cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    publish([build], tmp_path / "copy")
    assert shard_ref(tmp_path / "copy" / "labelled", 1) == shard_ref(build, 1)


def test_a_build_that_lies_where_it_is_published_stays_in_place(tmp_path: Path):
    build = write_fake_build(tmp_path / "labelled", 2, side_px=32)
    before = shard_ref(build, 0)
    publish([build], tmp_path)
    assert shard_ref(build, 0) == before
    assert (tmp_path / "catalog.json").is_file()


def test_a_shard_that_is_being_written_has_no_item(build: Path, tmp_path: Path):
    shutil.copytree(build / "shards/000001.zarr", build / "shards/.000002.zarr.77")
    publish([build], tmp_path / "public")
    assert list_shards(tmp_path / "public" / "labelled") == [0, 1]
    assert read_index(tmp_path / "public/labelled/items.parquet").num_rows == 5


def test_a_crash_before_the_end_leaves_the_old_catalog(dest: Path, build: Path, monkeypatch: pytest.MonkeyPatch):
    before = contents(dest)
    write_shard(build, 2, list(fake_patches(7, side_px=32))[5:])
    monkeypatch.setattr(program, "build_collection", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish([build], dest)
    after = contents(dest)
    assert {name: after[name] for name in before} == before


def test_two_builds_become_two_collections_of_one_catalog(build: Path, tmp_path: Path):
    other = write_fake_build(tmp_path / "other", 2, side_px=32, labels=False)
    publish([build], tmp_path / "public")
    publish([other], tmp_path / "public")
    root = pystac.Catalog.from_file(tmp_path / "public" / "catalog.json")
    assert [child.id for child in root.get_children()] == ["deepsentinel-labelled", "deepsentinel-unlabelled"]
    assert len(list(root.get_items(recursive=True))) == 7  # of both, also where no split is stated


def test_the_subcatalog_keeps_the_checksum_of_its_shard(dest: Path):
    catalog = json.loads((dest / "labelled/shard-000001/catalog.json").read_text())
    (store,) = (link for link in catalog["links"] if link["rel"] == "store")
    ref = shard_ref(dest / "labelled", 1)
    assert (store["file:checksum"], store["file:size"]) == ("1220" + ref.sha256, ref.nbytes)


def test_previews_are_pictures_of_the_patch(dest: Path):
    (patch, *_) = fake_patches(1, side_px=32)
    for kind in ("rgb", "sar"):
        with Image.open(dest / f"labelled/previews/000000/{patch.patch_id}-{kind}.webp") as picture:
            assert (picture.format, picture.size) == ("WEBP", (32, 32))


def test_errors_name_the_folder_and_the_cure(build: Path, tmp_path: Path):
    with pytest.raises(CorpusError, match=r"holds no corpus\.json"):
        publish([tmp_path], tmp_path / "public")
    with pytest.raises(CorpusError, match="one collection twice"):
        publish([build, shutil.copytree(build, tmp_path / "twin")], tmp_path / "public")
    with pytest.raises(CorpusError, match="at least one build"):
        publish([], tmp_path / "public")
    shutil.rmtree(tmp_path / "twin" / "shards")
    with pytest.raises(CorpusError, match="no committed shard"):
        publish([tmp_path / "twin"], tmp_path / "public")


def test_another_shard_of_the_same_number_is_refused(dest: Path, tmp_path: Path):
    other = write_fake_build(tmp_path / "other", 4, side_px=32, seed=9, shard_rows=2)
    with pytest.raises(OutputExistsError, match="is another shard than"):
        publish([other], dest)


def flip(path: Path) -> None:
    """Change one byte in place, size and time of writing kept."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def rebuild(build: Path, shard: int, seed: int) -> None:
    """Make a shard of a build again from other pixels of the same size in bytes."""
    before = shard_ref(build, shard)
    shutil.rmtree(build / f"shards/{shard:06d}.zarr")
    write_shard(build, shard, list(fake_patches(3, side_px=32, seed=seed)))
    after = shard_ref(build, shard)
    sizes = after.nbytes - before.nbytes
    attributes = build / f"shards/{shard:06d}.zarr/patch/zarr.json"
    attributes.write_text(attributes.read_text() + " " * -sizes)
    assert shard_ref(build, shard).nbytes == before.nbytes


def test_a_shard_that_was_built_again_to_the_same_size_is_noticed(dest: Path, build: Path):
    seed = next(seed for seed in range(8, 400, 4) if _nbytes_of_first(build.parent / f"t{seed}", seed) <= _first(build))
    rebuild(build, 0, seed)
    with pytest.raises(OutputExistsError, match="is another shard than"):
        publish([build], dest)


def test_other_bytes_in_files_of_the_same_size_are_noticed(dest: Path, build: Path):
    chunk = next(file for file in (build / "shards/000000.zarr/s1/c").rglob("*") if file.is_file())
    data = bytearray(chunk.read_bytes())
    data[50] ^= 1
    chunk.unlink()
    chunk.write_bytes(data)
    with pytest.raises(OutputExistsError, match="is another shard than"):
        publish([build], dest)


def _nbytes_of_first(root: Path, seed: int) -> int:
    return write_shard(root, 0, list(fake_patches(3, side_px=32, seed=seed))).nbytes


def _first(build: Path) -> int:
    return shard_ref(build, 0).nbytes


def test_where_a_build_is_published_in_place_a_shard_built_again_gets_new_items(tmp_path: Path):
    build = write_fake_build(tmp_path / "labelled", 3, side_px=32)
    publish([build], tmp_path)
    seed = next(seed for seed in range(8, 400, 4) if _nbytes_of_first(tmp_path / f"t{seed}", seed) <= _first(build))
    rebuild(build, 0, seed)
    publish([build], tmp_path)
    assert validate(build).findings == ()
    assert "Shards were made again" in (build / "CHANGELOG.md").read_text()


def test_only_verifying_finds_bytes_that_changed_under_an_old_time(dest: Path, build: Path):
    chunk = next(file for file in (dest / "labelled/shards/000000.zarr/s1/c").rglob("*") if file.is_file())
    copy = chunk.read_bytes()
    chunk.unlink()
    chunk.write_bytes(copy)  # no longer the build's own file
    source = next(file for file in (build / "shards/000000.zarr/s1/c").rglob("*") if file.is_file())
    os.utime(chunk, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
    publish([build], dest, verify=True)
    flip(chunk)
    publish([build], dest)
    with pytest.raises(OutputExistsError, match=r"000000\.zarr is another shard than .* or damaged"):
        publish([build], dest, verify=True)


@pytest.mark.parametrize("name", ["scl", "corine", "osm", "s1"])
def test_a_lost_pixel_file_is_noticed_before_it_reads_as_nodata(build: Path, tmp_path: Path, name: str):
    shutil.rmtree(build / "shards/000001.zarr" / name / "c")
    with pytest.raises(ChecksumError, match=rf"000001\.zarr has lost the pixels of {name}"):
        publish([build], tmp_path / "public")


def test_a_grown_corpus_has_a_new_version_and_says_what_changed(dest: Path, build: Path):
    write_shard(build, 2, list(fake_patches(7, side_px=32))[5:])
    publish([build], dest)
    collection = json.loads((dest / "labelled/collection.json").read_text())
    assert collection["version"] == "0.1.1"
    assert [entry["version"] for entry in collection["deepsentinel:changes"]] == ["0.1.0", "0.1.1"]
    assert "## 0.1.1\n\n2 patches more: 7 patches in 3 shards.\n" in (dest / "labelled/CHANGELOG.md").read_text()
    assert collection["assets"]["changelog"]["href"] == "./CHANGELOG.md"


def test_the_class_table_counts_pixels_by_official_code(dest: Path):
    with (dest / "labelled/classes.csv").open() as stream:
        rows = {(row["array"], row["name"]): row for row in csv.DictReader(stream)}
    arable = rows["corine", "Non-irrigated arable land"]
    assert (arable["value"], arable["code"], arable["colour"], arable["pixels"]) == ("12", "211", "#FFFFA8", "1024")
    assert rows["osm", "building"]["pixels"] == "0"


def test_the_objects_of_a_shard_are_an_asset_of_its_items(build: Path, tmp_path: Path):
    (build / "objects").mkdir()
    for shard in (0, 1):
        pq.write_table(objects.SCHEMA.empty_table(), build / f"objects/{shard:06d}.parquet")
    publish([build], tmp_path / "public")
    for item in pystac.Catalog.from_file(tmp_path / "public/catalog.json").get_items(recursive=True):
        asset = item.assets["objects"]
        content = Path(asset.get_absolute_href()).read_bytes()
        assert asset.extra_fields["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
    assert validate(tmp_path / "public").findings == ()
