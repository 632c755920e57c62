"""Sparse full-size Cloud Optimized GeoTIFFs: real georeferencing and block layout, pixels only where they are needed.

A Sentinel-2 band of 10,980 x 10,980 pixels with one written window takes some tens of kilobytes, and a reader
cannot tell it from a whole one: absent blocks read as nodata.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.errors import GridError

BLOCK_PX = 512  # both collections of the Planetary Computer use blocks of 512 x 512
_CACHE_MB = 32  # blocks are visited once: GDAL's default of 5 % of memory only costs time, up to tenfold


@dataclass(frozen=True, slots=True)
class Window:
    """Pixels and where they go, counted from the raster's north-west corner."""

    row_px: int
    col_px: int
    pixels: NDArray[Any]
    """Axes y x."""


def write_sparse_cog(
    path: Path,
    *,
    epsg: int,
    west_m: float,
    north_m: float,
    width_px: int,
    height_px: int,
    gsd_m: float,
    windows: Sequence[Window],
    nodata: float | None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write a one-band north-up COG that holds `windows` and nothing else; later windows win where they overlap.

    Blocks of 512 px, DEFLATE with a predictor, no overviews. `tags` become tags of the band. Without `nodata`
    the file has no nodata tag and absent blocks read as 0. Parent folders are made.

    Raises:
        GridError: no window, windows of different dtypes, or one that leaves the raster.
    """
    import rasterio.shutil
    from rasterio.crs import CRS
    from rasterio.transform import Affine

    dtype = _common_dtype(path, windows)
    for window in windows:
        _check_inside(path, window, width_px, height_px)
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "width": width_px, "height": height_px, "count": 1, "dtype": dtype, "nodata": nodata}
    profile |= {"crs": CRS.from_epsg(epsg), "transform": Affine(gsd_m, 0, west_m, 0, -gsd_m, north_m)}
    profile |= {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "sparse_ok": True, "compress": "DEFLATE"}
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        plain = Path(folder) / "plain.tif"
        with rasterio.open(plain, "w", **profile) as raster:
            raster.update_tags(1, **(tags or {}))
            for window in windows:
                height, width = window.pixels.shape
                place = rasterio.windows.Window(window.col_px, window.row_px, width, height)
                raster.write(window.pixels, 1, window=place)
        options = {"blocksize": BLOCK_PX, "compress": "DEFLATE", "predictor": "YES", "overviews": "NONE"}
        rasterio.shutil.copy(str(plain), str(path), driver="COG", sparse_ok=True, **options)


def _common_dtype(path: Path, windows: Sequence[Window]) -> np.dtype[Any]:
    dtypes = sorted({window.pixels.dtype.name for window in windows})
    if len(dtypes) != 1:
        raise GridError(f"{path.name}: windows have dtypes {dtypes}; give at least one window, all of one dtype")
    return windows[0].pixels.dtype


def _check_inside(path: Path, window: Window, width_px: int, height_px: int) -> None:
    height, width = window.pixels.shape
    bottom, right = window.row_px + height, window.col_px + width
    if window.row_px < 0 or window.col_px < 0 or bottom > height_px or right > width_px:
        raise GridError(
            f"{path.name}: window rows {window.row_px}..{bottom}, columns {window.col_px}..{right} leaves the raster "
            f"of {height_px} x {width_px} pixels; crop the window first"
        )
