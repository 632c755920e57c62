"""Read the pixels of a patch from two scenes: windows of COGs, nothing resampled but what cannot be avoided.

Georeferencing comes from the file, never from STAC `proj:*`, which is wrong for part of the Planetary Computer's
archive. Every stored pixel is the source pixel that holds its centre: inside one UTM zone that is the identity for
10 m and 20 m bands and an exact 3 x 3 repetition for 60 m bands; across zones it is nearest neighbour, which keeps
speckle statistics where bilinear and cubic do not.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rasterio
import requests
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from catalog.bands import S1, S2_10M, S2_20M
from catalog.grid import PatchGrid
from catalog.mgrs import transformer
from catalog.patch import Patch, Provenance, Scene, ScenePair, describe_scene
from ingest.errors import ReadError, Refused
from ingest.radiometry import boa_add_offset, measure_quality, remove_offset, stored_gamma0
from ingest.sources.profile import SCL, Source

_log = logging.getLogger(__name__)

OUTSIDE_IMAGE = "outside_image"
MISSING_IMAGE = "missing_image"
DAMAGED_IMAGE = "damaged_image"
UNKNOWN_BASELINE = "unknown_baseline"

GDAL_OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no listing of the folder beside the file
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    "GDAL_INGESTED_BYTES_AT_OPEN": 131072,  # holds the whole header of a full Sentinel-1 scene
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MAX_RETRY": 10,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_CONNECTTIMEOUT": 20,
}
_ATTEMPTS = 2  # the second with a new token, since tokens die after 45 minutes
_PROBE_TIMEOUT_S = 30


@contextlib.contextmanager
def gdal_settings() -> Iterator[None]:
    """GDAL as remote COGs want it; open images only inside."""
    with rasterio.Env(**GDAL_OPTIONS):
        yield


class SceneReader:
    """The images of one scene, opened when first needed and kept open for the patches to come."""

    def __init__(self, scene: Scene, source: Source) -> None:
        self.scene = scene
        self._source = source
        self._open: dict[str, Any] = {}

    def __enter__(self) -> "SceneReader":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the images."""
        for image in self._open.values():
            image.close()
        self._open.clear()

    def read(self, name: str, grid: PatchGrid, gsd_m: int) -> NDArray[Any]:
        """The band's pixels at the grid's pixel centres of a resolution, axes `y x`.

        Raises:
            Refused: the image does not hold the patch, is gone, or is damaged; trying again does not help.
            ReadError: the image cannot be had now.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return read_nearest(self._image(name), grid, gsd_m)
            except RasterioError as error:
                _log.info("reading %s of %s failed (attempt %d): %s", name, self.scene.item_id, attempt + 1, error)
                self.close()
                self._source.forget_token(self.scene.hrefs[name])
                last = error
        raise _explain(self.scene, name, self._source, last)

    def zone_differs(self, name: str, grid: PatchGrid) -> bool:
        """Whether the band's file lies in another UTM zone than the grid."""
        return bool(self._image(name).crs.to_epsg() != grid.epsg)

    def _image(self, name: str) -> Any:
        if name not in self._open:
            self._open[name] = rasterio.open(self._source.sign(self.scene.hrefs[name]))
        return self._open[name]


def read_nearest(image: Any, grid: PatchGrid, gsd_m: int) -> NDArray[Any]:
    """For each pixel centre of the grid at a resolution, the pixel of an open image that holds it, axes `y x`.

    Raises:
        Refused: a centre lies outside the image.
    """
    rows, cols = _pixel_indices(image, grid, gsd_m)
    top, left, bottom, right = int(rows.min()), int(cols.min()), int(rows.max()), int(cols.max())
    if top < 0 or left < 0 or bottom >= image.height or right >= image.width:
        raise Refused(
            OUTSIDE_IMAGE,
            f"{image.name.split('?')[0]} is {image.height} x {image.width} px and the patch needs rows "
            f"{top}..{bottom}, columns {left}..{right}",
        )
    pixels = image.read(1, window=Window(left, top, right - left + 1, bottom - top + 1))
    found: NDArray[Any] = pixels[rows - top, cols - left]
    return found


def _pixel_indices(image: Any, grid: PatchGrid, gsd_m: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the image's pixels that hold the grid's centres, broadcast to `y x`."""
    x_m, y_m = grid.centres_m(gsd_m)
    epsg = image.crs.to_epsg()
    if epsg == grid.epsg:
        x_there, y_there = x_m[None, :], y_m[:, None]
    else:
        x_there, y_there = transformer(grid.epsg, epsg).transform(*np.meshgrid(x_m, y_m))
    to_pixel = ~image.transform
    rows = np.floor(to_pixel.e * y_there + to_pixel.f).astype(np.int64)
    cols = np.floor(to_pixel.a * x_there + to_pixel.c).astype(np.int64)
    return rows, cols


def read_patch(pair: ScenePair, s2: SceneReader, s1: SceneReader) -> Patch:
    """Read all pixels of a pair, in stored units, with their measured quality; labels are added elsewhere.

    Raises:
        Refused: a scene cannot serve this patch.
        ReadError: an image cannot be had now.
    """
    grid = pair.grid
    add_offset = _offset_of(pair.s2)
    s2_10m, s2_20m = (
        np.stack([remove_offset(s2.read(band.name, grid, gsd_m), add_offset) for band in group])
        for group, gsd_m in ((S2_10M, 10), (S2_20M, 20))
    )
    scl = s2.read(SCL, grid, 20)
    gamma0 = np.stack([stored_gamma0(s1.read(band.name, grid, 10)) for band in S1])
    quality = measure_quality(
        s2_10m, s2_20m, scl, gamma0,
        boa_offset_applied=add_offset != 0, s1_zone_changed=s1.zone_differs(S1[0].name, grid),
    )  # fmt: skip
    provenance = Provenance(pair.patch_id, grid, describe_scene(pair.s1), describe_scene(pair.s2), quality)
    return Patch(provenance, s2_10m, s2_20m, scl, gamma0)


def _offset_of(scene: Scene) -> int:
    if scene.baseline is None:
        raise Refused(
            UNKNOWN_BASELINE, f"{scene.item_id} states no processing baseline, so its offset of 0 or 1000 is unknown"
        )
    return boa_add_offset(scene.baseline)


def _explain(scene: Scene, name: str, source: Source, error: Exception) -> Refused | ReadError:
    """What is wrong with an image that GDAL cannot read: gone, damaged, or only out of reach.

    GDAL says "not recognized as a supported file format" for a missing file, an error page and a broken image
    alike, so the address is asked once directly.
    """
    href = scene.hrefs[name].split("?", 1)[0]
    what = f"{name} of {scene.item_id} ({href})"
    status = _probe(source.sign(href)) if href.startswith("http") else 200 if Path(href).exists() else 404
    if status == 404:
        return Refused(MISSING_IMAGE, f"{what} is gone; its scene was probably replaced, search again")
    if status in (200, 206):
        return Refused(DAMAGED_IMAGE, f"{what} cannot be decoded: {error}")
    return ReadError(f"{what} cannot be had now (HTTP status {status}); run the same command again later")


def _probe(url: str) -> int:
    """HTTP status of an address, through the proxy that GDAL uses; 0 when there is no answer."""
    proxy = os.environ.get("GDAL_HTTP_PROXY")
    try:
        response = requests.get(
            url, headers={"Range": "bytes=0-15"}, timeout=_PROBE_TIMEOUT_S, proxies={"http": proxy} if proxy else None
        )
    except requests.RequestException:
        return 0
    return response.status_code
