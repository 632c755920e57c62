"""ESA WorldCover on patches: classes as the provider states them, pixels as GDAL finds them."""

import dataclasses
import json

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import rowcol
from rasterio.warp import transform

from catalog.grid import cell_at
from catalog.labels import WORLDCOVER
from catalog.mgrs import transformer
from ingest.errors import PlanError, ReadError, Refused
from ingest.images import Access
from ingest.projected import centres_there
from ingest.sandbox.cogs import Window, write_sparse_cog
from ingest.sandbox.items import blob_path
from ingest.sources import local, planetary_computer
from ingest.worldcover import WorldCover, tile_href, tile_name

PX_DEG = 3 / 36_000
AROUND_PX = 1_000  # written on each side of the place


def access_to(folder):
    """Tiles in a folder in the place of the provider's storage."""
    return Access(dataclasses.replace(planetary_computer(), sign=lambda href: str(folder / blob_path(href))))


def write_tiles(folder, lon, lat, *, edit=lambda values: values):
    """Random classes around a place, in every tile that the surroundings touch; the paths of the tiles."""
    rng = np.random.default_rng(0)
    paths = []
    reach = AROUND_PX * PX_DEG
    for west in {int(np.floor((lon + side * reach) / 3) * 3) for side in (-1, 1)}:
        for south in {int(np.floor((lat + side * reach) / 3) * 3) for side in (-1, 1)}:
            left, right = (np.clip(round((lon + s * reach - west) / PX_DEG), 0, 36_000) for s in (-1, 1))
            top, bottom = (np.clip(round((south + 3 - lat - s * reach) / PX_DEG), 0, 36_000) for s in (1, -1))
            values = rng.choice([cover.value for cover in WORLDCOVER], (bottom - top, right - left)).astype("u1")
            wrapped = (west + 180) % 360 - 180
            path = folder / blob_path(tile_href((wrapped, south), 2021, access_to(folder)))
            write_sparse_cog(
                path, epsg=4326, west_m=wrapped, north_m=south + 3, width_px=36_000, height_px=36_000, gsd_m=PX_DEG,
                windows=[Window(int(top), int(left), edit(values))], nodata=0,
            )  # fmt: skip
            paths.append(path)
    return paths


