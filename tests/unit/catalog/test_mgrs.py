import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import GridError
from catalog.mgrs import SQUARE_M, tile_of, tile_origin, tiles_of, transformer, utm_epsg


def test_names_and_zones_equal_those_of_the_sentinel_2_tiling_grid(shared_data):
    table = pq.read_table(shared_data / "s2_mgrs_grid" / "s2_tiles.parquet", columns=["tile", "epsg"])
    wrong = []
    for tile, epsg in zip(table["tile"].to_pylist(), table["epsg"].to_pylist(), strict=True):
        found_epsg, west_m, north_m = tile_origin(tile)
        inside = tile_of(found_epsg, west_m + SQUARE_M / 2 + 60, north_m - SQUARE_M / 2 - 60)
        if (found_epsg, inside) != (epsg, tile):
            wrong.append((tile, epsg, found_epsg, inside))
    assert wrong == []
    assert table.num_rows == 56_686


def test_footprints_equal_those_of_the_tiling_grid(shared_data):
    table = pq.read_table(shared_data / "s2_mgrs_grid" / "s2_tiles.parquet")
    for row in table.slice(0, table.num_rows).take(list(range(0, table.num_rows, 997))).to_pylist():
        epsg, west_m, north_m = tile_origin(row["tile"])
        outline = shapely.from_wkb(row["geometry"])
        lon, lat = transformer(epsg, 4326).transform(west_m + 54_900, north_m - 54_900)
        assert outline.covers(shapely.Point(lon, lat)), row["tile"]
        corner = transformer(epsg, 4326).transform(west_m, north_m)
        assert outline.boundary.distance(shapely.Point(corner)) < 2e-3, row["tile"]


def test_pixel_origins_equal_recorded_product_metadata(shared_data):
    items = pq.read_table(shared_data / "stac-fixtures" / "pc" / "bulk" / "1000-sentinel-2-items.parquet").to_pylist()
    recorded = {
        item["s2:mgrs_tile"]: (item["proj:epsg"], *(item["assets"]["B02"]["proj:transform"][i] for i in (2, 5)))
        for item in items
    }
    assert len(recorded) == 54
    assert {tile: tile_origin(tile) for tile in recorded} == recorded


@pytest.mark.parametrize(
    "lon, lat, epsg",
    [
        (5.0, 51.0, 32631),
        (13.4, 52.5, 32633),
        (-0.1, -33.9, 32730),
        (5.3, 60.4, 32632),  # Bergen: zone 32 reaches west over south-west Norway
        (10.0, 78.0, 32633),  # Svalbard has no even zones
        (8.9, 78.0, 32631),
        (25.0, 78.0, 32635),
        (41.9, 78.0, 32637),
        (179.99, 10.0, 32660),
        (-180.0, 10.0, 32601),
        (180.0, 10.0, 32601),
    ],
)
def test_zones_follow_mgrs_with_its_exceptions(lon, lat, epsg):
    assert int(utm_epsg(lon, lat)) == epsg


@given(st.floats(-180, 180), st.floats(-79.9, 83.9))
def test_every_point_lies_inside_the_square_of_its_tile(lon, lat):
    epsg = int(utm_epsg(lon, lat))
    x_m, y_m = transformer(4326, epsg).transform(lon, lat)
    _, west_m, north_m = tile_origin(tile_of(epsg, x_m, y_m))
    assert 0 <= x_m - west_m < SQUARE_M + 60
    assert 0 <= north_m - y_m < SQUARE_M + 60


@pytest.mark.parametrize("name", ["33UUI", "61UUU", "33uuu", "33UUUU", "31CAZ", ""])
def test_an_impossible_tile_is_named_in_the_error(name):
    with pytest.raises(GridError, match=name or "not a Sentinel-2 tile"):
        tile_origin(name)


def test_latitudes_beyond_utm_are_refused():
    with pytest.raises(GridError, match=r"84\.500"):
        utm_epsg(np.array([0.0, 1.0]), np.array([10.0, 84.5]))


def test_tiles_of_many_points_are_those_of_each_point():
    rng = np.random.default_rng(0)
    epsg = rng.choice([32601, 32633, 32731, 32760], 2000)
    x, y = rng.uniform(200_000, 800_000, 2000), rng.uniform(0, 10_000_000, 2000)
    alone = [tile_of(*point) for point in zip(epsg.tolist(), x.tolist(), y.tolist(), strict=True)]
    assert tiles_of(epsg, x, y).tolist() == alone
    south = np.array([32731]), np.array([500_000.0]), np.array([10_000_000.0])  # the equator, seen from the south
    assert tiles_of(*south).tolist() == [tile_of(32731, 500_000.0, 10_000_000.0)]
