"""CORINE Land Cover on the patch grid: the class of the 100 m cell that holds each 10 m pixel's centre."""

from pathlib import Path
from types import TracebackType

import numpy as np
import rasterio
from numpy.typing import NDArray

from catalog.grid import PatchGrid
from catalog.labels import CORINE_BY_CODE, CORINE_BY_GRID_CODE
from catalog.mgrs import transformer
from catalog.schema import UNKNOWN_LABEL
from ingest.errors import PlanError

_OVERVIEW_PX = 2048  # enough of a continent to see every common class
_MAX_CODE = 1000
# Values that editions of the raster use for "no data": 0 and 255 (clips), 48 (CLMS), 128 (-128 as a byte), 999 (EEA).
_NODATA = (0, 48, 128, 255, 999)


class CorineRaster:
    """An open CORINE raster, in grid codes (1..44) or in three-digit codes (111..523).

    Raises:
        PlanError: the file cannot be read, is not in a projected CRS, or holds values of neither coding.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._image = rasterio.open(path)
        except rasterio.errors.RasterioIOError as error:
            raise PlanError(f"cannot read the CORINE raster {path}: {error}") from error
        if self._image.crs is None or not self._image.crs.is_projected:
            raise PlanError(f"{path} has CRS {self._image.crs}; CORINE comes in EPSG:3035: take the original raster")
        self._epsg = int(self._image.crs.to_epsg() or 0)
        self._to_grid_code = self._detect_coding()

    def __enter__(self) -> "CorineRaster":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._image.close()

    def labels(self, grid: PatchGrid) -> NDArray[np.uint8]:
        """Grid codes 1..44 on the 10 m grid, axes `y x`; 0 where CORINE is silent or does not reach."""
        x_m, y_m = np.meshgrid(*grid.centres_m(10))
        x_there, y_there = transformer(grid.epsg, self._epsg).transform(x_m, y_m)
        to_pixel = ~self._image.transform
        cols = np.floor(to_pixel.a * x_there + to_pixel.c).astype(int)
        rows = np.floor(to_pixel.e * y_there + to_pixel.f).astype(int)
        top, left = int(rows.min()), int(cols.min())
        window = rasterio.windows.Window(left, top, int(cols.max()) - left + 1, int(rows.max()) - top + 1)
        values = self._image.read(1, window=window, boundless=True, fill_value=_NODATA[0])
        codes: NDArray[np.uint8] = self._to_grid_code[values[rows - top, cols - left].astype(int) % _MAX_CODE]
        return codes

    def _detect_coding(self) -> NDArray[np.uint8]:
        """A table from the file's values to grid codes, chosen by the values and never assumed."""
        shape = (min(_OVERVIEW_PX, self._image.height), min(_OVERVIEW_PX, self._image.width))
        values = set(np.unique(self._image.read(1, out_shape=shape)).tolist())
        seen = values - {*_NODATA, self._image.nodata}
        for coding in (
            {code: code for code in CORINE_BY_GRID_CODE},
            {c: k.grid_code for c, k in CORINE_BY_CODE.items()},
        ):
            if seen <= coding.keys():
                table = np.full(_MAX_CODE, UNKNOWN_LABEL, np.uint8)
                table[list(coding)] = list(coding.values())
                return table
        raise PlanError(
            f"{self.path} holds values that are neither CORINE grid codes 1..44 nor codes 111..523: "
            f"{sorted(seen)[:10]}; take the CLC2018 status raster"
        )
