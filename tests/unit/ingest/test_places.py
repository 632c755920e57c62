import datetime as dt

import numpy as np
import pytest
import shapely

from catalog.grid import cell_at
from catalog.mgrs import transformer, utm_epsg
from ingest.places import Place, Places, from_us, to_us

DAY = dt.datetime(2021, 6, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def places():
    """Cells of many zones, both hemispheres, at the antimeridian and in the far north."""
    spots = [(13.1, 52.3), (-179.999, -16.5), (179.999, 70.0), (20.0, 78.5), (-66.0, 0.003), (5.0, 60.0), (100.0, -3.0)]
    cells = []
    for lon, lat in spots:
        epsg = int(utm_epsg(lon, lat))
        cells.append(cell_at(epsg, *transformer(4326, epsg).transform(lon, lat)))
    return [Place(7 * i, cell, DAY + dt.timedelta(days=i), DAY + dt.timedelta(days=i + 12)) for i, cell in
            enumerate(cell for cell in cells if cell is not None)]  # fmt: skip


def test_columns_give_back_the_places(places):
    columns = Places.of(places)
    assert list(columns) == places
    assert list(columns[1:3]) == places[1:3]
    assert columns[-1] == places[-1]
    assert columns == Places.of(places) != Places.of(places[::-1])


def test_columns_agree_with_every_grid(places):
    columns = Places.of(places)
    assert columns.tiles().tolist() == [place.grid.tile for place in places]
    for place, inner in zip(places, columns.inner_outlines(), strict=True):
        outline = place.grid.footprint()
        assert outline.contains(inner)
        shares = inner.area / outline.area
        assert shares == pytest.approx((1 - 2 / place.grid.side_m) ** 2, rel=1e-4)  # one metre less on each side
    centres = [place.grid.footprint().centroid.coords[0] for place in places]
    gaps = columns.centres_lonlat() - np.array(centres)
    np.testing.assert_allclose((gaps[:, 0] + 180) % 360 - 180, 0, atol=1e-4)
    np.testing.assert_allclose(gaps[:, 1], 0, atol=1e-4)


def test_longitudes_are_continuous_where_the_patch_crosses_the_antimeridian(places):
    widths = [shapely.bounds(outline)[2] - shapely.bounds(outline)[0] for outline in Places.of(places).inner_outlines()]
    assert max(widths) < 0.2


def test_microseconds_are_exact():
    time = dt.datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=dt.UTC)
    assert from_us(to_us(time)) == time
    assert to_us(dt.datetime(1970, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=1)))) == 23 * 3600 * 1_000_000
