"""The vector edition of CORINE Land Cover (GeoPackage, shapefile, FlatGeobuf): polygons with a CODE_18."""

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyproj
import rasterio
import rasterio.features
import shapely
from numpy.typing import NDArray

from catalog.grid import PatchGrid
from catalog.labels import CORINE_BY_CODE
from ingest.errors import PlanError

SUFFIXES = frozenset({".gpkg", ".shp", ".fgb", ".gdb"})
_COLUMNS = ("code_18", "clc_code", "code_clc", "code")  # editions spell it CODE_18 and Code_18; clips rename it


class CorineVector:
    """Polygons of CORINE Land Cover, read by place; in any CRS, since polygons lose nothing when projected.

    Attributes:
        unknown: polygons drawn as unknown because their code is no class, by code.

    Raises:
        PlanError: the file cannot be read or has no column of codes.
    """

    def __init__(self, path: Path) -> None:
        import pyogrio  # type: ignore[import-untyped]

        self.href = str(path)
        self.unknown: Counter[int] = Counter()
        try:
            info = pyogrio.read_info(path)
        except pyogrio.errors.DataSourceError as error:
            raise PlanError(f"cannot read the CORINE polygons {path}: {error}") from error
        names = {str(name).lower(): str(name) for name in info["fields"]}
        found = [names[name] for name in _COLUMNS if name in names]
        if not found or info["crs"] is None:
            raise PlanError(
                f"{path} has CRS {info['crs']} and columns {', '.join(names.values()) or 'none'}; a CORINE vector "
                "edition has a CRS and a column CODE_18"
            )
        self._path, self._column, self._crs = path, found[0], info["crs"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        pass  # each read opens and closes the file

    def labels(self, grid: PatchGrid) -> NDArray[np.uint8]:
        """Grid codes 1..44 on the 10 m grid, axes `y x`: the polygon under each pixel's centre; 0 where none is."""
        polygons, codes = self._near(grid)
        shapes = []
        for polygon, code in zip(polygons, codes, strict=True):
            if code in CORINE_BY_CODE:
                shapes.append((polygon, CORINE_BY_CODE[code].grid_code))
            else:
                self.unknown[code] += 1
        side = (grid.side_px, grid.side_px)
        if not shapes:
            return np.zeros(side, np.uint8)
        place = rasterio.Affine(*grid.transform)
        drawn: NDArray[np.uint8] = rasterio.features.rasterize(shapes, out_shape=side, transform=place, dtype="uint8")
        return drawn

    def coverage(self, grids: Sequence[PatchGrid]) -> float:
        """Share of patches that have a class at some pixel."""
        return float(np.mean([bool(self.labels(grid).any()) for grid in grids]))

    def _near(self, grid: PatchGrid) -> tuple[NDArray[Any], list[int]]:
        """Polygons that may touch a patch, in its zone, and their codes."""
        import pyogrio

        there = _transformer(grid.epsg, self._crs)
        bounds = there.transform_bounds(*grid.bounds_m)
        _, _, wkb, (codes,) = pyogrio.raw.read(self._path, bbox=bounds, columns=[self._column])
        back = _transformer(self._crs, grid.epsg)
        polygons = shapely.transform(
            shapely.force_2d(shapely.from_wkb(wkb)), lambda xy: np.stack(back.transform(xy[:, 0], xy[:, 1]), axis=1)
        )
        return polygons, [int(code) if str(code).strip().isdigit() else 0 for code in codes]


@functools.lru_cache(maxsize=64)
def _transformer(source: int | str, target: int | str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)
