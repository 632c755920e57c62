"""Outlines on a globe: footprints in one piece across the antimeridian, and which outline lies in which."""

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity

_TURN_DEG = 360.0
_BEYOND_DEG = 30.0  # further than any patch of a zone beside the antimeridian reaches past it, up to 84 N

Geometries = NDArray[np.object_]


def continuous(footprints: Geometries) -> Geometries:
    """Footprints in one piece each, their middle between -180 and 180 degrees.

    Providers cut a footprint at the antimeridian into two parts, or let one ring run from 179 to -179: both span
    more than half the globe. Such a one is put together with longitudes beyond 180.
    """
    pieces = footprints.copy()
    west, _, east, _ = shapely.bounds(pieces).T if len(pieces) else np.empty((4, 0))
    for i in np.flatnonzero(east - west > _TURN_DEG / 2).tolist():
        pieces[i] = _unrolled(pieces[i])
    turns = np.floor((middles(pieces) + 180) / _TURN_DEG)
    return moved(pieces, -turns)


def around(outline: shapely.Geometry) -> shapely.Geometry:
    """A region of the globe with longitudes from -210 to 210, its parts on both sides of the antimeridian joined.

    Whether it was drawn as 175..185, as -185..-175 or cut at 180 in two, it then holds the outline of every patch in
    it, whose longitudes are continuous around the middle of the patch's zone.
    """
    edge = _TURN_DEG / 2 + _BEYOND_DEG
    west, _, east, _ = outline.bounds
    if west >= edge - _TURN_DEG and east <= _TURN_DEG - edge:
        return outline
    seen = shapely.box(-edge, -90, edge, 90)
    turned = (affinity.translate(outline, turn * _TURN_DEG) for turn in (-1, 0, 1))
    return shapely.union_all([shapely.intersection(copy, seen) for copy in turned])


def cut(outline: shapely.Geometry) -> tuple[shapely.Geometry, list[float]]:
    """An outline with longitudes beyond 180 as GeoJSON wants it, and its box.

    It is cut at the antimeridian into parts, and then its box has west > east (RFC 7946, sections 3.1.9 and 5.2).
    """
    west, south, east, north = outline.bounds
    if west >= -_TURN_DEG / 2 and east <= _TURN_DEG / 2:
        return outline, [west, south, east, north]
    turned = (affinity.translate(outline, turn * _TURN_DEG) for turn in (-1, 0, 1))
    parts = [shapely.intersection(copy, shapely.box(-180, -90, 180, 90)) for copy in turned]
    joined = shapely.union_all([part for part in parts if part.area > 0])
    west, east = ((lon + 180) % _TURN_DEG - 180 for lon in (west, east))
    return shapely.orient_polygons(joined), [west, south, east, north]


def middles(shapes: Geometries) -> NDArray[np.float64]:
    """Longitudes halfway between the west and east edges, degrees."""
    if not len(shapes):
        return np.empty(0)
    bounds = shapely.bounds(shapes)
    middle: NDArray[np.float64] = (bounds[:, 0] + bounds[:, 2]) / 2
    return middle


def moved(shapes: Geometries, turns: NDArray[np.float64]) -> Geometries:
    """Shapes moved east by whole turns of the globe; those with 0 turns stay the same objects."""
    rows = np.flatnonzero(turns)
    if not rows.size:
        return shapes
    copy = shapes.copy()
    for i in rows.tolist():
        east = np.array([turns[i] * _TURN_DEG, 0.0])
        copy[i] = shapely.transform(shapes[i], lambda lonlat, east=east: lonlat + east)
    return copy


def contains(footprints: Geometries, outlines: Geometries) -> NDArray[np.bool_]:
    """Whether each footprint, made continuous, covers the outline beside it, however many turns apart."""
    turns = np.round((middles(footprints) - middles(outlines)) / _TURN_DEG)
    covered: NDArray[np.bool_] = shapely.covers(footprints, moved(outlines, turns))
    return covered


def _unrolled(footprint: shapely.Geometry) -> shapely.Geometry:
    def eastern(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([np.where(lonlat[:, 0] < 0, lonlat[:, 0] + _TURN_DEG, lonlat[:, 0]), lonlat[:, 1]], axis=1)

    return shapely.union_all(shapely.get_parts(shapely.transform(footprint, eastern)))
