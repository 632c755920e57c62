import dataclasses
import os

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec

from catalog import fake, schema
from catalog.errors import ChecksumError, CorpusError, OutputExistsError, SchemaError
from catalog.reader import ShardReader
from catalog.shard import list_shards, provenance_of, shard_path, shard_ref, write_shard

NAMES = [spec.name for spec in schema.ARRAYS]


@pytest.fixture
def patches():
    return list(fake.fake_patches(5, side_px=32))


def test_every_pixel_and_its_provenance_come_back(tmp_path, patches):
    (tmp_path / "shards").mkdir()
    ref = write_shard(tmp_path, 3, patches)
    assert ref.rows == 5
    assert list_shards(tmp_path) == [3]
    assert provenance_of(tmp_path, 3) == [patch.provenance for patch in patches]
    reader = ShardReader(shard_path(tmp_path, 3))
    for row, patch in enumerate(patches):
        for name, expected in schema.arrays_of(patch).items():
            out = np.empty_like(expected)
            reader.read_into(name, row, out)
            np.testing.assert_array_equal(out, expected)


def test_the_reader_agrees_with_zarr_python_also_on_empty_and_foreign_layouts(tmp_path, patches):
    (tmp_path / "shards").mkdir()
    empty = dataclasses.replace(patches[0], s1=np.full_like(patches[0].s1, -32768))
    write_shard(tmp_path, 0, [empty, *patches[1:]])
    path = shard_path(tmp_path, 0)
    foreign = zarr.open_group(path)["s1"][:]
    other = tmp_path / "other.zarr"
    array = zarr.create_group(other).create_array("s1", shape=foreign.shape, chunks=(2, 1, 32, 32), dtype="int16")
    array[...] = foreign
    for place in (path, other):
        stored = zarr.open_group(place, mode="r")["s1"][:]
        for row in range(5):
            out = np.empty((2, 32, 32), "int16")
            ShardReader(place).read_into("s1", row, out)
            np.testing.assert_array_equal(out, stored[row])


def test_equal_patches_give_equal_bytes(tmp_path, patches):
    refs = []
    for name in ("a", "b"):
        (tmp_path / name / "shards").mkdir(parents=True)
        refs.append(write_shard(tmp_path / name, 0, patches))
    assert refs[0] == refs[1]


def test_xarray_shows_named_dimensions_units_and_masks_nodata(tmp_path, patches):
    (tmp_path / "shards").mkdir()
    patches[0].s2_10m[0, 0, 0] = 0
    write_shard(tmp_path, 0, patches)
    cube = xr.open_zarr(shard_path(tmp_path, 0), consolidated=True)
    assert cube["s2_10m"].dims == ("patch", "band_10m", "y_10m", "x_10m")
    one = cube.sel(patch=patches[0].patch_id, band_10m="B02")["s2_10m"].to_numpy()
    assert np.isnan(one[0, 0])
    np.testing.assert_allclose(one[1:], patches[0].s2_10m[0, 1:] * 1e-4, rtol=1e-6)
    assert cube["s1"].attrs["units"] == "dB"
    np.testing.assert_allclose(cube["s1"].sel(pol="VH")[2], patches[2].s1[1] * 0.01, rtol=1e-6)


def test_a_flipped_byte_is_noticed_when_its_patch_is_read(tmp_path, patches):
    (tmp_path / "shards").mkdir()
    before = write_shard(tmp_path, 0, patches)
    file = shard_path(tmp_path, 0) / "s2_10m" / "c" / "0" / "0" / "0" / "0"
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(data)
    reader = ShardReader(shard_path(tmp_path, 0))
    messages = [_read_error(reader, row) for row in range(5)]
    assert [message.split(" of ")[0] for message in messages if message] == [f"row {messages.index(max(messages))}"]
    assert shard_ref(tmp_path, 0).sha256 != before.sha256


@pytest.mark.parametrize("left", [None, 0, 50])
def test_pixels_that_were_lost_are_not_read_as_nodata(tmp_path, patches, left):
    (tmp_path / "shards").mkdir()
    write_shard(tmp_path, 0, patches)
    file = shard_path(tmp_path, 0) / "s1/c/0/0/0/0"
    if left is None:
        file.unlink()
    else:
        os.truncate(file, left)
    with pytest.raises(ChecksumError, match=r"s1.*(missing|damaged)"):
        ShardReader(shard_path(tmp_path, 0)).read_into("s1", 0, np.empty_like(patches[0].s1))


@pytest.mark.parametrize("change", [{"endian": "big"}, {"separator": "."}])
def test_an_array_of_almost_our_layout_is_read_right(tmp_path, patches, change):
    stored = np.stack([patch.s1 for patch in patches])
    array = zarr.create_array(
        tmp_path / "000000.zarr/s1",
        shape=stored.shape,
        chunks=(1, *stored.shape[1:]),
        shards=stored.shape,
        dtype=stored.dtype,
        serializer=BytesCodec(endian=change.get("endian", "little")),
        compressors=[BloscCodec(cname="zstd"), Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": change.get("separator", "/")},
    )
    array[...] = stored
    out = np.empty_like(stored[2])
    ShardReader(tmp_path / "000000.zarr").read_into("s1", 2, out)
    np.testing.assert_array_equal(out, stored[2])


def test_a_shard_is_written_once_and_leaves_nothing_behind_when_it_fails(tmp_path, patches, monkeypatch):
    (tmp_path / "shards").mkdir()
    write_shard(tmp_path, 0, patches)
    with pytest.raises(OutputExistsError, match=r"000000\.zarr"):
        write_shard(tmp_path, 0, patches)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("catalog.shard._write_array", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_shard(tmp_path, 1, patches)
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["000000.zarr"]


def test_patches_that_break_the_contract_are_refused(tmp_path, patches):
    wrong = dataclasses.replace(patches[0], s1=patches[0].s1.astype("float32"))
    with pytest.raises(SchemaError, match=r"s1 is float32 \(2, 32, 32\), expected int16 \(2, 32, 32\)"):
        write_shard(tmp_path, 0, [wrong])
    unlabelled = dataclasses.replace(patches[1], labels={})
    with pytest.raises(SchemaError, match="the same arrays"):
        write_shard(tmp_path, 0, [patches[0], unlabelled])
    with pytest.raises(SchemaError, match="at least one"):
        write_shard(tmp_path, 0, [])


def test_asking_for_what_is_not_there_says_what_is(tmp_path, patches):
    (tmp_path / "shards").mkdir()
    write_shard(tmp_path, 0, patches)
    reader = ShardReader(shard_path(tmp_path, 0))
    with pytest.raises(CorpusError, match=r"rows 0\.\.4; row 5"):
        reader.read_into("s1", 5, np.empty((2, 32, 32), "int16"))
    with pytest.raises(CorpusError, match="no array 's3'"):
        reader.read_into("s3", 0, np.empty(1))


def test_provenance_survives_json(patches):
    provenance = patches[0].provenance
    assert type(provenance).from_json(provenance.to_json()) == provenance
    assert set(NAMES) - set(schema.arrays_of(patches[0])) == {"worldcover"}  # which fake patches lack


def _read_error(reader, row):
    try:
        reader.read_into("s2_10m", row, np.empty((4, 32, 32), "uint16"))
    except ChecksumError as error:
        return str(error)
    return ""
