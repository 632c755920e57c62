"""OpenStreetMap of the simulated ground, as a real .osm.pbf: the same fields that drew the pixels, as vectors.

As incomplete as volunteers leave it: some land use and some buildings are missing. Farm tracks, hedges and single
trees are not mapped; roads do not share nodes where they cross, so the net cannot be routed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from catalog.mgrs import transformer
from ingest.sandbox.buildings import Boxes
from ingest.sandbox.earth import Ground
from ingest.sandbox.landcover import Cover, Zone
from ingest.sandbox.noise import Frame, mix, uniform
from ingest.sandbox.roads import Line
from ingest.sandbox.settlements import Works

F64 = NDArray[np.float64]
Tags = Mapping[str, str]
_SMALLEST_PX = 40  # areas below 0.4 ha are not mapped
_TOLERANCE_M = 8.0  # of the simplified outlines: below one pixel
_BUILDINGS_MAPPED = 0.93

# What a mapper would draw for a cover, and the share of such areas that somebody has drawn.
_AREAS: tuple[tuple[tuple[Cover, ...], Tags, float], ...] = (
    ((Cover.WATER,), {"natural": "water"}, 1.0),
    ((Cover.BROADLEAF, Cover.CONIFER, Cover.YOUNG_WOOD), {"landuse": "forest"}, 0.95),
    ((Cover.WINTER_CROP, Cover.RAPESEED, Cover.SUMMER_CROP, Cover.FALLOW), {"landuse": "farmland"}, 0.85),
    ((Cover.GRASS,), {"landuse": "meadow"}, 0.75),
    ((Cover.NATURAL_GRASS,), {"natural": "grassland"}, 0.6),
    ((Cover.ORCHARD, Cover.OLIVE), {"landuse": "orchard"}, 0.85),
    ((Cover.VINEYARD,), {"landuse": "vineyard"}, 0.9),
    ((Cover.HEATH,), {"natural": "heath"}, 0.7),
    ((Cover.SCLEROPHYLL,), {"natural": "scrub"}, 0.6),
    ((Cover.REED, Cover.BOG), {"natural": "wetland"}, 0.7),
    ((Cover.ROCK,), {"natural": "bare_rock"}, 0.8),
    ((Cover.SOLAR,), {"power": "plant", "plant:source": "solar"}, 0.9),
)
_RESIDENTIAL, _QUARRY = len(_AREAS) + 1, len(_AREAS) + 2
_ZONES: dict[int, tuple[Tags, float]] = {
    _RESIDENTIAL: ({"landuse": "residential"}, 0.95),
    _QUARRY: ({"landuse": "quarry"}, 1.0),
}


@dataclass(slots=True)
class OsmBuilder:
    """Collects elements in memory; positions are longitude and latitude in degrees."""

    _points: list[F64] = field(default_factory=list)
    _node_tags: dict[int, Tags] = field(default_factory=dict)
    _ways: list[tuple[int, int, bool, Tags]] = field(default_factory=list)
    _relations: list[tuple[list[tuple[int, str]], Tags]] = field(default_factory=list)
    _nodes: int = 0

    @property
    def counts(self) -> Counter[str]:
        """How many nodes, ways and relations there are."""
        return Counter(nodes=self._nodes, ways=len(self._ways), relations=len(self._relations))

    def add_node(self, point: F64, tags: Tags) -> None:
        """A single tagged node."""
        self._node_tags[self._append(point[None, :])] = tags

    def add_line(self, points: F64, tags: Tags) -> int:
        """An open way; returns its id."""
        self._ways.append((self._append(points), len(points), False, tags))
        return len(self._ways)

    def add_ring(self, points: F64, tags: Tags) -> int:
        """A closed way whose first point is not repeated; returns its id."""
        self._ways.append((self._append(points), len(points), True, tags))
        return len(self._ways)

    def add_polygon(self, polygon: shapely.Polygon, tags: Tags) -> None:
        """An area: a closed way, or a multipolygon relation where it has holes."""
        rings = [shapely.get_coordinates(ring)[:-1] for ring in (polygon.exterior, *polygon.interiors)]
        if len(rings) == 1:
            self.add_ring(rings[0], tags)
            return
        members = [(self.add_ring(ring, {}), "inner" if number else "outer") for number, ring in enumerate(rings)]
        self._relations.append((members, {"type": "multipolygon", **tags}))

    def _append(self, points: F64) -> int:
        """Keep points; returns the id of the first."""
        first = self._nodes + 1
        self._points.append(points)
        self._nodes += len(points)
        return first

    def write(self, path: Path) -> None:
        """Write nodes, ways and relations, each with ascending ids from 1."""
        import osmium
        from osmium.osm import mutable

        path.parent.mkdir(parents=True, exist_ok=True)
        with osmium.SimpleWriter(str(path), overwrite=True) as writer:
            points = np.concatenate(self._points) if self._points else np.empty((0, 2))
            for number, (lon, lat) in enumerate(points.tolist(), start=1):
                writer.add_node(
                    mutable.Node(id=number, version=1, location=(lon, lat), tags=dict(self._node_tags.get(number, {})))
                )
            for number, (first, count, closed, tags) in enumerate(self._ways, start=1):
                nodes = [*range(first, first + count), *([first] if closed else [])]
                writer.add_way(mutable.Way(id=number, version=1, nodes=nodes, tags=dict(tags)))
            for number, (members, tags) in enumerate(self._relations, start=1):
                refs = [("w", way, role) for way, role in members]
                writer.add_relation(mutable.Relation(id=number, version=1, members=refs, tags=dict(tags)))


def add_region(builder: OsmBuilder, frame: Frame, ground: Ground, built: Works) -> None:
    """Add everything that a map of the frame would show."""
    _add_areas(builder, frame, ground)
    for boxes, tags in (
        (_mapped(built.houses), {"building": "house"}),
        (_mapped(built.halls), {"building": "industrial"}),
        (built.estates, {"landuse": "industrial"}),
        (built.substations, {"power": "substation"}),
    ):
        _add_boxes(builder, frame, _on_land(frame, ground, boxes), tags)
    for line in (*built.roads, *built.power_lines):
        builder.add_line(_degrees(frame, line.points_m), _line_tags(line))
    for tower in _degrees(frame, built.towers):
        builder.add_node(tower, {"power": "tower"})


def _line_tags(line: Line) -> Tags:
    if line.kind == "power":
        return {"power": "line"}
    return {"railway": "rail"} if line.kind == "rail" else {"highway": line.kind}


def _degrees(frame: Frame, points_m: F64) -> F64:
    lon, lat = transformer(frame.epsg, 4326).transform(points_m[..., 0], points_m[..., 1])
    return np.stack([lon, lat], axis=-1)


def _mapped(boxes: Boxes) -> Boxes:
    return boxes.select(uniform(mix(boxes.name, 99)) < _BUILDINGS_MAPPED)


def _on_land(frame: Frame, ground: Ground, boxes: Boxes) -> Boxes:
    """The boxes whose centre lies inside the frame and not in water."""
    column = np.floor((boxes.x_m - frame.west_m) / frame.gsd_m).astype(np.int64)
    row = np.floor((frame.north_m - boxes.y_m) / frame.gsd_m).astype(np.int64)
    inside = (column >= 0) & (column < frame.cols) & (row >= 0) & (row < frame.rows)
    wet = ground.cover[np.where(inside, row, 0), np.where(inside, column, 0)] == Cover.WATER
    return boxes.select(inside & ~wet)


def _add_boxes(builder: OsmBuilder, frame: Frame, boxes: Boxes, tags: Tags) -> None:
    for ring in _degrees(frame, boxes.corners()):
        builder.add_ring(ring, tags)


def _add_areas(builder: OsmBuilder, frame: Frame, ground: Ground) -> None:
    polygons, kinds = _polygons(frame, area_kinds(ground))
    degrees = shapely.transform(polygons, lambda xy: _degrees(frame, xy))
    for utm, polygon, kind in zip(polygons, degrees, kinds, strict=True):
        tags, share = (_AREAS[kind - 1][1:]) if kind <= len(_AREAS) else _ZONES[kind]
        corner = shapely.get_coordinates(utm)[0]
        if float(uniform(mix(kind, int(corner[0]), int(corner[1])))[0]) < share:
            builder.add_polygon(polygon, tags)


def area_kinds(ground: Ground) -> NDArray[np.uint8]:
    """What kind of mapped area each pixel belongs to; 0 for none."""
    kind_of = np.zeros(max(Cover) + 1, np.uint8)
    for kind, (covers, _, _) in enumerate(_AREAS, start=1):
        kind_of[list(covers)] = kind
    kinds = kind_of[ground.cover]
    lived_in = np.isin(ground.zone, (Zone.CONTINUOUS_URBAN, Zone.DISCONTINUOUS_URBAN))
    kinds[lived_in] = _RESIDENTIAL
    kinds[np.isin(ground.zone, (Zone.INDUSTRIAL, Zone.URBAN_GREEN))] = 0
    kinds[ground.zone == Zone.QUARRY] = _QUARRY
    return kinds


def _polygons(frame: Frame, kinds: NDArray[np.uint8]) -> tuple[NDArray[np.object_], Sequence[int]]:
    """Outlines of the areas, in the frame's zone; one polygon a connected area."""
    from rasterio.features import shapes, sieve
    from rasterio.transform import Affine

    smooth = sieve(kinds, size=_SMALLEST_PX, connectivity=4)
    place = Affine(frame.gsd_m, 0, frame.west_m, 0, -frame.gsd_m, frame.north_m)
    found = [
        (shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:]), int(value))
        for shape, value in shapes(smooth, mask=smooth > 0, connectivity=4, transform=place)
    ]
    outlines = shapely.simplify(np.array([polygon for polygon, _ in found], object), _TOLERANCE_M)
    return outlines, [value for _, value in found]
