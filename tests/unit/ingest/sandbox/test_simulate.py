"""A whole simulated archive: files, items and pixels agree with each other and with what was simulated."""

import datetime as dt
import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.windows
import shapely

from catalog.errors import DeepSentinelError, GridError, OutputExistsError
from catalog.grid import cell_at, grid_of_cell
from catalog.mgrs import tile_origin, transformer
from ingest.sandbox import radar
from ingest.sandbox.earth import ground
from ingest.sandbox.items import S2_GSD_M, blob_path, s2_item
from ingest.sandbox.noise import Frame
from ingest.sandbox.passes import Swath, baseline_on, optical_passes, radar_passes
from ingest.sandbox.regions import PRESETS, SimulatedRegion
from ingest.sandbox.simulate import scene_seed, simulate

REGION = SimulatedRegion("one", "32UMA", 10, 13, 1, 2, dt.date(2022, 1, 21), dt.date(2022, 1, 28), 5, cloudiness=0.4)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("earth") / "archive"
    simulate([REGION], out, seed=3, workers=1)
    return out


def items(archive: Path, collection: str) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((archive / "items" / collection).glob("*.json"))]


def blob(archive: Path, item: dict, asset: str) -> Path:
    return archive / "blobs" / blob_path(item["assets"][asset]["href"])


def read(path: Path, frame: Frame, gsd_m: int) -> np.ndarray:
    with rasterio.open(path) as raster:
        window = rasterio.windows.from_bounds(*frame.bounds_m, raster.transform)
        assert window.col_off == int(window.col_off)
        assert window.width == frame.cols * 10 // gsd_m
        return raster.read(1, window=window)