def patch_at(lon, lat):
    """The cell that holds a place."""
    epsg = 32600 + int((lon + 180) // 6 % 60) + 1 + (100 if lat < 0 else 0)
    found = cell_at(epsg, *transformer(4326, epsg).transform(lon, lat))
    assert found is not None
    return found


def sampled(paths, grid):
    """What GDAL finds under every pixel's centre, tile after tile; its warp is off by a hundredth of a map pixel."""
    x_m, y_m = (edge.ravel() for edge in np.meshgrid(*grid.centres_m(10)))
    lon, lat = transform(CRS.from_epsg(grid.epsg), CRS.from_epsg(4326), x_m, y_m)
    out = np.zeros(grid.side_px**2, "u1")
    for path in paths:
        with rasterio.open(path) as image:
            rows, cols = (np.asarray(index) for index in rowcol(image.transform, lon, lat))
            inside = (rows >= 0) & (rows < image.height) & (cols >= 0) & (cols < image.width)
            if not inside.any():
                continue
            rows, cols = rows[inside], cols[inside]
            low = rows.min(), cols.min()
            window = rasterio.windows.Window(low[1], low[0], np.ptp(cols) + 1, np.ptp(rows) + 1)
            out[inside] = image.read(1, window=window)[rows - low[0], cols - low[1]]
    return out.reshape(grid.side_px, grid.side_px)


def on_an_edge(grid):
    """Pixels whose centre lies within 0.1 mm of the edge of two map pixels: rounding decides which one holds it."""
    lonlat = np.stack(transformer(grid.epsg, 4326).transform(*np.meshgrid(*grid.centres_m(10))))
    rest = lonlat / PX_DEG % 1
    return (np.minimum(rest, 1 - rest) < 1e-5).any(axis=0)


@pytest.mark.parametrize(
    "lon, lat, tiles",
    [(13.4, 52.5, 1), (12.005, 46.5, 2), (9.01, 47.995, 4), (-60.3, -12.003, 2), (25.0, 77.5, 1)],
)
def test_labels_equal_what_gdal_finds_pixel_for_pixel(tmp_path, lon, lat, tiles):
    """In one tile, across the edges of two, at the corner of four, south of the equator and far north."""
    grid = patch_at(lon, lat)
    centre = transformer(grid.epsg, 4326).transform(grid.west_m + 1280, grid.north_m - 1280)
    paths = write_tiles(tmp_path, *centre)
    assert len(paths) == tiles
    with WorldCover(2021, access_to(tmp_path)) as cover:
        found = cover.labels(grid)
    tied = on_an_edge(grid)
    np.testing.assert_array_equal(np.where(tied, 0, found), np.where(tied, 0, sampled(paths, grid)))
    assert tied.sum() < 20
    assert (found > 0).all()


@pytest.mark.parametrize("epsg, lon", [(32660, 179.99), (32601, -179.99)])
def test_a_patch_across_the_antimeridian_reads_the_tiles_of_both_sides(tmp_path, epsg, lon):
    grid = cell_at(epsg, *transformer(4326, epsg).transform(lon, 67.0))
    centre = transformer(grid.epsg, 4326).transform(grid.west_m + 1280, grid.north_m - 1280)
    paths = write_tiles(tmp_path, centre[0] % 360, centre[1])
    with WorldCover(2021, access_to(tmp_path)) as cover:
        found = cover.labels(grid)
    names = {tile_name(tile, 2021)[-7:] for tile in ((177, 66), (-180, 66))}
    assert {path.stem.removesuffix("_Map")[-7:] for path in paths} == names == {"N66E177", "N66W180"}
    assert (found > 0).all()
    tied = on_an_edge(grid)
    np.testing.assert_array_equal(np.where(tied, 0, found), np.where(tied, 0, sampled(paths, grid)))


def test_sea_without_a_tile_and_values_that_are_no_class_are_unknown(tmp_path):
    grid = patch_at(12.005, 46.5)
    paths = write_tiles(tmp_path, 12.005, 46.5, edit=lambda values: np.where(values == 40, 41, values).astype("u1"))
    with WorldCover(2021, access_to(tmp_path)) as cover:
        whole = cover.labels(grid)
    west = next(path for path in paths if "E009" in path.name)
    np.testing.assert_array_equal((whole == 0) & ~on_an_edge(grid), (sampled(paths, grid) == 41) & ~on_an_edge(grid))
    west.unlink()
    with WorldCover(2021, access_to(tmp_path)) as cover:
        found = cover.labels(grid)
    east = centres_there(grid, 4326)[0] >= 12
    np.testing.assert_array_equal(found[east], whole[east])
    assert not found[~east].any()
    assert 0.1 < east.mean() < 0.9
    with WorldCover(2020, access_to(tmp_path)) as cover:
        assert not cover.labels(grid).any()


def test_a_damaged_tile_refuses_the_patch(tmp_path):
    (path,) = write_tiles(tmp_path, 13.4, 52.5)
    path.write_bytes(path.read_bytes()[:3000])
    with WorldCover(2021, access_to(tmp_path)) as cover, pytest.raises((Refused, ReadError), match="N51E012"):
        cover.labels(patch_at(13.4, 52.5))


def test_another_source_has_no_tokens_for_the_map():
    with pytest.raises(PlanError, match="--source planetary-computer"):
        WorldCover(2021, Access(local("catalog.json")))


def test_classes_are_those_of_the_recorded_collection(shared_data):
    collection = json.loads((shared_data / "stac-fixtures/pc/collections/esa-worldcover.json").read_text())
    stated = collection["item_assets"]["map"]["classification:classes"]
    ours = [(c.value, c.name, "{:02X}{:02X}{:02X}".format(*c.colour)) for c in WORLDCOVER]
    assert ours == [(entry["value"], entry["description"], entry["color-hint"]) for entry in stated]
    address = tile_href((12, 51), 2021, Access(planetary_computer()))
    assert address.split("/")[2:4] == [
        f"{collection['msft:storage_account']}.blob.core.windows.net", collection["msft:container"],
    ]  # fmt: skip
    assert address.endswith("/v200/2021/map/ESA_WorldCover_10m_2021_v200_N51E012_Map.tif")
