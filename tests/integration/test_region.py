"""Datacubes of an area: on the tile's own grid the pixels of single reads, elsewhere those of a plain odc.stac.load."""

import json
import warnings

import numpy as np
import pytest
import rasterio

from catalog.errors import OutputExistsError
from catalog.mgrs import transformer
from ingest.errors import PlanError
from ingest.region import Region, find_items, geobox_of, load_region, run, without_projection
from ingest.sandbox.items import blob_path
from ingest.sandbox.server import Sandbox
from ingest.sources import source_of

# odc-geo and rasterio 1.4 use what shapely 2.1 and affine 3 will give up, odc-loader what xarray will
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def inside(tiny_archive):
    """An area of some hundred pixels inside the simulated window."""
    facts = json.loads((tiny_archive / "archive.json").read_text())["regions"][0]
    west, south, _, _ = facts["window_m"]
    to_lonlat = transformer(facts["epsg"], 4326)
    low, high = to_lonlat.transform(west + 1000, south + 1000), to_lonlat.transform(west + 3000, south + 2600)
    return (*low, *high)


def region(inside, out, **changes):
    return Region(inside, out, start="2018-06-01", end="2018-06-10", scene_cloud_max=100.0, **changes)


@pytest.fixture(scope="module")
def served(tiny_archive):
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        yield tiny_archive


@pytest.fixture(scope="module")
def native(served, inside, tmp_path_factory):
    options = region(inside, tmp_path_factory.mktemp("native") / "cube.zarr")
    box = geobox_of(options)
    return options, box, load_region(options, box)


@pytest.mark.parametrize("name, gsd_m", [("B02", 10), ("B8A", 20), ("B09", 60), ("SCL", 20), ("VV", 10), ("VH", 10)])
def test_on_the_tiles_own_grid_pixels_are_the_files_own(native, served, name, gsd_m):
    options, box, cube = native
    radar = name in ("VV", "VH")
    source = source_of(options.source)
    (item,) = find_items(options, source, source.s1_collection if radar else source.s2_collection)
    with rasterio.open(served / "blobs" / blob_path(item["assets"][source.assets[name]]["href"])) as image:
        rows = np.floor((image.transform.f - box.coords["y"].values) / gsd_m).astype(int)
        cols = np.floor((box.coords["x"].values - image.transform.c) / gsd_m).astype(int)
        window = rasterio.windows.Window(cols[0], rows[0], cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1)
        expected = image.read(1, window=window)[np.ix_(rows - rows[0], cols - cols[0])]
    np.testing.assert_array_equal(cube[name].values[0], expected)


@pytest.mark.parametrize("names, nodata", [(("B03", "B11", "B01", "SCL"), 0), (("VV", "VH"), -32768)])
@pytest.mark.parametrize("crs, resolution", [("EPSG:3035", 20.0), ("EPSG:4326", 0.0002)])
def test_in_another_projection_it_is_what_odc_stac_loads(served, inside, tmp_path, names, nodata, crs, resolution):
    import odc.stac
    import pystac

    options = region(inside, tmp_path / "cube.zarr", crs=crs, resolution=resolution)
    box = geobox_of(options)
    source = source_of(options.source)
    collection = source.s1_collection if "VV" in names else source.s2_collection
    (item,) = find_items(options, source, collection)
    keys = [source.assets[name] for name in names]
    dtype = "float32" if "VV" in names else "uint16"
    plain = odc.stac.load(
        [pystac.Item.from_dict(item)], bands=keys, geobox=box, resampling="nearest", patch_url=source.sign,
        stac_cfg={
            collection: {"assets": {"*": {"data_type": dtype, "nodata": nodata}}}, "*": {"warnings": "ignore"}
        },
    )  # fmt: skip
    cube = load_region(options, box)
    for name, key in zip(names, keys, strict=True):
        expected = plain[key].values[0]
        if "VV" in names:
            expected = np.where((expected > 0) & np.isfinite(expected), expected, np.nan)
        np.testing.assert_array_equal(cube[name].values[0], expected)
        assert (cube[name].values > 0).mean() > 0.7


def test_a_store_is_written_once_and_opens(served, inside, tmp_path):
    import xarray as xr

    options = region(inside, tmp_path / "cube.zarr", resolution=60.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr-python's, of its own format's youth
        run(options)
        cube = xr.open_zarr(options.out, consolidated=False)
    assert cube["B02"].dims == ("time_s2", "y", "x")
    assert cube["VV"].dims == ("time_s1", "y", "x")
    assert cube["VV"].dtype == "float32"
    with pytest.raises(OutputExistsError, match="already exists"):
        run(options)


def test_projections_that_items_state_are_not_used(native):
    options, _, _ = native
    source = source_of(options.source)
    (item,) = find_items(options, source, source.s1_collection)
    kept = without_projection(item)
    assert "proj:transform" in item["properties"]
    assert not [name for name in kept["properties"] if name in ("proj:transform", "proj:shape", "proj:bbox")]
    assert kept["properties"]["proj:epsg"] == item["properties"]["proj:epsg"]


def test_an_empty_or_huge_area_is_refused(tmp_path):
    with pytest.raises(PlanError, match="is empty"):
        geobox_of(Region((1.0, 2.0, 1.0, 3.0), tmp_path / "a.zarr"))
    with pytest.raises(PlanError, match="cut it in parts"):
        geobox_of(Region((1.0, 45.0, 5.0, 48.0), tmp_path / "a.zarr"))