def test_files_are_genuine_cogs_of_real_size(archive):
    optical, slice_ = items(archive, "sentinel-2-l2a")[0], items(archive, "sentinel-1-rtc")[0]
    expected = [(blob(archive, optical, name), 109_800 // S2_GSD_M[name], 0) for name in optical["assets"]]
    expected += [(blob(archive, slice_, name), 27_000, -32768) for name in ("vv", "vh")]
    for path, width, nodata in expected:
        with rasterio.open(path) as raster:
            assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert raster.block_shapes == [(512, 512)]
            assert (raster.width, raster.nodata) == (width, nodata)
    assert len(optical["assets"]) == 13


def test_pixels_on_disk_are_the_pixels_simulated(archive):
    """The radar scene is rendered once more from the same ground."""
    item = items(archive, "sentinel-1-rtc")[0]
    passes = radar_passes("32UMA", *REGION.centre_deg, dt.date(2022, 1, 15), dt.date(2022, 2, 2), 3)
    scene = next(one for one in passes if one.orbit_state == item["properties"]["sat:orbit_state"])
    frame = REGION.radar_frame
    image = radar.render(
        frame, ground(frame, 3), day=scene.started.timetuple().tm_yday, orbit_state=scene.orbit_state,
        valid=scene.swath.mask(frame), noise_seed=scene_seed(3, "32UMA", scene.started),
    )  # fmt: skip
    for name in ("VV", "VH"):
        np.testing.assert_array_equal(read(blob(archive, item, name.lower()), frame, 10), image[name])


def test_cloud_cover_of_the_item_is_the_share_in_the_window(archive):
    for item in items(archive, "sentinel-2-l2a"):
        classes = read(blob(archive, item, "SCL"), REGION.optical_frame, 20)
        share = 100 * np.isin(classes, (8, 9, 10)).sum() / (classes > 0).sum()
        assert item["properties"]["eo:cloud_cover"] == pytest.approx(share, abs=1e-5)


def test_the_offset_begins_with_baseline_four(archive):
    """One winter scene before 2022-01-25, one after: dark ground is 1,000 brighter in the second."""
    darkest = {}
    for item in items(archive, "sentinel-2-l2a"):
        pixels = read(blob(archive, item, "B11"), REGION.optical_frame, 20)
        darkest[item["properties"]["s2:processing_baseline"]] = np.percentile(pixels[pixels > 0], 0.1)
    assert set(darkest) == {"02.12", "04.00"}
    assert darkest["04.00"] > 1000
    assert darkest["02.12"] < 1000


def test_nothing_is_outside_the_window(archive):
    item = items(archive, "sentinel-2-l2a")[0]
    with rasterio.open(blob(archive, item, "SCL")) as raster:
        assert np.count_nonzero(raster.read(1)) <= REGION.optical_frame.rows * REGION.optical_frame.cols // 4


@pytest.mark.parametrize("region", [region for preset in PRESETS.values() for region in preset], ids=lambda r: r.name)
def test_uncut_footprints_contain_every_cell(region):
    rows = range(region.first_row, region.first_row + region.rows)
    columns = range(region.first_column, region.first_column + region.columns)
    cells = [
        grid_of_cell(f"{region.tile.lower()}-{row:03d}-{column:03d}").footprint() for row in rows for column in columns
    ]
    whole = Swath(0.0, True, 8.0)
    for footprint in (whole.outline(region.optical_frame, 10), whole.outline(region.radar_frame)):
        assert all(footprint.covers(cell) for cell in cells)
    assert all(region.outline.buffer(1e-8).covers(cell) for cell in cells)  # 1 mm


def test_patches_inside_a_cut_footprint_have_all_their_pixels(archive):
    """Whatever a footprint promises is there, in every band."""
    checked = 0
    for item in items(archive, "sentinel-2-l2a"):
        footprint = shapely.geometry.shape(item["geometry"])
        for column in (13, 14):
            cell = grid_of_cell(f"32uma-010-{column:03d}")
            if footprint.covers(cell.footprint()):
                frame = Frame(cell.epsg, cell.west_m, cell.north_m, 256, 256)
                assert read(blob(archive, item, "B02"), frame, 10).all()
                assert read(blob(archive, item, "SCL"), frame, 20).all()
                checked += 1
    assert checked


def test_each_region_is_described_as_geojson(archive):
    shape = shapely.from_geojson((archive / "regions" / "one.geojson").read_text()).geoms[0]
    assert shapely.equals_exact(shape, REGION.outline, 1e-9)


def test_radar_scenes_lie_on_the_10_m_lattice_and_near_an_optical_one(archive):
    days = [dt.datetime.fromisoformat(item["properties"]["datetime"]) for item in items(archive, "sentinel-2-l2a")]
    assert items(archive, "sentinel-1-rtc")
    for item in items(archive, "sentinel-1-rtc"):
        transform = item["properties"]["proj:transform"]
        assert transform[2] % 10 == transform[5] % 10 == 0
        started = dt.datetime.fromisoformat(item["properties"]["start_datetime"])
        assert min(abs(started - day) for day in days) <= dt.timedelta(days=3)


def test_labels_and_description_are_there(archive):
    facts = json.loads((archive / "archive.json").read_text())
    assert facts["kind"] == "simulated"
    assert facts["regions"][0]["window_m"] == list(REGION.window.bounds_m)
    with rasterio.open(archive / "labels" / "corine.tif") as raster:
        assert (raster.read(1) > 0).sum() > 0.8 * 2.56 * 5.12 * 100 / 1.2
    assert (archive / "labels" / "osm.osm.pbf").stat().st_size > 1000
    assert not list(archive.glob(".ground-*"))


def test_the_same_seed_gives_the_same_bytes(archive, tmp_path):
    simulate([REGION], tmp_path / "again", seed=3, workers=1)
    for path in sorted(archive.rglob("*.tif*")) + sorted(archive.rglob("*.json")):
        twin = tmp_path / "again" / path.relative_to(archive)
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(twin.read_bytes()).digest(), path.name


def test_a_full_folder_is_left_alone(archive):
    with pytest.raises(OutputExistsError, match="not empty"):
        simulate("tiny", archive)


def test_an_unknown_preset_names_the_known(tmp_path):
    with pytest.raises(DeepSentinelError, match="demo, tiny"):
        simulate("everything", tmp_path / "x")


def test_regions_stay_inside_their_tile():
    with pytest.raises(GridError, match="42 x 42 cells"):
        SimulatedRegion("x", "32UMA", 40, 0, 4, 4, dt.date(2018, 1, 1), dt.date(2018, 2, 1))


@pytest.mark.parametrize("region", [region for preset in PRESETS.values() for region in preset], ids=lambda r: r.name)
def test_optical_frames_hold_whole_60_m_pixels_around_the_cells(region):
    frame, (_, west_m, north_m) = region.optical_frame, tile_origin(region.tile)
    assert (frame.west_m - west_m) % 60 == (north_m - frame.north_m) % 60 == 0
    assert frame.rows % 6 == frame.cols % 6 == 0
    west, south, east, north = region.window.bounds_m
    left, bottom, right, top = frame.bounds_m
    assert left <= west < left + 60
    assert bottom <= south < bottom + 60
    assert right - 60 < east <= right
    assert top - 60 < north <= top


def test_passes_keep_their_rhythm():
    place = ("32UMA", 8.6, 50.1, dt.date(2019, 1, 1), dt.date(2019, 12, 31))
    optical = optical_passes(*place, 5, 0)
    assert {b.time - a.time for a, b in itertools.pairwise(optical)} == {dt.timedelta(days=5)}
    assert len({one.relative_orbit for one in optical}) == 1
    radar_ = radar_passes(*place, 0)
    for state in ("ascending", "descending"):
        own = [one for one in radar_ if one.orbit_state == state]
        assert {b.started - a.started for a, b in itertools.pairwise(own)} == {dt.timedelta(days=12)}
        assert len({one.relative_orbit for one in own}) == 1
    assert len(radar_) in (60, 61, 62)


@pytest.mark.parametrize("day, baseline", [((2018, 6, 1), "02.12"), ((2022, 1, 24), "02.12"), ((2022, 1, 25), "04.00")])
def test_baselines_follow_the_calendar(day, baseline):
    assert baseline_on(dt.date(*day)) == baseline


@pytest.mark.parametrize("from_west", [True, False])
def test_a_swath_covers_the_pixels_inside_its_outline(from_west):
    frame = Frame(32632, 500_000, 5_600_000, 120, 100)
    swath = Swath(0.12, from_west, 12.0)
    x_m, y_m = np.meshgrid(frame.x_m, frame.y_m)
    lon, lat = transformer(32632, 4326).transform(x_m, y_m)
    inside = shapely.contains_xy(swath.outline(frame), lon, lat)
    assert (inside != swath.mask(frame)).sum() <= 2  # pixels whose centre lies on the edge
    assert 0.9 < inside.mean() < 1


def test_a_region_across_the_antimeridian_has_continuous_longitudes_and_items_cut_there():
    cell = cell_at(32660, *transformer(4326, 32660).transform(179.985, 68.0))
    tile, row, column = cell.name.split("-")
    days = dt.date(2018, 6, 2), dt.date(2018, 6, 9)
    region = SimulatedRegion("edge", tile.upper(), int(row), int(column), 1, 1, *days)
    assert region.outline.normalize().equals_exact(cell.footprint().normalize(), 1e-9)
    assert region.centre_deg == pytest.approx((180, 68), abs=0.05)
    acquired = dt.datetime(2018, 6, 2, tzinfo=dt.UTC)
    item = s2_item(
        tile=tile.upper(), acquired=acquired, platform="S2A", relative_orbit=1, orbit_state="descending",
        baseline="05.09", cloud_cover=0.0, footprint=region.outline,
    )  # fmt: skip
    stated = shapely.from_geojson(json.dumps(item["geometry"]))
    west, _, east, _ = item["bbox"]
    assert (stated.geom_type, len(stated.geoms)) == ("MultiPolygon", 2)
    assert stated.area == pytest.approx(region.outline.area, rel=1e-9)
    assert -180 < east < -179.9 < 179.9 < west < 180
