"""Read the pixels of a patch from two scenes: windows of COGs, nothing resampled but what cannot be avoided.

Georeferencing comes from the file, never from STAC `proj:*`, which is wrong for part of the Planetary Computer's
archive. Every stored pixel is the source pixel that holds its centre: inside one UTM zone that is the identity for
10 m and 20 m bands and an exact 3 x 3 repetition for 60 m bands; across zones it is nearest neighbour, which keeps
speckle statistics where bilinear and cubic do not.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from catalog.bands import S1, S2_10M, S2_20M
from catalog.grid import PatchGrid
from catalog.mgrs import transformer
from catalog.patch import Patch, Provenance, Scene, ScenePair, describe_scene
from ingest.errors import Refused
from ingest.images import Access, Image
from ingest.radiometry import boa_add_offset, measure_quality, remove_offset, stored_gamma0
from ingest.sources.profile import SCL

OUTSIDE_IMAGE = "outside_image"
UNKNOWN_BASELINE = "unknown_baseline"
BANDS_AT_ONCE = len(S2_10M + S2_20M + S1) + 1  # all images of a pair: reading is waiting for the network

_Convert = Callable[[NDArray[Any]], NDArray[Any]]


class SceneReader:
    """The images of one scene, opened when first needed and kept open for the patches to come."""

    def __init__(self, scene: Scene, access: Access) -> None:
        self.scene = scene
        self._images = {
            name: Image(f"{name} of {scene.item_id}", href.split("?", 1)[0], access)
            for name, href in scene.hrefs.items()
        }

    def __enter__(self) -> "SceneReader":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the images."""
        for image in self._images.values():
            image.close()

    @property
    def gone(self) -> bool:
        """Whether an image was found to be no more."""
        return any(image.gone for image in self._images.values())

    def read(self, name: str, grid: PatchGrid, gsd_m: int) -> NDArray[Any]:
        """The band's pixels at the grid's pixel centres of a resolution, axes `y x`; safe in threads.

        Raises:
            Refused: the image does not hold the patch, is gone, or is damaged; trying again does not help.
            ReadError: the image cannot be had now.
        """
        image = self._images[name]
        return image.use(lambda dataset: read_nearest(dataset, grid, gsd_m, image.count))

    def zone_differs(self, name: str, grid: PatchGrid) -> bool:
        """Whether the band's file lies in another UTM zone than the grid."""
        return self._images[name].use(lambda dataset: bool(dataset.crs.to_epsg() != grid.epsg))


def read_nearest(
    image: Any, grid: PatchGrid, gsd_m: int, count: Callable[[Any, Window], None] | None = None
) -> NDArray[Any]:
    """For each pixel centre of the grid at a resolution, the pixel of an open image that holds it, axes `y x`.

    Args:
        count: told the image and the window that was read.

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
    window = Window(left, top, right - left + 1, bottom - top + 1)
    pixels: NDArray[Any] = image.read(1, window=window)
    if count is not None:
        count(image, window)
    if _is_range(rows[:, 0]) and _is_range(cols[0]) and rows.shape[1] == cols.shape[0] == 1:
        return pixels  # no two centres in one pixel, none between: mostly so, and a copy would take longer than reading
    found: NDArray[Any] = pixels[rows - top, cols - left]
    return found


def _is_range(indices: NDArray[np.int64]) -> bool:
    return bool((np.diff(indices) == 1).all())


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


def read_patch(pair: ScenePair, s2: SceneReader, s1: SceneReader, threads: Executor | None = None) -> Patch:
    """Read all pixels of a pair, in stored units, with their measured quality; labels are added elsewhere.

    Args:
        threads: where the images are read side by side; one after the other where None.

    Raises:
        Refused: a scene cannot serve this patch.
        ReadError: an image cannot be had now.
    """
    with ExitStack() as stack:
        return ask_for_patch(pair, s2, s1, threads or stack.enter_context(ThreadPoolExecutor(1)))()


def ask_for_patch(pair: ScenePair, s2: SceneReader, s1: SceneReader, threads: Executor) -> Callable[[], Patch]:
    """Start to read a pair's images; call what is returned for the patch, with the errors of `read_patch`.

    Until that call ends both readers must stay open.
    """
    in_stored_units = partial(_reflectance, pair.s2)
    wanted: list[tuple[SceneReader, str, int, _Convert]]
    wanted = [(s2, band.name, 10, in_stored_units) for band in S2_10M]
    wanted += [(s2, band.name, 20, in_stored_units) for band in S2_20M] + [(s2, SCL, 20, np.asarray)]
    wanted += [(s1, band.name, 10, stored_gamma0) for band in S1]
    images = [
        threads.submit(_converted, convert, partial(reader.read, name, pair.grid, gsd_m))
        for reader, name, gsd_m, convert in wanted
    ]
    zone_changed = threads.submit(s1.zone_differs, S1[0].name, pair.grid)

    def patch() -> Patch:
        wait(images)  # all, so that an error leaves no job behind that would read from a closed image
        wait([zone_changed])
        read = [image.result() for image in images]
        return _assembled(pair, read, s1_zone_changed=zone_changed.result())

    return patch


def _assembled(pair: ScenePair, images: Sequence[NDArray[Any]], *, s1_zone_changed: bool) -> Patch:
    """A patch of its images, in stored units and in the order of bands."""
    first_20m, scl_at = len(S2_10M), len(S2_10M + S2_20M)
    s2_10m, s2_20m = np.stack(images[:first_20m]), np.stack(images[first_20m:scl_at])
    scl, gamma0 = images[scl_at], np.stack(images[scl_at + 1 :])
    offset_applied = _offset_of(pair.s2) != 0
    quality = measure_quality(
        s2_10m, s2_20m, scl, gamma0, boa_offset_applied=offset_applied, s1_zone_changed=s1_zone_changed
    )
    provenance = Provenance(pair.patch_id, pair.grid, describe_scene(pair.s1), describe_scene(pair.s2), quality)
    return Patch(provenance, s2_10m, s2_20m, scl, gamma0)


def _converted(convert: _Convert, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    return convert(read())


def _reflectance(scene: Scene, dn: NDArray[np.uint16]) -> NDArray[np.uint16]:
    return remove_offset(dn, _offset_of(scene))


def _offset_of(scene: Scene) -> int:
    if scene.baseline is None:
        raise Refused(
            UNKNOWN_BASELINE, f"{scene.item_id} states no processing baseline, so its offset of 0 or 1000 is unknown"
        )
    return boa_add_offset(scene.baseline)
