"""Make ingest/data/countries.parquet from countries-50m.json of the npm package world-atlas 2.0.2.

Usage: python tools/countries.py countries-50m.json (needs pycountry and geopandas; run once, the result is kept in git)
"""

import json
import sys
from pathlib import Path

import geopandas
import numpy as np
import pycountry
import shapely

OUT = Path(__file__).parents[1] / "ingest" / "data" / "countries.parquet"
ANTARCTICA = "010"  # lies beyond UTM, and its ring around the pole is no planar polygon
PRECISION_DEG, TOLERANCE_DEG = 1e-3, 3.5e-3


def arcs_of(topology: dict) -> list[np.ndarray]:
    """Delta-coded, quantised arcs as coordinates (TopoJSON specification, section 2.1.4)."""
    scale, translate = (np.array(topology["transform"][name]) for name in ("scale", "translate"))
    return [np.cumsum(np.array(arc), axis=0) * scale + translate for arc in topology["arcs"]]


def ring(indices: list[int], arcs: list[np.ndarray]) -> np.ndarray:
    """Join arcs to a ring and undo its jumps over the antimeridian, so that it stays in one piece beyond 180."""
    parts = [arcs[i] if i >= 0 else arcs[~i][::-1] for i in indices]
    joined = np.concatenate([parts[0], *(part[1:] for part in parts[1:])])
    joined[1:, 0] -= 360 * np.cumsum(np.round(np.diff(joined[:, 0]) / 360))
    return joined


def polygons(rings: list[np.ndarray]) -> list[shapely.Polygon]:
    """A polygon, cut at the antimeridian and brought back to -180..180."""
    shell, *holes = [points for points in rings if len(points) >= 4]
    holes = [hole - [360 * round((hole[:, 0].mean() - shell[:, 0].mean()) / 360), 0] for hole in holes]
    whole, cut = shapely.make_valid(shapely.Polygon(shell, holes)), []
    for turn in (-360, 0, 360):
        inside = shapely.intersection(whole, shapely.box(turn - 180, -90, turn + 180, 90))
        cut += shapely.get_parts(shapely.transform(inside, lambda points, turn=turn: points - [turn, 0])).tolist()
    return [part for part in cut if part.geom_type == "Polygon"]


def main(source: Path) -> None:
    """Read, cut, simplify with shared borders kept, write."""
    topology = json.loads(source.read_text())
    arcs, rows = arcs_of(topology), []
    for country in topology["objects"]["countries"]["geometries"]:
        if country.get("id") == ANTARCTICA:
            continue
        shapes = [country["arcs"]] if country["type"] == "Polygon" else country["arcs"]
        outline = shapely.union_all([part for shape in shapes for part in polygons([ring(r, arcs) for r in shape])])
        known = pycountry.countries.get(numeric=str(country.get("id")).zfill(3))
        rows.append((known and known.alpha_2, known and known.alpha_3, country["properties"]["name"], outline))
    rows.sort(key=lambda row: (row[1] or "~", row[2]))
    outlines = shapely.set_precision(np.array([row[3] for row in rows]), PRECISION_DEG)
    names = {name: [row[i] for row in rows] for i, name in enumerate(("iso_a2", "iso_a3", "name"))}
    simple = shapely.make_valid(shapely.coverage_simplify(outlines, TOLERANCE_DEG))
    table = geopandas.GeoDataFrame(names, geometry=simple, crs=4326)
    table.to_parquet(OUT, compression="zstd", compression_level=19)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
