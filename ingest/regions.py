"""Where patches may lie: all land, countries by ISO code, or a region from a file.

Country outlines are Natural Earth 1:50m admin-0 (version 4.1, public domain), taken from the npm package
world-atlas 2.0.2, cut at the antimeridian again and simplified by 0.0035 degrees with shared borders kept:
`ingest/data/countries.parquet`, made by `tools/countries.py`. Antarctica is not among them.
"""

import functools
import importlib.resources
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely

from ingest.errors import PlanError

LAND = "land"
EU27_GB = "EU27+GB"
# European Union of 2020 (27 states) and the United Kingdom: where CORINE 2018 and dense OpenStreetMap meet.
_EU27_GB = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB", "GR", "HR",
    "HU", "IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
]  # fmt: skip
_EUROPE_CRS = 3035  # ETRS89-LAEA Europe, the grid of CORINE; its area of use leaves overseas territories out


def region(spec: str) -> shapely.Geometry:
    """The outline of a region in longitude and latitude.

    Args:
        spec: "land" (without Antarctica), "EU27+GB" (the part in Europe), ISO 3166 codes such as "DE,FR" or "KEN",
            the path of a GeoJSON or GeoParquet file in longitude and latitude, or a folder of GeoJSON files.

    Raises:
        PlanError: an unknown code, or a file that is missing, empty or not in longitude and latitude.
    """
    if spec == LAND:
        outline = _union([True] * _countries().num_rows)  # the file leaves Antarctica out
    elif spec.upper() == EU27_GB:
        europe = pyproj.CRS.from_epsg(_EUROPE_CRS).area_of_use
        assert europe is not None
        outline = shapely.intersection(_countries_by_code(_EU27_GB), shapely.box(*europe.bounds))
    elif Path(spec).is_dir():
        outline = shapely.union_all([_from_file(path) for path in sorted(Path(spec).glob("*.geojson"))])
    elif Path(spec).suffix:
        outline = _from_file(Path(spec))
    else:
        outline = _countries_by_code([code.strip().upper() for code in spec.split(",")])
    if outline.is_empty:
        raise PlanError(f"the region {spec!r} is empty; give one that has an area")
    shapely.prepare(outline)
    return outline


@functools.cache
def _countries() -> pa.Table:
    with (importlib.resources.files("ingest") / "data" / "countries.parquet").open("rb") as stream:
        return pq.read_table(stream, use_threads=False)  # threads that still end at exit abort a short program


def _countries_by_code(codes: list[str]) -> shapely.Geometry:
    table = _countries()
    known = set(table["iso_a2"].to_pylist()) | set(table["iso_a3"].to_pylist())
    if unknown := sorted(set(codes) - known):
        raise PlanError(
            f"unknown region {', '.join(unknown)}: not {LAND}, {EU27_GB}, an ISO 3166 country code such as DE or DEU, "
            "nor the path of a .geojson or .parquet file"
        )
    pairs = zip(table["iso_a2"].to_pylist(), table["iso_a3"].to_pylist(), strict=True)
    return _union([a2 in codes or a3 in codes for a2, a3 in pairs])


def _union(chosen: list[bool]) -> shapely.Geometry:
    outlines = shapely.from_wkb(_countries()["geometry"].to_numpy(zero_copy_only=False))
    return shapely.union_all(outlines[np.array(chosen)])


def _from_file(path: Path) -> shapely.Geometry:
    if not path.is_file():
        raise PlanError(f"there is no region file {path}")
    if path.suffix == ".parquet":
        wkb = pq.read_table(path, columns=["geometry"])["geometry"]
        outline = shapely.union_all(shapely.from_wkb(wkb.to_numpy(zero_copy_only=False)))
    else:
        outline = shapely.union_all(_geojson_geometries(path))
    west, south, east, north = outline.bounds
    if west < -360 or east > 360 or south < -90 or north > 90:
        span = f"({west:g}, {south:g}, {east:g}, {north:g})"
        raise PlanError(f"{path} spans {span}, which are not degrees; reproject it to EPSG:4326")
    return outline


def _geojson_geometries(path: Path) -> list[shapely.Geometry]:
    try:
        raw = json.loads(path.read_text())
        shapes = [f["geometry"] for f in raw["features"]] if "features" in raw else [raw.get("geometry", raw)]
        return [shapely.from_geojson(json.dumps(shape)) for shape in shapes]
    except (ValueError, KeyError, shapely.errors.GEOSException) as error:
        raise PlanError(f"{path} is not GeoJSON: {error}") from error
