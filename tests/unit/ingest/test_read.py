"""Window reads against rasterio's own, bit by bit, and against independent computations where pixels are chosen."""

import datetime as dt

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from rasterio.transform import Affine
from rasterio.windows import Window as RasterioWindow

from catalog.bands import S1, S1_NODATA, S2, S2_10M, S2_20M
from catalog.grid import PatchGrid
from catalog.patch import Scene, ScenePair
from ingest.errors import ReadError, Refused
from ingest.images import DAMAGED_IMAGE, MISSING_IMAGE, Access
from ingest.radiometry import stored_gamma0
from ingest.read import OUTSIDE_IMAGE, SceneReader, read_nearest, read_patch
from ingest.sandbox.cogs import Window, write_sparse_cog
from ingest.sources import local

EPSG, WEST, NORTH = 32633, 399_960, 5_800_020  # the corner of a tile, on its 60 m lattice
SIDE_PX = 384  # of the images, at 10 m: six cells of 64 px, 64 pixels of 60 m
ACCESS = Access(local("catalog.json"))
GSD_M = {band.name: band.gsd_m for band in S2 + S1} | {"SCL": 20}
CORNERS = [(0, 0), (0, 320), (320, 0), (320, 320), (64, 128)]


def pixels_of(name, side_px=SIDE_PX, dtype=None):
    rng = np.random.default_rng(sum(name.encode()))
    side = side_px * 10 // GSD_M[name]
    if name in ("VV", "VH"):
        return rng.gamma(4.4, 0.02, (side, side)).astype(np.float32)
    if name == "SCL":
        return rng.integers(0, 12, (side, side), np.uint8)
    return rng.integers(1, 12_000, (side, side), np.uint16)


def write_image(folder, name, pixels, *, epsg=EPSG, west_m=WEST, north_m=NORTH, nodata=0):
    path = folder / f"{name}.tif"
    height, width = pixels.shape
    write_sparse_cog(
        path, epsg=epsg, west_m=west_m, north_m=north_m, width_px=width, height_px=height, gsd_m=GSD_M[name],
        windows=[Window(0, 0, pixels)], nodata=nodata,
    )  # fmt: skip
    return path


def scene(hrefs, *, sensor, epsg=EPSG, baseline="05.10"):
    optical = sensor == "sentinel-2"
    return Scene(
        item_id=sensor, collection=sensor, acquired=dt.datetime(2023, 6, 1, 10, tzinfo=dt.UTC), platform="made up",
        orbit_state=None, relative_orbit=None, epsg=epsg, footprint=shapely.box(0, 0, 1, 1),
        hrefs={name: str(path) for name, path in hrefs.items()},
        baseline=baseline if optical else None, tile="33UUU" if optical else None,
    )  # fmt: skip


def grid_at(row_px, col_px, side_px=64):
    return PatchGrid(EPSG, WEST + col_px * 10, NORTH - row_px * 10, side_px)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return {name: write_image(folder, name, pixels_of(name), nodata=None) for name in GSD_M}


def pair_of(images, grid, **optical):
    s2 = scene({name: images[name] for name in [*(band.name for band in S2), "SCL"]}, sensor="sentinel-2", **optical)
    return ScenePair(grid, scene({band.name: images[band.name] for band in S1}, sensor="sentinel-1"), s2)


def patch_of(pair):
    with SceneReader(pair.s2, ACCESS) as s2, SceneReader(pair.s1, ACCESS) as s1:
        return read_patch(pair, s2, s1)


