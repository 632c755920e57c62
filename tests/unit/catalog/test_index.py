"""The index against the items that it was written from, read by us and by stac-geoparquet."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from catalog.collections import CorpusRecord
from catalog.errors import CorpusError
from catalog.fake import fake_patches
from catalog.index import PROPERTIES, read_index, read_items, write_batches, write_index, z_order
from catalog.item_table import to_batch
from catalog.items import build_item, rebase, with_split
from catalog.stats import BandStatistics

RECORD = CorpusRecord("labelled", "DeepSentinel labelled patches", 64, "0.1.0", "1.0")
COLLECTION = {"id": RECORD.collection_id, "type": "Collection"}


def items_of(count: int, *, labels: bool = True) -> list[dict[str, Any]]:
    patches = fake_patches(count, side_px=16, labels=labels)
    return [
        rebase(build_item(p.provenance, RECORD, i // 4, i % 4, BandStatistics.of(p)), f"shard-{i // 4:06d}")
        for i, p in enumerate(patches)
    ]


def split_items_of(count: int) -> list[dict[str, Any]]:
    train = {
        "ml-aoi:split": "train",
        "deepsentinel:split": "train",
        "deepsentinel:split_version": "1",
        "deepsentinel:fold": 2,
    }
    none = {"deepsentinel:split": "none", "deepsentinel:split_version": "1", "deepsentinel:split_reason": "buffer"}
    return [with_split(item, train if i % 2 else none) for i, item in enumerate(items_of(count))]


def test_items_come_back_as_they_went_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("catalog.index.ROW_GROUP_ROWS", 4)
    items = split_items_of(6)
    write_index(tmp_path / "items.parquet", items, COLLECTION)
    back = list(read_items(tmp_path / "items.parquet"))
    assert back == items
    assert [list(item) for item in back] == [list(item) for item in items]


def test_a_reader_of_the_format_finds_the_same_items(tmp_path: Path):
    from stac_geoparquet.arrow import stac_table_to_items

    def without_nulls(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
        return [without_nulls(inner) for inner in value] if isinstance(value, list) else value

    items = split_items_of(6)
    write_index(tmp_path / "items.parquet", items, COLLECTION)
    back = list(stac_table_to_items(pq.read_table(tmp_path / "items.parquet")))
    assert len(back) == 6
    for item, found in zip(items, back, strict=True):
        for time in ("datetime", "start_datetime", "end_datetime"):
            assert np.datetime64(found["properties"].pop(time)[:19]) == np.datetime64(item["properties"].pop(time)[:19])
        assert found["bbox"] == pytest.approx(item["bbox"])
        assert {**without_nulls(found), "bbox": 0} == {**item, "bbox": 0}


def test_z_order_keeps_neighbours_together_and_ties_in_place():
    lon, lat = np.meshgrid(np.arange(8) * 360 / 2**16 + 1, np.arange(8) * 180 / 2**16 + 1)
    rank = {tuple(cell): i for i, cell in enumerate(np.argwhere(np.ones((8, 8)))[z_order(lon.ravel(), lat.ravel())])}

    def interleaved(row: int, column: int) -> int:
        base = (round((1 + 180) / 360 * 2**16 - 0.5), round((1 + 90) / 180 * 2**16 - 0.5))
        x, y = base[0] + column, base[1] + row
        return sum((x >> bit & 1) << 2 * bit | (y >> bit & 1) << 2 * bit + 1 for bit in range(16))

    assert sorted(rank, key=lambda cell: interleaved(*cell)) == sorted(rank, key=lambda cell: rank[cell])
    assert z_order([5.0, 5.0, 5.0], [1.0, 1.0, 1.0]).tolist() == [0, 1, 2]
    assert z_order([180.0, -180.0], [90.0, -90.0]).tolist() == [1, 0]


def test_no_property_is_dropped():
    for item in (*items_of(1), *items_of(1, labels=False)):
        assert set(item["properties"]) - {"cube:dimensions"} <= set(PROPERTIES)


def test_reading_gives_flat_columns_in_the_order_of_shards_and_rows(tmp_path: Path):
    items = items_of(6)
    write_index(tmp_path / "items.parquet", items[::-1], COLLECTION)
    table = read_index(tmp_path / "items.parquet")
    assert table["id"].to_pylist() == [item["id"] for item in items]
    assert table["deepsentinel:shard"].to_pylist() == [0, 0, 0, 0, 1, 1]
    assert table["deepsentinel:index"].to_pylist() == [0, 1, 2, 3, 0, 1]
    np.testing.assert_array_equal(
        np.stack([table[name].to_numpy() for name in ("west", "south", "east", "north")], axis=1),
        [item["bbox"] for item in items],
    )
    assert shapely.from_wkb(table["geometry"][2].as_py()).equals(shapely.geometry.shape(items[2]["geometry"]))


def test_a_choice_of_columns_reads_no_others(tmp_path: Path):
    write_index(tmp_path / "items.parquet", items_of(2), COLLECTION)
    table = read_index(tmp_path / "items.parquet", ["deepsentinel:corine_classes"])
    keys = {"deepsentinel:shard", "deepsentinel:index", "west", "south", "east", "north"}
    assert set(table.column_names) == {"deepsentinel:corine_classes"} | keys


def test_unlabelled_items_have_empty_label_columns_of_the_same_type(tmp_path: Path):
    write_index(tmp_path / "a.parquet", items_of(2), COLLECTION)
    write_index(tmp_path / "b.parquet", items_of(2, labels=False), COLLECTION)
    labelled, unlabelled = (read_index(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    assert labelled.schema.equals(unlabelled.schema)
    assert unlabelled["deepsentinel:corine_majority"].null_count == 2


def test_the_file_follows_the_format_and_repeats_byte_by_byte(tmp_path: Path):
    write_index(tmp_path / "a.parquet", items_of(5), COLLECTION)
    write_index(tmp_path / "b.parquet", items_of(5), COLLECTION)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert json.loads(file.schema_arrow.metadata[b"stac-geoparquet"])["collections"] == {COLLECTION["id"]: COLLECTION}
    assert json.loads(file.schema_arrow.metadata[b"geo"])["columns"]["geometry"]["encoding"] == "WKB"
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_rows_are_grouped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("catalog.index.ROW_GROUP_ROWS", 4)
    write_index(tmp_path / "items.parquet", items_of(6), COLLECTION)
    assert pq.ParquetFile(tmp_path / "items.parquet").metadata.num_row_groups == 2
    assert read_index(tmp_path / "items.parquet").num_rows == 6


def test_a_failed_write_leaves_the_old_index(tmp_path: Path):
    path = tmp_path / "items.parquet"
    write_index(path, items_of(2), COLLECTION)
    before = path.read_bytes()
    broken = items_of(3)
    broken[2]["geometry"] = None
    with pytest.raises(shapely.errors.GEOSException):
        write_index(path, broken, COLLECTION)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["items.parquet"]


def test_a_missing_index_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(CorpusError, match=r"publish the build with catalog\.publish"):
        read_index(tmp_path / "items.parquet")


def test_groups_of_rows_do_not_depend_on_how_rows_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("catalog.index.ROW_GROUP_ROWS", 4)
    items = items_of(11)
    write_index(tmp_path / "whole.parquet", items, COLLECTION)
    pieces = (items[:1], items[1:10], items[10:])
    write_batches(tmp_path / "pieces.parquet", (to_batch(piece) for piece in pieces), COLLECTION)
    assert (tmp_path / "pieces.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    metadata = pq.ParquetFile(tmp_path / "pieces.parquet").metadata
    assert [metadata.row_group(i).num_rows for i in range(3)] == [4, 4, 3]


def error_or_table(path: Path) -> str | pa.Table:
    try:
        return read_index(path)
    except CorpusError as error:
        return str(error)


def test_any_flipped_bit_of_the_pages_of_an_index_is_noticed_or_changes_nothing(tmp_path: Path):
    path = tmp_path / "items.parquet"
    write_index(path, items_of(5), {**COLLECTION, "deepsentinel:fingerprint": "f"})
    whole, stored = read_index(path), path.read_bytes()
    footer = len(stored) - 8 - int.from_bytes(stored[-8:-4], "little")  # which has no checksum in Parquet
    results = []
    for bit in np.random.default_rng(0).integers(0, 8 * footer, 300).tolist():
        damaged = bytearray(stored)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        results.append(error_or_table(path))
    messages = [found for found in results if isinstance(found, str)]
    assert all(found.equals(whole) for found in results if not isinstance(found, str))
    assert len(messages) > 50
    assert all(re.search(r"items\.parquet is damaged .*; publish the build again", message) for message in messages)


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -9])
def test_a_torn_index_is_damaged(tmp_path: Path, keep: int):
    path = tmp_path / "items.parquet"
    write_index(path, items_of(5), COLLECTION)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorpusError, match="is damaged"):
        read_index(path)
