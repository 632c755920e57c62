"""OpenStreetMap on the patch grid: one bit a class, drawn from the tables of `ingest.osm_extract`.

A pixel without a bit is unknown, not background: OpenStreetMap does not map everything everywhere. Data are
(c) OpenStreetMap contributors under the ODbL.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from catalog.grid import PatchGrid
from catalog.osm_classes import Theme
from ingest.osm_draw import draw, projector
from ingest.osm_extract import extract

__all__ = ["Features", "OsmFeatures", "extract"]

_KEPT_GROUPS = 48  # row groups in memory, about 5 MB each
_MARGIN_M = 50.0  # beyond the widest line's half: what lies outside a patch may still be drawn into it
_EDGES = ("bbox.xmin", "bbox.ymin", "bbox.xmax", "bbox.ymax")
_COLUMNS = ["osm_type", "osm_id", "bits", "geometry"]


@dataclass(frozen=True, slots=True)
class Features:
    """Features by column."""

    osm_types: NDArray[np.object_]
    osm_ids: NDArray[np.int64]
    bits: NDArray[np.uint32]
    shapes: NDArray[Any]
    """Geometries, in degrees in memory and in metres of the patch's zone once found."""

    @classmethod
    def concat(cls, parts: "list[Features]") -> "Features":
        """All of them in order."""
        empty = cls(np.empty(0, object), np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, object))
        columns = ("osm_types", "osm_ids", "bits", "shapes")
        return cls(*(np.concatenate([getattr(part, name) for part in (empty, *parts)]) for name in columns))


@dataclass(frozen=True, slots=True)
class _Group:
    """One row group in memory."""

    features: Features
    """In degrees."""
    tree: shapely.STRtree


class OsmFeatures:
    """The tables of an extract, found by place; reads the row groups it needs and keeps the latest."""

    def __init__(self, folder: Path) -> None:
        self._files = [pq.ParquetFile(folder / f"{theme}.parquet") for theme in get_args(Theme)]
        self._places: list[tuple[int, int]] = []
        boxes = []
        for number, file in enumerate(self._files):
            for group, bounds in _group_bounds(file):
                self._places.append((number, group))
                boxes.append(shapely.box(*bounds))
        self._tree = shapely.STRtree(boxes)
        self._group = lru_cache(_KEPT_GROUPS)(self._read_group)

    def labels(self, grid: PatchGrid) -> NDArray[np.uint32]:
        """Bitmask of classes on the 10 m grid, axes `y x`; 0 is unknown."""
        near = self.near(grid)
        return draw(near.bits, near.shapes, grid)

    def near(self, grid: PatchGrid) -> Features:
        """Features that may touch a patch, in its zone; by theme, place and id."""
        west, south, east, north = grid.bounds_m
        outline = shapely.box(west - _MARGIN_M, south - _MARGIN_M, east + _MARGIN_M, north + _MARGIN_M)
        degrees = shapely.transform(shapely.segmentize(outline, 1000), projector(grid.epsg, 4326))
        found = []
        for number in np.sort(self._tree.query(degrees)).tolist():
            group = self._group(*self._places[number])
            rows = np.sort(group.tree.query(degrees, predicate="intersects"))
            kept = group.features
            found.append(Features(kept.osm_types[rows], kept.osm_ids[rows], kept.bits[rows], kept.shapes[rows]))
        near = Features.concat(found)
        return dataclasses.replace(near, shapes=shapely.transform(near.shapes, projector(4326, grid.epsg)))

    def _read_group(self, file: int, group: int) -> _Group:
        table = self._files[file].read_row_group(group, columns=_COLUMNS)
        shapes = shapely.from_wkb(table["geometry"].to_numpy())
        types, ids, bits = (table[name].to_numpy() for name in _COLUMNS[:3])
        return _Group(Features(types, ids, bits, shapes), shapely.STRtree(shapes))


def _group_bounds(file: pq.ParquetFile) -> Iterator[tuple[int, tuple[float, float, float, float]]]:
    """Bounds of each row group in degrees, from the file's own statistics."""
    columns = {file.schema.column(i).path: i for i in range(len(file.schema))}
    for group in range(file.num_row_groups):
        metadata = file.metadata.row_group(group)
        stats = [metadata.column(columns[edge]).statistics for edge in _EDGES]
        yield group, (stats[0].min, stats[1].min, stats[2].max, stats[3].max)