@pytest.mark.parametrize("name", ["VV", "VH", "B02", "B08", "B8A", "B12", "SCL"])
@pytest.mark.parametrize("row_px, col_px", [*CORNERS, (14, 254)])
def test_a_window_is_bit_identical_to_rasterios(images, name, row_px, col_px):
    gsd_m = GSD_M[name]
    step = gsd_m // 10
    with rasterio.open(images[name]) as image:
        expected = image.read(1, window=RasterioWindow(col_px // step, row_px // step, 64 // step, 64 // step))
        found = read_nearest(image, grid_at(row_px, col_px), gsd_m)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize("row_px, col_px", CORNERS)
def test_a_patch_holds_every_band_of_both_sensors_in_its_place(images, row_px, col_px):
    """The whole bands, cut and repeated with numpy alone, are the reference."""
    patch = patch_of(pair_of(images, grid_at(row_px, col_px), baseline="02.12"))
    rows, cols = slice(row_px, row_px + 64), slice(col_px, col_px + 64)

    def at_10m(name):
        return np.kron(pixels_of(name), np.ones((GSD_M[name] // 10,) * 2, pixels_of(name).dtype))[rows, cols]

    for stored, band in zip(patch.s2_10m, S2_10M, strict=True):
        np.testing.assert_array_equal(stored, at_10m(band.name), err_msg=band.name)
    for stored, band in zip(patch.s2_20m, S2_20M, strict=True):
        np.testing.assert_array_equal(stored, at_10m(band.name)[::2, ::2], err_msg=band.name)
    np.testing.assert_array_equal(patch.scl, at_10m("SCL")[::2, ::2])
    for stored, band in zip(patch.s1, S1, strict=True):
        np.testing.assert_array_equal(stored, stored_gamma0(at_10m(band.name)), err_msg=band.name)


@pytest.mark.parametrize("first", range(0, 24, 2))
def test_a_60_m_pixel_serves_the_nine_20_m_pixels_that_it_holds(images, first):
    """Patches of 256 px start at every phase of the 60 m lattice."""
    with rasterio.open(images["B09"]) as image:
        found = read_nearest(image, grid_at(first, first, 30), 20)
    index = (first // 2 + np.arange(15)) // 3
    np.testing.assert_array_equal(found, pixels_of("B09")[np.ix_(index, index)])


@pytest.mark.parametrize("missing_tag", [True, False])
def test_zero_is_nodata_with_and_without_a_nodata_tag(tmp_path, images, missing_tag):
    pixels = pixels_of("B03")
    pixels[:20, :20] = 0
    made = images | {"B03": write_image(tmp_path, "B03", pixels, nodata=None if missing_tag else 0)}
    patch = patch_of(pair_of(made, grid_at(0, 0)))
    np.testing.assert_array_equal(patch.s2_10m[1] == 0, pixels[:64, :64] == 0)
    np.testing.assert_array_equal(patch.s2_10m[1][20:, 20:], np.maximum(pixels[20:64, 20:64].astype(int) - 1000, 1))
    assert patch.provenance.quality.boa_offset_applied


def test_a_file_with_rows_from_south_to_north_gives_the_same_pixels(tmp_path, images):
    """Rewritten radar scenes came with a positive y step (PlanetaryComputer issue 417)."""
    pixels = pixels_of("VV")
    path = tmp_path / "upside_down.tif"
    upward = Affine(10, 0, WEST, 0, 10, NORTH - SIDE_PX * 10)
    shape = {"width": SIDE_PX, "height": SIDE_PX, "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", driver="GTiff", crs=f"EPSG:{EPSG}", transform=upward, **shape) as image:
        image.write(pixels[::-1], 1)
    for row_px, col_px in [*CORNERS, (14, 253)]:
        with rasterio.open(path) as image:
            found = read_nearest(image, grid_at(row_px, col_px), 10)
        np.testing.assert_array_equal(found, pixels[row_px : row_px + 64, col_px : col_px + 64])


@pytest.fixture(scope="module")
def other_zone(tmp_path_factory):
    """A radar scene of zone 32 that holds the patch of zone 33."""
    folder = tmp_path_factory.mktemp("zone 32")
    x_m, y_m = pyproj.Transformer.from_crs(EPSG, 32632, always_xy=True).transform(WEST + 320, NORTH - 320)
    corner = {"epsg": 32632, "west_m": int(x_m // 10 * 10) - 1000, "north_m": int(y_m // 10 * 10) + 1000}
    return {b.name: write_image(folder, b.name, pixels_of(b.name), **corner) for b in S1}, corner


def test_across_zones_every_pixel_is_the_nearest_of_the_source_and_it_is_flagged(images, other_zone):
    paths, corner = other_zone
    patch = patch_of(pair_of(images | paths, grid_at(0, 0)))
    there = pyproj.Transformer.from_pipeline(
        f"+proj=pipeline +step +inv +proj=utm +zone={EPSG % 100} +ellps=WGS84 +step +proj=utm +zone=32 +ellps=WGS84"
    )
    power = pixels_of("VH")
    for row, col in np.random.default_rng(0).integers(0, 64, (200, 2)):
        x_m, y_m = there.transform(WEST + col * 10 + 5, NORTH - row * 10 - 5)
        centre_col, centre_row = (x_m - corner["west_m"]) / 10 - 0.5, (corner["north_m"] - y_m) / 10 - 0.5
        nearest = power[round(centre_row), round(centre_col)]
        assert patch.s1[1, row, col] == stored_gamma0(nearest)
    assert patch.provenance.quality.s1_zone_changed
    assert set(patch.s1[1].ravel()) <= set(stored_gamma0(power).ravel())  # no value is made up


def test_the_file_and_not_the_item_says_in_which_zone_pixels_lie(images):
    """STAC `proj:*` of radar items is wrong for months of the archive (PlanetaryComputer issues 158 and 417)."""
    pair = pair_of(images, grid_at(64, 64))
    lying = ScenePair(pair.grid, scene(pair.s1.hrefs, sensor="sentinel-1", epsg=32601), pair.s2)
    patch = patch_of(lying)
    assert not patch.provenance.quality.s1_zone_changed
    np.testing.assert_array_equal(patch.s1, patch_of(pair).s1)


@pytest.mark.parametrize("row_px, col_px", [(-2, 0), (0, -2), (322, 0), (0, 322)])
def test_a_patch_that_leaves_the_image_is_refused(images, row_px, col_px):
    with rasterio.open(images["B02"]) as image, pytest.raises(Refused, match="384 x 384 px") as refused:
        read_nearest(image, grid_at(row_px, col_px), 10)
    assert refused.value.reason == OUTSIDE_IMAGE


@pytest.mark.parametrize("damage, reason", [("gone", MISSING_IMAGE), ("cut", DAMAGED_IMAGE)])
def test_an_image_that_is_gone_or_cut_is_refused_for_that_reason(tmp_path, damage, reason):
    path = write_image(tmp_path, "B02", pixels_of("B02"))
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reader = SceneReader(scene({"B02": path}, sensor="sentinel-2"), ACCESS)
    with reader, pytest.raises((Refused, ReadError)) as refused:
        reader.read("B02", grid_at(200, 200), 10)
    assert refused.value.reason == reason
    assert str(path) in str(refused.value)


def test_a_scene_without_a_baseline_is_refused(images):
    with pytest.raises(Refused, match="no processing baseline") as refused:
        patch_of(pair_of(images, grid_at(0, 0), baseline=None))
    assert refused.value.reason == "unknown_baseline"


def test_border_noise_is_nodata_and_lowers_the_valid_share(tmp_path, images):
    """Zeros that the provider did not mark, before 2018 (PlanetaryComputer issue 307)."""
    pixels = pixels_of("VV")
    pixels[:64, :16] = 0
    patch = patch_of(pair_of(images | {"VV": write_image(tmp_path, "VV", pixels, nodata=-32768)}, grid_at(0, 0)))
    assert (patch.s1[0, :, :16] == S1_NODATA).all()
    assert patch.provenance.quality.s1_valid_share == 0.75
