"""The index against the items that it was written from, read by us and by stac-geoparquet."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from catalog.collections import CorpusRecord
from catalog.errors import CorpusError
from catalog.fake import fake_patches
from catalog.index import PROPERTIES, read_index, write_index
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


def test_items_come_back_as_they_went_in(tmp_path: Path):
    from stac_geoparquet.arrow import stac_table_to_items

    train = {
        "ml-aoi:split": "train",
        "deepsentinel:split": "train",
        "deepsentinel:split_version": "1",
        "deepsentinel:fold": 2,
    }
    none = {"deepsentinel:split": "none", "deepsentinel:split_version": "1", "deepsentinel:split_reason": "buffer"}
    items = [with_split(item, train if i % 2 else none) for i, item in enumerate(items_of(6))]
    write_index(tmp_path / "items.parquet", items, COLLECTION)
    back = list(stac_table_to_items(pq.read_table(tmp_path / "items.parquet")))
    assert len(back) == 6
    for item, found in zip(items, back, strict=True):
        for time in ("datetime", "start_datetime", "end_datetime"):
            assert np.datetime64(found["properties"].pop(time)[:19]) == np.datetime64(item["properties"].pop(time)[:19])
        found["properties"] = {name: value for name, value in found["properties"].items() if value is not None}
        assert found["bbox"] == pytest.approx(item["bbox"])
        assert {**found, "bbox": 0} == {**item, "bbox": 0}


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
    with pytest.raises(AttributeError):
        write_index(path, broken, COLLECTION)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["items.parquet"]


def test_a_missing_index_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(CorpusError, match=r"publish the build with catalog\.publish"):
        read_index(tmp_path / "items.parquet")
