"""The published catalog of real pixels, as its users meet it: pystac, xarray, the corpus, the validator."""

import datetime as dt
import json
import subprocess
import sys

import numpy as np
import pystac
import pytest
import shapely
import xarray as xr

from catalog.corpus import Corpus
from catalog.errors import ChecksumError, CorpusError
from catalog.publish import publish
from catalog.validate import validate


@pytest.fixture(scope="session")
def real_catalog(real_build, tmp_path_factory):
    dest = tmp_path_factory.mktemp("published") / "catalog"
    publish([real_build], dest, workers=1, show_progress=False)
    return dest


@pytest.fixture(scope="session")
def items(real_catalog):
    return list(pystac.Catalog.from_file(real_catalog / "catalog.json").get_items(recursive=True))


def test_pystac_walks_the_catalog_and_every_item_validates(items):
    assert len(items) == 40
    assert len({item.id for item in items}) == 40
    for item in items:
        pystac.validation.validate_dict(item.to_dict(transform_hrefs=False), extensions=[])


def test_an_items_asset_opens_in_xarray_with_the_stated_keywords(items, real_catalog):
    corpus = Corpus.open(real_catalog / "unlabelled")
    by_id = {patch_id: i for i, patch_id in enumerate(corpus.table["id"].to_pylist())}
    for item in items[::7]:
        asset = item.assets["data"]
        cube = xr.open_zarr(asset.get_absolute_href(), consolidated=asset.extra_fields["zarr:consolidated"])
        patch = cube.sel(patch=item.id)
        assert patch["s2_10m"].dims == ("band_10m", "y_10m", "x_10m")
        assert patch["pol"].to_numpy().tolist() == ["VV", "VH"]
        assert (int(patch["west_m"]), int(patch["north_m"])) == tuple(
            item.properties["proj:transform"][i] for i in (2, 5)
        )
        stored = corpus[by_id[item.id]]
        expected = np.where(stored.s2_10m == 0, np.nan, stored.s2_10m * 1e-4)
        np.testing.assert_allclose(patch["s2_10m"], expected, rtol=1e-6)


def test_items_say_where_and_when_their_pixels_are_from(items):
    for item in items:
        properties = item.properties
        gap = dt.timedelta(hours=properties["deepsentinel:gap_hours"])
        assert abs(gap) <= dt.timedelta(days=3)
        assert item.datetime + gap == pytest.approx(
            dt.datetime.fromisoformat(properties["deepsentinel:s1_datetime"]), abs=dt.timedelta(seconds=1)
        )
        sources = [link.href for link in item.links if link.rel == "derived_from"]
        assert {href.rpartition("/")[2] for href in sources} == {
            properties["deepsentinel:s1_item_id"], properties["deepsentinel:s2_item_id"]
        }  # fmt: skip
        assert all(href.startswith("https://planetarycomputer.microsoft.com/") for href in sources)
        outline = shapely.from_geojson(json.dumps(item.geometry))
        np.testing.assert_allclose(outline.bounds, item.bbox, atol=1e-6)


def test_the_corpus_reads_batches_slices_and_cubes_alike(real_catalog):
    corpus = Corpus.open(real_catalog / "unlabelled" / "collection.json")
    assert (len(corpus), corpus.side_px) == (40, 60)
    batch = corpus.read([3, 30, 3], ["s1", "scl"])
    np.testing.assert_array_equal(batch["s1"][0], batch["s1"][2])
    np.testing.assert_array_equal(batch["s1"][1], corpus[30].s1)
    part = corpus[10:20]
    assert len(part) == 10
    assert part[0].patch_id == corpus[10].patch_id
    assert part.fingerprint == corpus.fingerprint
    patch, cube = corpus[5], corpus.cube(5)
    np.testing.assert_array_equal(cube[1], patch.s2_10m[0])  # B02 is second in wavelength
    np.testing.assert_array_equal(cube[0][::2, ::2], patch.s2_20m[6])  # B01 is first
    assert (cube[0][::2, ::2] == cube[0][1::2, 1::2]).all()
    with pytest.raises(CorpusError, match="no array corine; it has s2_10m"):
        corpus.read([0], ["corine"])
    with pytest.raises(IndexError):
        corpus[40]


def test_validation_passes_and_finds_a_flipped_byte(real_build, tmp_path):
    dest = tmp_path / "catalog"
    publish([real_build], dest, workers=1, show_progress=False)
    assert [f for f in validate(dest, show_progress=False).findings if f.rule not in ("s2-blue-end",)] == []
    shard = dest / "unlabelled" / "shards" / "000001.zarr" / "s1" / "c" / "0" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.unlink()  # the published shard is a link to the build's; damage this copy alone
    shard.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-m", "catalog.validate", dest], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert "000001.zarr" in done.stdout
    assert "checksum" in done.stdout
    corpus = Corpus.open(dest / "unlabelled")
    rows = [i for i, s in enumerate(corpus.table["deepsentinel:shard"].to_pylist()) if s == 1]
    with pytest.raises(ChecksumError, match=r"row \d+ of .*000001\.zarr/s1 is damaged"):
        corpus.read(rows, ["s1"])


def test_a_place_where_nothing_is_published_says_so(tmp_path):
    with pytest.raises(CorpusError, match="publish a build there"):
        Corpus.open(tmp_path)
