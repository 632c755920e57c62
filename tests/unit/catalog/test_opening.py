"""Opened patches against the pixels that were stored, and their georeference against rasterio and pyproj."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyproj
import pystac
import pytest
import rasterio
import xarray as xr
from affine import Affine

import catalog
from benchmarks.range_server import Faults, RangeServer
from catalog.corpus import Corpus
from catalog.errors import ChecksumError, CorpusError, StoreError
from catalog.fake import fake_patches, write_fake_build
from catalog.labels import CORINE_BY_GRID_CODE, OSM_BY_NAME
from catalog.patch import Patch
from catalog.publish import publish
from catalog.search import save, search
from catalog.selection import Criteria
from catalog.shard import write_shard

SIDE = 32


def holed_patches() -> list[Patch]:
    """Fake patches with nodata in every sensor and several label classes."""
    patches = list(fake_patches(5, side_px=SIDE))
    for patch in patches:
        patch.s2_10m[2, 3, 4] = patch.s2_20m[5, 6, 7] = 0
        patch.s1[1, 8, 9] = -32768
        patch.labels["osm"][4:9] |= np.uint32(OSM_BY_NAME["forest"].value)
    return patches


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("opening")
    build = write_fake_build(folder / "build", 0, side_px=SIDE)
    patches = holed_patches()
    write_shard(build, 0, patches[:3])
    write_shard(build, 1, patches[3:])
    publish([build], folder / "catalog", workers=1)
    return folder / "catalog"


@pytest.fixture
def items(root: Path) -> list[pystac.Item]:
    return list(pystac.Catalog.from_file(root / "catalog.json").get_items(recursive=True))


def test_a_patch_holds_the_stored_pixels_in_physical_units(items: list[pystac.Item]):
    for item, patch in zip(items, holed_patches(), strict=True):
        opened = catalog.open_patch(item)
        assert opened.attrs["id"] == item.id == patch.patch_id
        for name, stored, scale, nodata in (
            ("s2_10m", patch.s2_10m, 1e-4, 0), ("s2_20m", patch.s2_20m, 1e-4, 0), ("s1", patch.s1, 0.01, -32768),
        ):  # fmt: skip
            found = opened[name]
            assert found.dtype == np.float32
            np.testing.assert_array_equal(np.isnan(found), stored == nodata)
            np.testing.assert_array_equal(np.rint(np.nan_to_num(found, nan=nodata * scale) / scale), stored)
        assert (opened.s1.attrs["units"], opened.s2_10m.attrs["units"]) == ("dB", "1")
        assert not any({"scale_factor", "_FillValue"} & {*v.attrs, *v.encoding} for v in opened.variables.values())
        np.testing.assert_array_equal(opened.scl, patch.scl)
        np.testing.assert_array_equal(opened.corine, patch.labels["corine"])
        np.testing.assert_array_equal(opened.osm, patch.labels["osm"])
        np.testing.assert_array_equal(opened.s2_valid, (patch.s2_10m != 0).all(axis=0))
        np.testing.assert_array_equal(opened.s1_valid, (patch.s1 != -32768).all(axis=0))
        assert opened.s2_20m.sel(band_20m="B8A").dims == ("y_20m", "x_20m")


def test_coordinates_and_crs_agree_with_rasterio_and_pyproj(items: list[pystac.Item]):
    for item in items:
        opened = catalog.open_patch(item)
        crs = pyproj.CRS.from_cf(opened.spatial_ref.attrs)
        assert crs == pyproj.CRS.from_user_input(item.properties["proj:code"])
        for gsd_m in (10, 20):
            side = SIDE * 10 // gsd_m
            a, b, west, d, e, north = item.properties["proj:transform"][:6]
            affine = Affine(a * gsd_m / 10, b, west, d, e * gsd_m / 10, north)
            x, y = opened[f"x_{gsd_m}m"].to_numpy(), opened[f"y_{gsd_m}m"].to_numpy()
            np.testing.assert_array_equal(x, [(affine @ (i + 0.5, 0.5))[0] for i in range(side)])
            np.testing.assert_array_equal(y, [(affine @ (0.5, i + 0.5))[1] for i in range(side)])
        lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x.mean(), y.mean())
        west, south, east, north = item.bbox
        assert (west < lon < east, south < lat < north) == (True, True)
        assert {variable.attrs["grid_mapping"] for variable in opened.data_vars.values()} == {"spatial_ref"}


def test_flags_name_what_the_numbers_mean(items: list[pystac.Item]):
    opened = catalog.open_patch(items[1])
    corine = opened.corine.attrs
    names = dict(zip(corine["flag_values"].tolist(), corine["flag_meanings"].split(), strict=True))
    assert names[int(opened.corine[0, 0])] == f"211_{CORINE_BY_GRID_CODE[12].name.replace(' ', '_').replace('-', '_')}"
    osm = dict(zip(opened.osm.attrs["flag_meanings"].split(), opened.osm.attrs["flag_masks"].tolist(), strict=True))
    assert int(opened.osm[5, 0]) & osm["forest"]
    assert not int(opened.osm[0, 0])
    scl = dict(zip(opened.scl.attrs["flag_values"].tolist(), opened.scl.attrs["flag_meanings"].split(), strict=True))
    assert scl[4] == "vegetation"


def test_every_way_of_naming_a_patch_opens_the_same(root: Path, items: list[pystac.Item]):
    item, folder = items[4], root / "labelled"
    expected = catalog.open_patch(item)
    document = json.loads((folder / f"shard-000001/{item.id}.json").read_text())
    remote = {**document, "assets": {"data": {"href": str(folder / "shards/000001.zarr")}}}
    for opened in (
        catalog.open_patch(item.id, folder),
        catalog.open_patch(item.id, Corpus.open(folder)),
        catalog.open_patch(document, str(folder)),
        catalog.open_patch(item, folder / "collection.json"),
        catalog.open_patch(remote),
    ):
        xr.testing.assert_identical(opened, expected)


def test_a_shard_opens_with_all_its_patches(root: Path, items: list[pystac.Item]):
    shard = catalog.open_shard(items[0].assets["data"].get_absolute_href())
    assert shard.patch.to_numpy().tolist() == [item.id for item in items[:3]]
    np.testing.assert_allclose(shard.s2_10m.sel(patch=items[2].id), catalog.open_patch(items[2]).s2_10m, rtol=1e-6)
    np.testing.assert_allclose(shard.s1.sel(patch=items[2].id), catalog.open_patch(items[2]).s1, rtol=1e-6)
    assert shard.epsg.to_numpy().tolist() == [32633, 32631, 32633]


def test_a_patch_survives_the_way_through_netcdf_to_gdal(items: list[pystac.Item], tmp_path: Path):
    opened = catalog.open_patch(items[0])
    opened.to_netcdf(tmp_path / "patch.nc", engine="h5netcdf")
    with rasterio.open(f"netcdf:{tmp_path / 'patch.nc'}:s2_20m") as image:
        assert image.crs.to_epsg() == 32633
        assert image.transform.to_gdal() == (
            items[0].properties["proj:bbox"][0], 20.0, 0.0, items[0].properties["proj:bbox"][3], 0.0, -20.0,
        )  # fmt: skip
        np.testing.assert_array_equal(image.read(), opened.s2_20m)


def test_a_patch_of_a_catalog_on_a_web_server_is_the_same(root: Path, items: list[pystac.Item]):
    with RangeServer(root) as server:
        found = {
            item.id: item for item in pystac.Catalog.from_file(f"{server.href}/catalog.json").get_items(recursive=True)
        }
        assert list(found) == [item.id for item in items]
        opened = catalog.open_patch(found[items[3].id])
        by_id = catalog.open_patch(items[3].id, f"{server.href}/labelled")
    xr.testing.assert_identical(opened, catalog.open_patch(items[3]))
    xr.testing.assert_identical(by_id, opened)


def test_patches_of_joined_corpora_and_of_subsets_are_found_where_they_lie(
    root: Path, items: list[pystac.Item], tmp_path: Path
):
    publish([write_fake_build(tmp_path / "build", 7, side_px=SIDE)], tmp_path / "catalog", workers=1)
    own = [patch.patch_id for patch in Corpus.open(tmp_path / "catalog/labelled")[5:]]
    joined = Corpus.join([Corpus.open(root / "labelled"), Corpus.open(tmp_path / "catalog/labelled")])
    for item in items:
        xr.testing.assert_identical(catalog.open_patch(item.id, joined), catalog.open_patch(item))
    for name in own:
        assert name not in {item.id for item in items}
        expected = catalog.open_patch(name, tmp_path / "catalog/labelled")
        xr.testing.assert_identical(catalog.open_patch(name, joined), expected)
    folder = root / "labelled"
    save(search(folder, Criteria(ids=(items[3].id,))), folder, tmp_path / "s.parquet")
    xr.testing.assert_identical(catalog.open_patch(items[3], tmp_path / "s.parquet"), catalog.open_patch(items[3]))
    with pytest.raises(CorpusError, match=f"holds no patch {items[0].id}"):
        catalog.open_patch(items[0], tmp_path / "s.parquet")


@pytest.mark.parametrize("lost", ["s1/c/0/0/0/0", "scl/c/0/0/0", "corine/c/0/0/0", "provenance/c/0", "patch/c/0"])
@pytest.mark.parametrize("remote", [False, True])
def test_lost_files_are_no_missing_pixels(root: Path, tmp_path: Path, lost: str, remote: bool):
    shutil.copytree(root, tmp_path / "catalog")
    item = Corpus.open(root / "labelled").table["id"][3].as_py()
    (tmp_path / f"catalog/labelled/shards/000001.zarr/{lost}").unlink()
    with RangeServer(tmp_path / "catalog") as server:
        base = f"{server.href}/labelled" if remote else str(tmp_path / "catalog/labelled")
        for wrong in (
            lambda: catalog.open_patch(item, base),
            lambda: catalog.open_shard(f"{base}/shards/000001.zarr"),
        ):
            with pytest.raises(ChecksumError, match=rf"{base}/shards/000001.zarr/{lost} is missing; restore the shard"):
                wrong()


@pytest.mark.parametrize("name", ["s2_20m", "osm", "west_m"])
def test_damage_is_told_from_a_measurement(root: Path, tmp_path: Path, name: str):
    shutil.copytree(root, tmp_path / "catalog")
    item = Corpus.open(root / "labelled").table["id"][3].as_py()
    (file,) = (
        path for path in (tmp_path / f"catalog/labelled/shards/000001.zarr/{name}/c").rglob("0*") if path.is_file()
    )
    stored = bytearray(file.read_bytes())
    stored[len(stored) // 2 if name == "west_m" else 40] ^= 1
    file.write_bytes(stored)
    with pytest.raises(ChecksumError, match=r"000001\.zarr.* is damaged .*; restore the shard"):
        catalog.open_patch(item, tmp_path / "catalog/labelled")


def test_a_server_that_refuses_is_named(root: Path, items: list[pystac.Item]):
    with RangeServer(root, faults=Faults((403,) * 99)) as server:
        shard = f"{server.href}/labelled/shards/000001.zarr"
        for wrong in (
            lambda: catalog.open_patch(items[3].id, f"{server.href}/labelled"),
            lambda: catalog.open_shard(shard),
        ):
            with pytest.raises(StoreError, match=r"http://.*shards/000001\.zarr.*403.*credentials"):
                wrong()


def test_what_cannot_be_opened_says_why(root: Path, items: list[pystac.Item], tmp_path: Path):
    document = json.loads((root / f"labelled/shard-000000/{items[0].id}.json").read_text())
    shard = str(root / "labelled/shards/000000.zarr")
    for wrong, reason in (
        (lambda: catalog.open_patch(items[0].id), "give its corpus too"),
        (lambda: catalog.open_patch("33uuu-000-000-19990101", root / "labelled"), "holds no patch 33uuu"),
        (lambda: catalog.open_patch(document), "relative to a place that is not known"),
        (lambda: catalog.open_patch({**document, "id": "other"}, root / "labelled"), "holds no patch other"),
        (lambda: catalog.open_patch({**document, "id": "other", "assets": {"data": {"href": shard}}}), "other 0 times"),
        (lambda: catalog.open_shard(tmp_path), "is no shard of a corpus"),
        (lambda: catalog.open_shard(tmp_path / "nowhere.zarr"), "is no shard of a corpus"),
    ):
        with pytest.raises(CorpusError, match=reason):
            wrong()
    with pytest.raises(AttributeError, match="no attribute 'open_tile'"):
        _ = catalog.open_tile
