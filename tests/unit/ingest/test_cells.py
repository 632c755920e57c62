import itertools
import json

import numpy as np
import pytest
import shapely

from catalog.grid import cell_at
from catalog.mgrs import transformer, utm_epsg
from ingest.cells import cells_inside
from ingest.footprints import around, cut
from ingest.sample import Sample, run

SIDE_PX = 128
SOUTH, NORTH = 66.95, 67.05


def slow_cells(west, east):
    """Names of the cells in a rectangle: the cell of every point of a net, kept if its corners lie in it."""
    lon, lat = np.meshgrid(np.arange(west, east, 0.01), np.arange(SOUTH, NORTH, 0.004))
    cells = set()
    for x_deg, y_deg in zip(((lon + 180) % 360 - 180).ravel(), lat.ravel(), strict=True):
        epsg = int(utm_epsg(x_deg, y_deg))
        cells.add(cell_at(epsg, *transformer(4326, epsg).transform(x_deg, y_deg), SIDE_PX))
    names = set()
    for cell in cells - {None}:
        centre = cell.west_m + cell.side_m / 2, cell.north_m - cell.side_m / 2
        own = utm_epsg(*transformer(cell.epsg, 4326).transform(*centre)) == cell.epsg
        x_m, y_m = zip(*itertools.product(cell.bounds_m[::2], cell.bounds_m[1::2]), strict=True)
        x_deg, y_deg = (np.array(edge) for edge in transformer(cell.epsg, 4326).transform(x_m, y_m))
        from_west = (x_deg - west) % 360
        if own and np.all(from_west <= east - west) and np.all((y_deg >= SOUTH) & (y_deg <= NORTH)):
            names.add(cell.name)
    return names


@pytest.fixture(scope="module")
def expected():
    return slow_cells(179.8, 180.2)


BEYOND = shapely.box(179.8, SOUTH, 180.2, NORTH)
BEFORE = shapely.box(-180.2, SOUTH, -179.8, NORTH)
IN_TWO = shapely.MultiPolygon(
    [shapely.box(179.8, SOUTH, 180, NORTH), shapely.box(-180, SOUTH, -179.8, NORTH)],
)


@pytest.mark.parametrize("drawn", [BEYOND, BEFORE, IN_TWO], ids=["beyond 180", "before -180", "cut in two"])
def test_every_cell_across_the_antimeridian_is_found_however_it_is_drawn(drawn, expected, tmp_path):
    path = tmp_path / "region.geojson"
    path.write_text(json.dumps({"type": "Feature", "geometry": json.loads(shapely.to_geojson(drawn))}))
    plan = run(Sample(tmp_path / "plan.parquet", region=str(path), every_cell=True, end="2021-01-10", side_px=SIDE_PX))
    assert [place.grid.name for place in plan.places] == sorted(expected)
    footprints = [place.grid.footprint().bounds for place in plan.places]
    assert {place.grid.epsg for place in plan.places} == {32601, 32660}
    assert any(west < 180 < east or west < -180 < east for west, _, east, _ in footprints)


def test_other_regions_have_the_cells_of_the_slow_reference():
    found = cells_inside(shapely.box(5.85, SOUTH, 6.15, NORTH), SIDE_PX)  # the border of zones 31 and 32
    assert {cell.name for cell in found} == slow_cells(5.85, 6.15)


def test_a_region_is_the_same_ground_however_it_is_drawn():
    for drawn in (BEFORE, IN_TWO):
        assert around(drawn).symmetric_difference(around(BEYOND)).area < 1e-12
    inland = shapely.box(10, 50, 20, 60)
    assert around(inland) is inland


@pytest.mark.parametrize("outline", [BEYOND, BEFORE])
def test_an_outline_is_cut_at_the_antimeridian_as_geojson_wants_it(outline):
    parts, bbox = cut(outline)
    assert parts.equals(IN_TWO)
    np.testing.assert_allclose(bbox, [179.8, SOUTH, -179.8, NORTH])
    inland = shapely.box(10, 50, 20, 60)
    assert cut(inland) == (inland, [10, 50, 20, 60])
