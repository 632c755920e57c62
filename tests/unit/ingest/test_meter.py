"""Bytes that images take, against the file's own size and a closed form."""

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window as RasterioWindow

from catalog.grid import PatchGrid
from ingest.images import Access, Image
from ingest.meter import HEADER_BYTES, block_bytes, blocks_under
from ingest.read import read_nearest
from ingest.sandbox.cogs import Window, write_sparse_cog
from ingest.sources import local

EPSG, WEST, NORTH, SIDE_PX = 32633, 399_960, 5_800_020, 1536


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Nine blocks that do not compress: each far larger than the header."""
    path = tmp_path_factory.mktemp("meter") / "noise.tif"
    pixels = np.random.default_rng(0).integers(0, 65_536, (SIDE_PX, SIDE_PX), dtype=np.uint16)
    write_sparse_cog(
        path, epsg=EPSG, west_m=WEST, north_m=NORTH, width_px=SIDE_PX, height_px=SIDE_PX, gsd_m=10,
        windows=[Window(0, 0, pixels)], nodata=None,
    )  # fmt: skip
    return path


@pytest.mark.parametrize(
    "window, blocks",
    [
        ((0, 0, 512, 512), {(0, 0)}),
        ((511, 0, 2, 1), {(0, 0), (0, 1)}),
        ((511, 511, 2, 2), {(0, 0), (0, 1), (1, 0), (1, 1)}),
        ((1024, 512, 512, 513), {(1, 2), (2, 2)}),
    ],
)
def test_a_window_touches_the_blocks_that_hold_its_pixels(noise, window, blocks):
    with rasterio.open(noise) as image:
        assert set(blocks_under(image, RasterioWindow(*window))) == blocks


def test_the_blocks_of_a_whole_file_are_the_file_without_its_beginning(noise):
    with rasterio.open(noise) as image:
        blocks = list(blocks_under(image, RasterioWindow(0, 0, SIDE_PX, SIDE_PX)))
        sizes = {block: block_bytes(image, block) for block in blocks}
    assert len(blocks) == 9
    assert 0 < sizes[0, 0] < sizes[1, 1] - 100_000  # begins inside the header's bytes
    beside = noise.stat().st_size - sum(sizes.values())
    assert HEADER_BYTES <= beside < HEADER_BYTES + 1000  # each block has eight bytes about it


def test_every_block_counts_once_until_the_image_is_opened_again(noise):
    access = Access(local("catalog.json"))
    image = Image("noise", str(noise), access)
    grid = PatchGrid(EPSG, WEST + 5120, NORTH, 256)

    def read() -> int:
        image.use(lambda dataset: read_nearest(dataset, grid, 10, image.count))
        return access.meter.nbytes

    once = read()
    assert once > HEADER_BYTES
    assert read() == once
    image.close()
    assert read() == 2 * once
    image.close()
