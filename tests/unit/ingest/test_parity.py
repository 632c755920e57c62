"""Every band's window, wherever it lies, against rasterio's own read of it, bit by bit."""

import numpy as np
import pytest
import rasterio
from hypothesis import example, given
from hypothesis import strategies as st
from rasterio.windows import Window as RasterioWindow

from catalog.bands import S1, S2
from catalog.grid import PatchGrid
from ingest.read import read_nearest
from ingest.sandbox.cogs import Window, write_sparse_cog

EPSG, WEST, NORTH = 32633, 399_960, 5_800_020  # the corner of a tile, on its 60 m lattice
SIDE_PX = 1_140  # at 10 m: three blocks of 512, the last one cut; whole pixels at 20 and 60 m
GSD_M = {band.name: band.gsd_m for band in S2 + S1} | {"SCL": 20}
EDGE = SIDE_PX - 252


def pixels_of(name):
    rng = np.random.default_rng(sum(name.encode()))
    side = SIDE_PX * 10 // GSD_M[name]
    if name in ("VV", "VH"):
        power = rng.gamma(4.4, 0.02, (side, side)).astype(np.float32)
        power[rng.random((side, side)) < 0.01] = np.nan
        return power
    if name == "SCL":
        return rng.integers(0, 12, (side, side), np.uint8)
    return rng.integers(0, 12_000, (side, side), np.uint16)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parity")
    opened = {}
    for name, gsd_m in GSD_M.items():
        side = SIDE_PX * 10 // gsd_m
        write_sparse_cog(
            folder / f"{name}.tif", epsg=EPSG, west_m=WEST, north_m=NORTH, width_px=side, height_px=side, gsd_m=gsd_m,
            windows=[Window(0, 0, pixels_of(name))], nodata=None,
        )  # fmt: skip
        opened[name] = rasterio.open(folder / f"{name}.tif")
    yield opened
    for image in opened.values():
        image.close()


def same_bits(one, other):
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    np.testing.assert_array_equal(np.ascontiguousarray(one).view(np.uint8), np.ascontiguousarray(other).view(np.uint8))


positions = st.tuples(st.integers(0, EDGE // 2), st.integers(0, EDGE // 2))  # every patch starts on the 20 m lattice


@pytest.mark.parametrize("name", [name for name, gsd_m in GSD_M.items() if gsd_m < 60])
@given(positions)
@example((0, 0))
@example((EDGE // 2, EDGE // 2))
@example((0, EDGE // 2))
@example((256, 0))
def test_bands_of_10_and_20_m_are_rasterios_window(images, name, position):
    row, col = position
    gsd_m = GSD_M[name]
    step = gsd_m // 10
    image = images[name]
    found = read_nearest(image, PatchGrid(EPSG, WEST + col * 20, NORTH - row * 20, 252), gsd_m)
    same_bits(found, image.read(1, window=RasterioWindow(col * 2 // step, row * 2 // step, 252 // step, 252 // step)))


@pytest.mark.parametrize("name", [name for name, gsd_m in GSD_M.items() if gsd_m == 60])
@given(positions)
@example((0, 0))
@example((EDGE // 2, EDGE // 2))
@example((1, 2))
def test_bands_of_60_m_are_rasterios_covering_window_repeated(images, name, position):
    """The window of the 60 m pixels that the patch touches, each repeated 3 x 3, cut to the patch."""
    row, col = position
    image = images[name]
    found = read_nearest(image, PatchGrid(EPSG, WEST + col * 20, NORTH - row * 20, 252), 20)
    height, width = ((start + 126 - 1) // 3 - start // 3 + 1 for start in position)
    covering = image.read(1, window=RasterioWindow(col // 3, row // 3, width, height))
    repeated = np.repeat(np.repeat(covering, 3, axis=0), 3, axis=1)
    same_bits(found, repeated[row % 3 : row % 3 + 126, col % 3 : col % 3 + 126])
