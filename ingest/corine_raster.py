"""The raster edition of CORINE Land Cover: the class of the 100 m cell that holds each 10 m pixel's centre.

Editions differ in coding and in what stands for "no data": both are found out from the values, never assumed.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from numpy.typing import NDArray

from catalog.grid import PatchGrid
from catalog.labels import CORINE_BY_CODE, CORINE_BY_GRID_CODE
from catalog.mgrs import transformer
from catalog.schema import UNKNOWN_LABEL
from ingest.errors import PlanError
from ingest.projected import centres_there

EPSG = 3035  # ETRS89-LAEA Europe
CELL_M = 100
_log = logging.getLogger(__name__)

_OVERVIEW_PX = 2048  # enough of a continent to see every common class
# What editions and clips store for "no data": 0 and 255 (clips), 48 (CLMS), 128 and -128 (the same byte), 999 (EEA,
# version 20), -32768 and 32767 (16-bit exports).
NODATA = frozenset({-32768, -128, 0, 48, 128, 255, 999, 32767})
CODINGS = {
    "grid codes 1..44": {code: code for code in CORINE_BY_GRID_CODE},
    "codes 111..523": {code: cover.grid_code for code, cover in CORINE_BY_CODE.items()},
}
_MIN_KNOWN = 0.9  # share of the values that the coding must explain; fewer, and it is another map


class CorineRaster:
    """An open CORINE raster, local or at a URL, in grid codes or three-digit codes.

    Attributes:
        unknown: pixels of labels so far whose value is neither a class nor "no data", by value; they are ignored.

    Raises:
        PlanError: the file cannot be read, is not on the 100 m grid of EPSG:3035, or is in neither coding.
    """

    def __init__(self, href: str) -> None:
        self.href = href
        self.unknown: Counter[int] = Counter()
        try:
            self._image = rasterio.open(href)
        except rasterio.errors.RasterioIOError as error:
            raise PlanError(
                f"cannot read the CORINE raster {href}: {error}; docs/labels.md says where to download it"
            ) from error
        try:
            self._check_grid()
            self.coding = self._detect_coding()
        except PlanError:
            self._image.close()
            raise
        self._classes = CODINGS[self.coding]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self.unknown:
            _log.warning("%s: pixels of unknown values were ignored: %s", self.href, dict(self.unknown.most_common(5)))
        self._image.close()

    def labels(self, grid: PatchGrid) -> NDArray[np.uint8]:
        """Grid codes 1..44 on the 10 m grid, axes `y x`; 0 where CORINE is silent or does not reach."""
        values = self._values(*centres_there(grid, EPSG)).astype(np.int64)
        low = int(values.min())
        counts = np.bincount((values - low).ravel())  # a table by value: ten times faster than sorting
        codes = np.full(len(counts), UNKNOWN_LABEL, np.uint8)
        for value in (np.flatnonzero(counts) + low).tolist():
            if value in self._classes:
                codes[value - low] = self._classes[value]
            elif not self._is_nodata(value):
                self.unknown[value] += int(counts[value - low])
        return codes[values - low]

    def coverage(self, grids: Sequence[PatchGrid]) -> float:
        """Share of patches whose centre has a class."""
        found = []
        for grid in grids:
            half_m = grid.side_m / 2
            x_m, y_m = transformer(grid.epsg, EPSG).transform(grid.west_m + half_m, grid.north_m - half_m)
            found.append(self._values(np.array([[x_m]]), np.array([[y_m]])).item() in self._classes)
        return sum(found) / len(grids)

    def _values(self, x_m: NDArray[np.float64], y_m: NDArray[np.float64]) -> NDArray[Any]:
        """What the file stores under each point of EPSG:3035; 0 outside."""
        to_pixel = ~self._image.transform
        cols = np.floor(to_pixel.a * x_m + to_pixel.c).astype(int)
        rows = np.floor(to_pixel.e * y_m + to_pixel.f).astype(int)
        inside = (rows >= 0) & (rows < self._image.height) & (cols >= 0) & (cols < self._image.width)
        if inside.all():
            return self._read(rows, cols)
        under = np.full(rows.shape, UNKNOWN_LABEL, self._image.dtypes[0])
        if inside.any():
            under[inside] = self._read(rows[inside], cols[inside])
        return under

    def _read(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
        """Values of cells, all inside the file."""
        top, left = int(rows.min()), int(cols.min())
        window = rasterio.windows.Window(left, top, int(cols.max()) - left + 1, int(rows.max()) - top + 1)
        values: NDArray[Any] = self._image.read(1, window=window)[rows - top, cols - left]
        return values

    def _is_nodata(self, value: int) -> bool:
        return value in NODATA or value == self._image.nodata

    def _check_grid(self) -> None:
        crs, size = self._image.crs, self._image.res
        if crs is None or (crs.to_epsg() or crs.to_epsg(confidence_threshold=20)) != EPSG:
            name = "none" if crs is None else crs.to_string()[:60]
            raise PlanError(
                f"{self.href} has CRS {name}; CORINE comes in EPSG:{EPSG}: take the original raster, "
                "for a warped copy has lost its cells"
            )
        if not np.allclose(size, CELL_M) or not np.issubdtype(np.dtype(self._image.dtypes[0]), np.integer):
            raise PlanError(
                f"{self.href} has cells of {size[0]:g} x {size[1]:g} m of type {self._image.dtypes[0]}; "
                f"take the edition with integer cells of {CELL_M} m"
            )

    def _detect_coding(self) -> str:
        """The coding that explains the file's values; never assumed."""
        shape = (min(_OVERVIEW_PX, self._image.height), min(_OVERVIEW_PX, self._image.width))
        values, counts = np.unique(self._image.read(1, out_shape=shape), return_counts=True)
        seen = {v: n for v, n in zip(values.tolist(), counts.tolist(), strict=True) if not self._is_nodata(v)}
        shares = {
            name: sum(n for value, n in seen.items() if value in classes) / max(sum(seen.values()), 1)
            for name, classes in CODINGS.items()
        }
        best = max(shares, key=lambda name: shares[name])
        if shares[best] < _MIN_KNOWN:
            stated = ", ".join(f"{share:.1%} are {name}" for name, share in shares.items())
            raise PlanError(
                f"{self.href} is not a CORINE raster: of its values {sorted(seen)[:8]} {stated} "
                f"(one must reach {_MIN_KNOWN:.0%}); take the CLC2018 status raster"
            )
        return best
