"""A right catalog passes, and each kind of damage is found and named."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from catalog import validate as program
from catalog.errors import CorpusError
from catalog.fake import fake_patches, write_fake_build
from catalog.publish import publish
from catalog.shard import shard_path, shard_ref, write_shard
from catalog.validate import Validate, validate


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    build = write_fake_build(tmp_path / "build", 5, side_px=32, shard_rows=3)
    publish([build], tmp_path / "public", workers=2)
    return tmp_path / "public"


def found(href: Path) -> dict[str, str]:
    """Subject and evidence of each rule that was broken."""
    return {finding.rule: f"{finding.subject}: {finding.evidence}" for finding in validate(href).findings}


@pytest.mark.parametrize("name", ["", "catalog.json", "labelled", "labelled/collection.json"])
def test_a_right_catalog_passes_by_any_of_its_names(dest: Path, name: str):
    report = validate(dest / name)
    assert report.findings == ()
    assert (report.checked["patches"], report.checked["shards"], report.checked["index rows"]) == (5, 2, 5)
    assert report.checked["STAC documents"] == 5 + 2 + 1 + (name in ("", "catalog.json"))


def flip_byte(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(bytes(data))


def test_a_flipped_byte_is_found_and_the_damaged_patch_named(dest: Path):
    (chunk,) = (file for file in (shard_path(dest / "labelled", 0) / "s1" / "c").rglob("*") if file.is_file())
    flip_byte(chunk, 100)
    findings = found(dest)
    first = next(fake_patches(1, side_px=32)).patch_id
    assert findings.keys() == {"checksum", "readable", "fingerprint"}
    assert "000000.zarr" in findings["checksum"]
    assert findings["readable"].startswith(f"{first}: ")
    assert "s1" in findings["readable"]


def test_a_flipped_byte_of_metadata_is_found(dest: Path):
    flip_byte(shard_path(dest / "labelled", 1) / "scl" / "zarr.json", 20)
    assert "000001.zarr" in found(dest)["checksum"]


def edit(path: Path, change: Callable[[dict], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def first_item(dest: Path) -> Path:
    return next(path for path in sorted((dest / "labelled/shard-000000").glob("*.json")) if "uuu" in path.name)


def test_an_item_that_breaks_the_core_schema_is_named(dest: Path):
    edit(first_item(dest), lambda item: item["properties"].pop("datetime"))
    assert str(first_item(dest)) in found(dest)["stac"]


def test_an_item_that_points_at_another_row_is_named(dest: Path):
    edit(first_item(dest), lambda item: item["properties"].update({"deepsentinel:index": 2}))
    assert "says shard and row (0, 2), the index says (0, 0)" in found(dest)["item-place"]


def test_a_missing_item_and_a_stray_item_are_named(dest: Path):
    path = first_item(dest)
    path.rename(path.with_name("stray.json"))
    findings = found(dest)
    assert "is not a readable STAC document" in findings["stac"]
    assert "stray.json" in findings["item-listed"]


def test_a_missing_preview_is_named(dest: Path):
    preview = next((dest / "labelled/previews/000001").glob("*-sar.webp"))
    preview.unlink()
    assert preview.name in found(dest)["asset"]


def test_a_shard_without_items_and_items_without_a_shard_are_named(dest: Path):
    write_shard(dest / "labelled", 7, list(fake_patches(2, side_px=32, seed=90)))
    assert "000007.zarr: missing in the index and the collection's links" in found(dest)["shard-listed"]
    shard_path(dest / "labelled", 7).rename(dest / "elsewhere")
    shard_path(dest / "labelled", 1).rename(dest / "gone")
    assert "000001.zarr: missing in the folder shards" in found(dest)["shard-listed"]


def test_one_id_in_two_shards_is_named(tmp_path: Path):
    build = write_fake_build(tmp_path / "build", 3, side_px=32)
    write_shard(build, 1, list(fake_patches(1, side_px=32)))
    publish([build], tmp_path / "public")
    assert "stands 2 times" in found(tmp_path / "public")["unique-id"]


def test_wrong_pixels_are_named_by_physics(tmp_path: Path):
    build = write_fake_build(tmp_path / "build", 2, side_px=32)
    swapped = [replace(patch, s1=patch.s1[::-1]) for patch in fake_patches(3, side_px=32)][2:]
    write_shard(build, 1, swapped)
    publish([build], tmp_path / "public")
    assert found(tmp_path / "public").keys() == {"s1-order"}
    assert swapped[0].patch_id in found(tmp_path / "public")["s1-order"]


def test_statistics_of_other_pixels_are_named(dest: Path):
    edit(dest / "labelled/statistics.json", lambda statistics: statistics["bands"]["B02"].update(mean=0.5))
    assert "differs from the statistics of the pixels" in found(dest)["statistics"]


def test_a_shard_of_another_layout_is_named_with_what_was_expected(dest: Path):
    edit(dest / "labelled/collection.json", lambda collection: collection.update({"deepsentinel:side_px": 64}))
    evidence = found(dest)["array"]
    assert "(3, 64, 64)" in evidence or "(2, 64, 64)" in evidence


def reseal(dest: Path, shard: int) -> None:
    """Make the stated checksum that of the bytes, so that only the content can tell."""
    checksum = "1220" + shard_ref(dest / "labelled", shard).sha256
    path = dest / f"labelled/shard-{shard:06d}/catalog.json"
    edit(path, lambda c: [link.update({"file:checksum": checksum}) for link in c["links"] if link["rel"] == "store"])


@pytest.mark.parametrize(
    ("array", "rule", "evidence"),
    [("patch", "row-order", "they differ from row 0 on"), ("pol", "coordinate", "expected ('VV', 'VH')")],
)
def test_names_in_another_order_than_pixels_are_found(dest: Path, array: str, rule: str, evidence: str):
    stored = zarr.open_array(shard_path(dest / "labelled", 0) / array, mode="r+")
    stored[:] = np.asarray(stored[:])[::-1]
    reseal(dest, 0)
    assert evidence in found(dest)[rule]


def test_missing_consolidated_metadata_is_found(dest: Path):
    edit(shard_path(dest / "labelled", 0) / "zarr.json", lambda group: group.pop("consolidated_metadata"))
    reseal(dest, 0)
    assert "zarr.json holds none" in found(dest)["consolidated"]


def test_the_program_prints_findings_and_ends_with_1(dest: Path, capsys: pytest.CaptureFixture[str]):
    program.run(Validate(dest))
    first_item(dest).unlink()
    with pytest.raises(SystemExit) as ended:
        program.run(Validate(dest))
    assert ended.value.code == program.EXIT_FINDINGS == 1
    assert "is not a readable STAC document" in capsys.readouterr().out


def test_a_place_without_a_catalog_is_one_error(tmp_path: Path):
    with pytest.raises(CorpusError, match=r"no catalog\.json or collection\.json"):
        validate(tmp_path)


def test_nothing_is_asked_of_the_network(dest: Path, monkeypatch: pytest.MonkeyPatch):
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert validate(dest).findings == ()
