import numpy as np
import pytest
import shapely

from catalog.grid import cell_at
from catalog.mgrs import transformer
from ingest.footprints import contains, continuous
from ingest.places import Place, Places, from_us

LEFT, RIGHT = shapely.box(178, -20, 180, -10), shapely.box(-180, -20, -178.5, -10)
ONE_RING = shapely.Polygon([(178, -20), (-178.5, -20), (-178.5, -10), (178, -10)])
CUT_ON_BOTH_SIDES = shapely.MultiPolygon([LEFT, RIGHT])


def array(*shapes):
    out = np.empty(len(shapes), dtype=object)
    out[:] = shapes
    return out


@pytest.mark.parametrize("stated", [CUT_ON_BOTH_SIDES, ONE_RING, shapely.box(178, -20, 181.5, -10)])
def test_a_footprint_across_the_antimeridian_becomes_one_piece(stated):
    piece = continuous(array(stated))[0]
    assert piece.geom_type == "Polygon"
    assert piece.equals(shapely.box(178, -20, 181.5, -10))


def test_other_footprints_stay_as_they_are():
    shapes = array(shapely.box(-10, 0, 10, 5), RIGHT, LEFT)
    assert all(a is b for a, b in zip(continuous(shapes), shapes, strict=True))


@pytest.mark.parametrize("lon", [179.99, -179.999, -179.98, 180.0])
def test_patches_on_the_antimeridian_lie_in_it_from_either_zone(lon):
    """Cells of zones 1 and 60, some with longitudes beyond 180 and some below -180."""
    for epsg in (32701, 32760):
        cell = cell_at(epsg, *transformer(4326, epsg).transform(lon, -16.5))
        outline = Places.of([Place(0, cell, from_us(0), from_us(1))]).inner_outlines()
        assert contains(continuous(array(CUT_ON_BOTH_SIDES)), outline).all()
        assert not contains(continuous(array(shapely.box(178, -20, lon - 0.001, -10))), outline).any()
        assert not contains(array(shapely.box(0, -20, 3, -10)), outline).any()
