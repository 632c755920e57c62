"""Draw OpenStreetMap features on a patch: pixels whose centre lies in an area, or near enough to a line or point."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rasterio
import rasterio.features
import shapely
from numpy.typing import NDArray

from catalog.grid import PatchGrid
from catalog.mgrs import transformer
from catalog.osm_classes import OSM, OsmClass

_SAGITTA_M = 0.5  # by which the sides of a drawn circle fall short: a twentieth of a pixel
_TOLERANCE_M = 0.25  # of a line's course: a fortieth of a pixel, and half of the points


def draw(bits: NDArray[np.uint32], shapes: NDArray[Any], grid: PatchGrid) -> NDArray[np.uint32]:
    """Bitmask of classes on the 10 m grid, axes `y x`; 0 is unknown.

    Args:
        bits: classes of each shape.
        shapes: geometries in the grid's zone, metres.
    """
    side = (grid.side_px, grid.side_px)
    mask = np.zeros(side, np.uint32)
    place = rasterio.Affine(*grid.transform)
    present = int(np.bitwise_or.reduce(bits)) if len(bits) else 0
    for osm in OSM:
        if present & osm.value:
            polygons = list(_geojson(solid(shapes[bits & np.uint32(osm.value) > 0], osm)))
            if polygons:
                drawn = rasterio.features.rasterize(polygons, out_shape=side, transform=place, dtype="uint8")
                mask |= drawn.astype(np.uint32) << np.uint32(osm.bit)
    return mask


def _geojson(shapes: NDArray[Any]) -> Iterator[dict[str, Any]]:
    """Polygons of areas as GDAL takes them; ten times faster than one by one through `__geo_interface__`."""
    parts = shapely.get_parts(shapes)
    polygons = parts[(shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(parts)]
    if len(polygons):
        _, points, (rings, ends) = shapely.to_ragged_array(polygons, include_z=False)
        xy = list(zip(points[:, 0].tolist(), points[:, 1].tolist(), strict=True))  # tuples: no work for the collector
        rings = rings.tolist()
        for first, last in itertools.pairwise(ends.tolist()):
            yield {"type": "Polygon", "coordinates": [xy[rings[i] : rings[i + 1]] for i in range(first, last)]}


def solid(shapes: NDArray[Any], osm: OsmClass) -> NDArray[Any]:
    """Shapes as areas: lines and points get the width of their class."""
    thin = shapely.get_dimensions(shapes) < 2
    if not thin.any():
        return shapes
    wide = shapes.copy()
    straight = shapely.simplify(shapes[thin], _TOLERANCE_M)
    wide[thin] = shapely.buffer(straight, osm.width_m / 2, quad_segs=_quadrant_sides(osm.width_m / 2))
    return wide


def _quadrant_sides(radius_m: float) -> int:
    """Sides that a quarter circle needs."""
    return math.ceil(math.pi / 4 / math.acos(1 - _SAGITTA_M / radius_m))


def projector(from_epsg: int, to_epsg: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A function on coordinates (n, 2) for `shapely.transform`."""

    def project(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer(from_epsg, to_epsg).transform(points[:, 0], points[:, 1]), axis=1)

    return project
