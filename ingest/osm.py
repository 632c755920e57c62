"""OpenStreetMap on the patch grid: one bit a class, drawn from features of an .osm.pbf extract.

A pixel without a bit is unknown, not background: OpenStreetMap does not map everything everywhere. Data are
(c) OpenStreetMap contributors under the ODbL.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio.features
import shapely
from numpy.typing import NDArray
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from catalog.grid import PatchGrid
from catalog.labels import OSM, osm_bits
from catalog.mgrs import transformer
from ingest.errors import PlanError

# Half the width that a line is drawn with, metres; a line between two pixels must not vanish.
_HALF_WIDTH_M = {"road": 5.0, "rail": 5.0, "water": 10.0, "power": 10.0}
_DEFAULT_HALF_WIDTH_M = 5.0
_LINE_KEYS = ("highway", "railway", "waterway")
_LINE_POWER = "line"
_KEYS = sorted({key for osm_class in OSM for key in osm_class.tags})


def extract(pbf: Path, out: Path) -> None:
    """Write the features of an .osm.pbf that belong to a class as a table of bits and geometry (WKB, degrees).

    Raises:
        PlanError: the file is missing or not a readable .osm.pbf.
    """
    if not pbf.is_file():
        raise PlanError(f"there is no OpenStreetMap extract {pbf}; download one (.osm.pbf) or leave --osm out")
    try:
        rows = list(_features(pbf))
    except RuntimeError as error:  # what pyosmium raises for a broken file
        raise PlanError(f"{pbf} is not a readable .osm.pbf file: {error}") from error
    table = pa.table({"bits": pa.array([b for b, _ in rows], pa.uint32()), "geometry": [g for _, g in rows]})
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.part")
    pq.write_table(table, aside, compression="zstd")
    aside.rename(out)


class OsmFeatures:
    """Features in memory, found by place and drawn on patch grids."""

    def __init__(self, path: Path) -> None:
        table = pq.read_table(path)
        self._bits = table["bits"].to_numpy()
        self._geometries = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
        self._tree = shapely.STRtree(self._geometries)

    def labels(self, grid: PatchGrid) -> NDArray[np.uint32]:
        """Bitmask of classes on the 10 m grid, axes `y x`; 0 is unknown."""
        near = np.sort(self._tree.query(grid.footprint(), predicate="intersects"))
        shapes = shapely.transform(self._geometries[near], _projector(grid.epsg))
        mask = np.zeros((grid.side_px, grid.side_px), np.uint32)
        for osm_class in OSM:
            chosen = shapes[(self._bits[near] >> osm_class.bit) & 1 == 1]
            drawn = [_with_width(shape, osm_class.name) for shape in chosen]
            if drawn:
                mask |= _draw(drawn, grid).astype(np.uint32) << np.uint32(osm_class.bit)
        return mask


def _features(pbf: Path) -> Iterator[tuple[int, bytes]]:
    import osmium

    wkb = osmium.geom.WKBFactory()
    reader = osmium.FileProcessor(str(pbf)).with_areas().with_filter(osmium.filter.KeyFilter(*_KEYS))
    columns = SpinnerColumn(), TextColumn("Reading OpenStreetMap: {task.completed} features"), TimeElapsedColumn()
    with Progress(*columns) as progress:
        task = progress.add_task("osm", total=None)
        for thing in reader:
            tags = {tag.k: tag.v for tag in thing.tags}
            if isinstance(thing, osmium.osm.Way) and (bits := osm_bits(_line_tags(tags))):
                yield bits, bytes.fromhex(wkb.create_linestring(thing))
            elif isinstance(thing, osmium.osm.Area) and (bits := osm_bits(_area_tags(tags))):
                yield bits, bytes.fromhex(wkb.create_multipolygon(thing))
            elif isinstance(thing, osmium.osm.Node) and (bits := osm_bits(tags)):
                yield bits, bytes.fromhex(wkb.create_point(thing))
            progress.advance(task)


def _line_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in tags.items() if k in _LINE_KEYS or (k == "power" and v == _LINE_POWER)}


def _area_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in tags.items() if k not in _line_tags(tags)}


def _with_width(shape: shapely.Geometry, name: str) -> shapely.Geometry:
    if shape.geom_type in ("Polygon", "MultiPolygon"):
        return shape
    return shape.buffer(_HALF_WIDTH_M.get(name, _DEFAULT_HALF_WIDTH_M))


def _draw(shapes: list[shapely.Geometry], grid: PatchGrid) -> NDArray[np.uint8]:
    drawn: NDArray[np.uint8] = rasterio.features.rasterize(
        shapes, out_shape=(grid.side_px, grid.side_px), transform=rasterio.Affine(*grid.transform), dtype="uint8"
    )
    return drawn


def _projector(epsg: int):  # type: ignore[no-untyped-def]
    def project(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer(4326, epsg).transform(lonlat[:, 0], lonlat[:, 1]), axis=1)

    return project
