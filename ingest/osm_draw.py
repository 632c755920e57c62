"""Draw OpenStreetMap features on a patch: pixels whose centre lies in an area, or near enough to a line or point."""

import itertools
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

_QUADRANT_STEPS = 4  # sides of a quarter circle: 1 % short of the radius at most, a tenth of a pixel


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
        xy = points.tolist()
        for first, last in itertools.pairwise(ends.tolist()):
            yield {"type": "Polygon", "coordinates": [xy[rings[i] : rings[i + 1]] for i in range(first, last)]}


def solid(shapes: NDArray[Any], osm: OsmClass) -> NDArray[Any]:
    """Shapes as areas: lines and points get the width of their class."""
    thin = shapely.get_dimensions(shapes) < 2
    if not thin.any():
        return shapes
    wide = shapes.copy()
    wide[thin] = shapely.buffer(shapes[thin], osm.width_m / 2, quad_segs=_QUADRANT_STEPS)
    return wide


def projector(from_epsg: int, to_epsg: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A function on coordinates (n, 2) for `shapely.transform`."""

    def project(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer(from_epsg, to_epsg).transform(points[:, 0], points[:, 1]), axis=1)

    return project
