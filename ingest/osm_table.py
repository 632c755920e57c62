"""Tables of OpenStreetMap features: one GeoParquet file a theme, sorted by place, written with bounded memory.

Batches of features are sorted and laid aside as Arrow files; then the rows of a stretch of cells are gathered from all
of them, sorted and appended to the theme's file. Neither step holds more than a stretch.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

ROW_GROUP_ROWS = 8192  # a few MB: what a reader loads for one place
CELL_DEG = 0.05  # 5.6 km: finer than a row group of any theme
_CELLS_ROUND = round(360 / CELL_DEG)
_STRETCH_ROWS = 65_536

_BBOX = pa.struct({name: pa.float64() for name in ("xmin", "ymin", "xmax", "ymax")})
SCHEMA = pa.schema(
    {
        "cell": pa.int32(),
        "osm_type": pa.string(),
        "osm_id": pa.int64(),
        "bits": pa.uint32(),
        "area_m2": pa.float32(),
        "bbox": _BBOX,
        "geometry": pa.binary(),
    }
)
_ORDER = [("cell", "ascending"), ("osm_type", "ascending"), ("osm_id", "ascending")]
# Radii of the WGS 84 ellipsoid (NIMA TR8350.2): semi-major axis, metres, and first eccentricity squared.
_A_M, _E2 = 6_378_137.0, 6.694379990141e-3


def features_table(
    osm_types: Sequence[str], osm_ids: Sequence[int], bits: NDArray[np.uint32], geometries: NDArray[Any]
) -> pa.Table:
    """Features with the columns that places are found by, in the order of the table."""
    bounds = shapely.bounds(geometries)
    edges = [pa.array(bounds[:, i]) for i in range(4)]
    columns = {
        "cell": cells_of((bounds[:, 0] + bounds[:, 2]) / 2, (bounds[:, 1] + bounds[:, 3]) / 2),
        "osm_type": pa.array(osm_types, pa.string()),
        "osm_id": pa.array(osm_ids, pa.int64()),
        "bits": bits,
        "area_m2": areas_m2(geometries).astype(np.float32),
        "bbox": pa.StructArray.from_arrays(edges, fields=list(_BBOX)),
        "geometry": pa.array(shapely.to_wkb(geometries), pa.binary()),
    }
    return pa.table(columns, schema=SCHEMA).sort_by(_ORDER)


def cells_of(lon_deg: NDArray[np.float64], lat_deg: NDArray[np.float64]) -> NDArray[np.int32]:
    """Number of the cell of each point: from west to east in rows from south to north."""
    row = np.floor((lat_deg + 90) / CELL_DEG)
    column = np.floor((lon_deg + 180) / CELL_DEG) % _CELLS_ROUND
    cells: NDArray[np.int32] = (row * _CELLS_ROUND + column).astype(np.int32)
    return cells


def areas_m2(geometries: NDArray[Any]) -> NDArray[np.float64]:
    """Areas of small shapes given in degrees, by the ellipsoid's radii at each one's middle; 0 for lines, points."""
    bounds = shapely.bounds(geometries)
    lat = np.radians((bounds[:, 1] + bounds[:, 3]) / 2)
    curvature = 1 - _E2 * np.sin(lat) ** 2
    north_m, east_m = _A_M * (1 - _E2) / curvature**1.5, _A_M * np.cos(lat) / np.sqrt(curvature)
    areas: NDArray[np.float64] = shapely.area(geometries) * north_m * east_m * np.radians(1) ** 2
    return areas


def write_part(table: pa.Table, path: Path) -> None:
    """Lay a sorted batch aside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def merge_parts(parts: Sequence[Path], out: Path) -> int:
    """Merge sorted batches into one sorted GeoParquet file, which appears whole or not at all; its number of rows."""
    tables = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in parts]
    cells = [table["cell"].to_numpy() for table in tables]
    aside = out.with_name(f".{out.name}.part")
    rows = 0
    with pq.ParquetWriter(aside, SCHEMA.with_metadata(_geo_metadata()), compression="zstd") as writer:
        for low, high in _stretches(cells):
            slices = []
            for table, keys in zip(tables, cells, strict=True):
                first, last = np.searchsorted(keys, (low, high))
                slices.append(table.slice(first, last - first))
            stretch = pa.concat_tables(slices).sort_by(_ORDER)
            writer.write_table(stretch, row_group_size=ROW_GROUP_ROWS)
            rows += stretch.num_rows
    aside.rename(out)
    return rows


def _stretches(cells: Sequence[NDArray[np.int32]]) -> Iterator[tuple[int, int]]:
    """Ranges of cells (first, end) that hold about as many rows as fit in memory; at least one cell each."""
    counts: Counter[int] = Counter()
    for keys in cells:
        counts.update(dict(zip(*(a.tolist() for a in np.unique(keys, return_counts=True)), strict=True)))
    ordered = sorted(counts)
    number = (np.cumsum([counts[cell] for cell in ordered], dtype=np.int64) // _STRETCH_ROWS).tolist()
    for _, group in itertools.groupby(zip(number, ordered, strict=True), key=lambda pair: pair[0]):
        members = [cell for _, cell in group]
        yield members[0], members[-1] + 1


def _geo_metadata() -> dict[bytes, bytes]:
    """GeoParquet 1.1: WKB in longitude and latitude, with a bounding box a row."""
    covering = {"bbox": {name: ["bbox", name] for name in ("xmin", "ymin", "xmax", "ymax")}}
    column = {"encoding": "WKB", "geometry_types": [], "covering": covering}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    return {b"geo": json.dumps(geo).encode(), b"licence": b"ODbL 1.0, (c) OpenStreetMap contributors"}
