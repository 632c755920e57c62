"""Geometries that requests bring: counted, checked, and made shapes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import shapely

from catalog.serving.guards import RequestError

MAX_CORNERS = 5_000  # a country's outline at 1:10 million has a few hundred


def count_corners(geometry: Mapping[str, Any]) -> int:
    """Corners of a GeoJSON geometry.

    Raises:
        RequestError: they are over the limit.
    """
    if "geometries" in geometry:
        corners = sum(count_corners(part) for part in geometry["geometries"])
    else:
        corners = _count(geometry.get("coordinates", ()))
    if corners > MAX_CORNERS:
        raise RequestError(f"the geometry has {corners:,} corners (limit {MAX_CORNERS:,}); simplify it")
    return corners


def shape_of(geometry: Any) -> shapely.Geometry:
    """The shape of a GeoJSON geometry in degrees.

    Raises:
        RequestError: it is none, is empty, crosses itself, or has too many corners.
    """
    if not isinstance(geometry, Mapping) or "type" not in geometry:
        raise RequestError(f"{str(geometry)[:100]!r} is no GeoJSON geometry; give type and coordinates")
    count_corners(geometry)
    try:
        shape = shapely.from_geojson(json.dumps(geometry))
    except (shapely.GEOSException, ValueError) as error:
        raise RequestError(f"the geometry is no GeoJSON: {str(error)[:200]}") from error
    if shape is None or shape.is_empty:
        raise RequestError("the geometry is empty")
    if not shape.is_valid:
        raise RequestError(f"the geometry is not valid: {shapely.is_valid_reason(shape)[:200]}")
    return shape


def check_bbox(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    """West, south, east, north of a bbox of four or six numbers; west > east crosses the antimeridian.

    Raises:
        RequestError: its numbers cannot be degrees, or south is above north.
    """
    if len(bbox) not in (4, 6):
        raise RequestError(f"bbox has {len(bbox)} numbers; give west,south,east,north in degrees")
    west, south, east, north = (*bbox[:2], *bbox[len(bbox) // 2 :][:2])
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise RequestError(
            f"bbox {list(bbox)} is not west,south,east,north in degrees: longitudes within -180..180, latitudes within "
            "-90..90, south not above north"
        )
    return west, south, east, north


def _count(coordinates: Any) -> int:
    if not isinstance(coordinates, list | tuple):
        return 0
    if coordinates and not isinstance(coordinates[0], list | tuple):
        return 1
    return sum(map(_count, coordinates))
