"""Images behind a web server whose bodies come to nothing again and again."""

import numpy as np
import pytest
from rasterio.errors import RasterioIOError

from benchmarks.range_server import RangeServer
from ingest.errors import Refused
from ingest.images import DAMAGED_IMAGE, Access, Image
from ingest.sandbox.cogs import Window, write_sparse_cog
from ingest.sources import local


@pytest.fixture(scope="module")
def href(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    pixels = np.arange(256 * 256, dtype=np.uint16).reshape(256, 256)
    write_sparse_cog(
        folder / "band.tif", epsg=32633, west_m=399_960, north_m=5_800_020, width_px=256, height_px=256, gsd_m=10,
        windows=[Window(0, 0, pixels)], nodata=None,
    )  # fmt: skip
    with RangeServer(folder) as server:
        yield f"{server.href}/band.tif"


class Cut:
    """Reads an image, after bodies that broke off."""

    def __init__(self, times):
        self.left = times

    def __call__(self, dataset):
        if self.left:
            self.left -= 1
            raise RasterioIOError("Read failed")
        return int(dataset.read(1).sum())


def test_bodies_cut_seven_times_running_are_not_taken_for_a_damaged_image(href):
    image = Image("B02", href, Access(local("catalog.json")))
    assert image.use(Cut(7)) == 65_535 * 65_536 // 2
    assert image.use(Cut(7)) == 65_535 * 65_536 // 2


def test_an_image_that_never_decodes_is_refused_and_sooner_the_next_time(href):
    image, tried = Image("B02", href, Access(local("catalog.json"))), Cut(100)
    with pytest.raises(Refused, match=r"B02.*not decoded") as refused:
        image.use(tried)
    assert refused.value.reason == DAMAGED_IMAGE
    assert tried.left == 92
    with pytest.raises(Refused):
        image.use(tried)
    assert tried.left == 89
    assert image.use(Cut(2)) == 65_535 * 65_536 // 2
