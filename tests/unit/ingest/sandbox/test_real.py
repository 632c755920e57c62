"""Real pixels through an archive: placed on the lattice, read back exactly."""

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import planetary_computer
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.transform import Affine
from rasterio.windows import from_bounds

from catalog.bands import S2
from catalog.errors import DeepSentinelError, GridError, OutputExistsError
from catalog.mgrs import tile_of, tile_origin
from ingest.radiometry import stored_gamma0
from ingest.sandbox.items import S1_NODATA, blob_path
from ingest.sandbox.real import linear_power, place, write_real_archive
from ingest.sandbox.server import Sandbox
from ingest.sandbox.sites import OpticalPass, RadarPass, Site, read_sites

TERRAMESH_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
NOON = dt.datetime(2017, 6, 13, 10, 10, 31, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def sources(shared_data) -> list[Path]:
    return [shared_data / "terramind_s1rtc_s2l2a", shared_data / "bigearthnet_examples"]


@pytest.fixture(scope="module")
def archive(sources, tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("real") / "archive"
    write_real_archive(sources, folder)
    return folder


def sites_of(archive: Path) -> list[dict[str, Any]]:
    return json.loads((archive / "sites.json").read_text())


def item_of(archive: Path, collection: str, item_id: str) -> dict[str, Any]:
    return json.loads((archive / "items" / collection / f"{item_id}.json").read_text())


def read_back(archive: Path, href: str, bounds: list[int]) -> np.ndarray:
    with rasterio.open(archive / "blobs" / blob_path(href)) as raster:
        window = from_bounds(*bounds, transform=raster.transform)
        assert window.col_off == int(window.col_off)
        assert window.row_off == int(window.row_off)
        return raster.read(1, window=window)


def test_eight_sites_come_back_exactly(archive, sources):
    sites = sites_of(archive)
    assert len(sites) == 8
    originals = {site.name: site for source in sources for site in read_sites(source)}
    for site in sites:
        original = originals[site["site"]]
        optical = item_of(archive, "sentinel-2-l2a", site["s2_item"])
        radar = item_of(archive, "sentinel-1-rtc", site["s1_item"])
        for band in S2:
            if band.gsd_m < 60:  # the site is not a whole number of 60 m pixels; those follow below
                pixels = read_back(archive, optical["assets"][band.name]["href"], site["bounds_m"])
                np.testing.assert_array_equal(pixels, original.s2[band.name])
        for name in ("vv", "vh"):
            power = read_back(archive, radar["assets"][name]["href"], site["bounds_m"])
            np.testing.assert_array_equal(stored_gamma0(power), np.rint(original.s1_db[name].astype(float) * 100))


def test_terramesh_pixels_equal_the_files_on_the_10_m_grid(archive, sources):
    for site in sites_of(archive)[:4]:
        with rasterio.open(sources[0] / "S2L2A" / f"{site['site']}.tif") as file:
            delivered = dict(zip(TERRAMESH_BANDS, file.read(), strict=True))
        item = item_of(archive, "sentinel-2-l2a", site["s2_item"])
        west, _, _, north = site["bounds_m"]
        for name, expected in delivered.items():
            gsd = int(item["assets"][name]["gsd"])
            side = -(-224 * 10 // gsd)
            bounds = [west, north - side * gsd, west + side * gsd, north]
            pixels = read_back(archive, item["assets"][name]["href"], bounds)
            fine = pixels.repeat(gsd // 10, 0).repeat(gsd // 10, 1)[:224, :224]
            np.testing.assert_array_equal(fine, expected)


def test_bigearthnet_pixels_equal_their_files(archive, sources):
    for site in sites_of(archive)[4:]:
        folder = sources[1].parent / site["files"][1]
        item = item_of(archive, "sentinel-2-l2a", site["s2_item"])
        for band in S2:
            with rasterio.open(folder / f"{folder.name}_{band.name}.tif") as file:
                pixels = read_back(archive, item["assets"][band.name]["href"], site["bounds_m"])
                np.testing.assert_array_equal(pixels, file.read(1))
                assert list(file.bounds) == site["bounds_m"]


def test_sites_lie_on_the_lattice_and_say_how_far_they_were_moved(archive, sources):
    for site in sites_of(archive):
        west, south, east, north = site["bounds_m"]
        assert west % 60 == north % 60 == 0
        item = item_of(archive, "sentinel-2-l2a", site["s2_item"])
        assert item["properties"]["s2:mgrs_tile"] == tile_of(site["epsg"], (west + east) / 2, (south + north) / 2)
        assert item["properties"]["sandbox:shift_m"] == site["shift_m"]
        assert max(map(abs, site["shift_m"])) <= 30
        if site["files"][0].startswith("bigearthnet"):
            assert site["shift_m"] == [0, 0]
        else:
            with rasterio.open(sources[0].parent / site["files"][1]) as file:
                stated = np.array([file.transform.c, file.transform.f])
            np.testing.assert_allclose(stated + site["shift_m"], [west, north], atol=1e-3)


def test_items_state_what_the_sources_state(archive):
    times = {}
    for site in sites_of(archive):
        optical = item_of(archive, "sentinel-2-l2a", site["s2_item"])["properties"]
        radar = item_of(archive, "sentinel-1-rtc", site["s1_item"])["properties"]
        assert radar["proj:shape"] == [21_000, 27_000]
        assert float(optical["s2:processing_baseline"]) < 4
        times[site["site"]] = (radar["start_datetime"][:19], optical["datetime"][:19], radar["sat:orbit_state"])
    # From the provenance notes of the data; the directions by hand from the local time.
    assert times["282D_485L_3_3"] == ("2021-07-21 08:40:10", "2021-07-23T13:22:41", "descending")
    assert times["38D_378R_2_3"] == ("2023-06-10 16:04:18", "2023-06-10T07:46:21", "ascending")
    assert times["609U_541L_3_0"] == ("2020-01-11 23:27:23", "2020-01-11T16:46:49", "ascending")
    assert times["637U_59R_1_3"] == ("2017-10-30 05:32:30", "2017-10-30T10:41:51", "descending")
    finland = "S1A_IW_GRDH_1SDV_20170925T043256_35VPK_69_24"
    assert times[finland] == ("2017-09-25 04:32:56", "2017-09-24T09:30:20", "descending")


def test_scene_classification_is_unclassified_where_valid(archive):
    for site in sites_of(archive):
        item = item_of(archive, "sentinel-2-l2a", site["s2_item"])
        classes = read_back(archive, item["assets"]["SCL"]["href"], site["bounds_m"])
        assert np.unique(classes).tolist() == [7]


def test_regions_outline_the_sites(archive):
    for site in sites_of(archive):
        region = json.loads((archive / "regions" / f"{site['site']}.geojson").read_text())
        item = item_of(archive, "sentinel-1-rtc", site["s1_item"])
        assert region["features"][0]["geometry"] == item["geometry"]
        assert item["bbox"][0] < item["bbox"][2] < item["bbox"][0] + 0.1


def test_served_archive_reads_like_the_source(archive):
    site = sites_of(archive)[-1]
    item = item_of(archive, "sentinel-2-l2a", site["s2_item"])
    href = item["assets"]["B08"]["href"]
    with Sandbox(archive) as sandbox, sandbox.applied(), rasterio.open(planetary_computer.sign(href)) as raster:
        pixels = raster.read(1, window=from_bounds(*site["bounds_m"], transform=raster.transform))
    np.testing.assert_array_equal(pixels, read_back(archive, href, site["bounds_m"]))


def make_site(**changes: Any) -> Site:
    ones = {band.name: np.ones((60 * 10 // band.gsd_m,) * 2, np.uint16) for band in S2}
    site = Site(
        name="made",
        epsg=32633,
        west_m=404_400,
        north_m=5_342_400,
        side_px=60,
        s1_db=dict.fromkeys(("vv", "vh"), np.full((60, 60), -10.0)),
        s2=ones,
        s1_pass=RadarPass("S1A", NOON, NOON + dt.timedelta(seconds=25), 17018, None, True),
        s2_pass=OpticalPass("S2A", NOON, 22, "02.05"),
        files=("made/site",),
    )
    return replace(site, **changes)


@given(st.floats(310_000, 390_000), st.floats(5_310_000, 5_390_000))
def test_a_site_moves_to_the_nearest_place_that_any_tile_of_its_zone_could_have(west, north):
    placed = place(make_site(west_m=west, north_m=north))
    _, tile_west, tile_north = tile_origin(placed.tile)
    assert (placed.west_m - tile_west) % 60 == (placed.north_m - tile_north) % 60 == 0
    assert max(map(abs, placed.shift_m)) <= 30.0005
    np.testing.assert_allclose([placed.west_m - west, placed.north_m - north], placed.shift_m, atol=6e-4)


def test_a_site_must_fit_the_tile_of_its_centre():
    with pytest.raises(GridError, match="leaves tile 33UVP"):
        place(make_site(west_m=399_900 - 180))


def test_two_sites_may_not_share_a_scene(tmp_path, monkeypatch):
    monkeypatch.setattr("ingest.sandbox.real.FRAME_PX", (700, 900))
    monkeypatch.setattr("ingest.sandbox.real.read_sites", lambda source: [make_site(), make_site(name="again")])
    with pytest.raises(OutputExistsError, match="two scenes may not share an id"):
        write_real_archive([tmp_path], tmp_path / "out")


def test_partly_invalid_sites_keep_their_nodata(tmp_path, monkeypatch):
    monkeypatch.setattr("ingest.sandbox.real.FRAME_PX", (700, 900))
    decibels, bands = np.full((60, 60), -10.0), {name: pixels.copy() for name, pixels in make_site().s2.items()}
    decibels[0, :5] = np.nan
    bands["B11"][3, 4] = 0
    site = make_site(s1_db={"vv": decibels, "vh": decibels}, s2=bands)
    monkeypatch.setattr("ingest.sandbox.real.read_sites", lambda source: [site])
    record = write_real_archive([tmp_path], tmp_path / "out")[0]
    radar = item_of(tmp_path / "out", "sentinel-1-rtc", record["s1_item"])
    optical = item_of(tmp_path / "out", "sentinel-2-l2a", record["s2_item"])
    power = read_back(tmp_path / "out", radar["assets"]["vv"]["href"], record["bounds_m"])
    assert np.argwhere(power == S1_NODATA).tolist() == [[0, column] for column in range(5)]
    classes = read_back(tmp_path / "out", optical["assets"]["SCL"]["href"], record["bounds_m"])
    assert np.argwhere(classes == 0).tolist() == [[3, 4]]


@given(hnp.arrays(np.float64, 20, elements=st.floats(-60, 30)))
def test_power_converts_back_to_the_same_hundredth_of_a_db(decibels):
    np.testing.assert_array_equal(stored_gamma0(linear_power(decibels)), np.rint(decibels * 100))


def test_power_of_values_between_two_hundredths_converts_back():
    ties = np.arange(-6000, 3000) / 64.0  # every 16th times 100 ends in .5, as half-precision dB do
    np.testing.assert_array_equal(stored_gamma0(linear_power(ties)), np.rint(ties * 100))
    np.testing.assert_allclose(10 * np.log10(linear_power(ties), dtype=np.float64), ties, atol=2e-6)


def test_unknown_layout_says_what_was_expected(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DeepSentinelError, match=r"expected S1RTC, S2L2A and LULC.*found \['images'\]"):
        list(read_sites(tmp_path))
    with pytest.raises(DeepSentinelError, match="no folder"):
        list(read_sites(tmp_path / "nowhere"))


def write_terramesh(folder: Path, optical: np.ndarray) -> None:
    radar = np.full((2, 12, 12), -10.0)
    for name, pixels, tags in (
        ("S1RTC", radar, {"datetime": "2020-01-11T23:27:23.000000000"}),
        ("S2L2A", optical, {}),
        ("LULC", np.ones((1, 12, 12), np.uint8), {"datetime": "2020-01-11T16:46:49.000000000"}),
    ):
        (folder / name).mkdir(parents=True)
        profile = {"count": len(pixels), "height": 12, "width": 12, "dtype": pixels.dtype, "crs": "EPSG:32616"}
        transform = Affine(10, 0, 694_874.95, 0, -10, 6_075_694.02)
        with rasterio.open(folder / name / "site.tif", "w", driver="GTiff", transform=transform, **profile) as file:
            file.write(pixels)
            file.update_tags(**tags)


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (lambda dn: dn, None),
        (lambda dn: np.where(np.arange(12)[:, None] == 5, dn + 1, dn), "B01 in equal blocks of 6 x 6"),
        (lambda dn: dn + 1000, "without the offset of baseline 04.00"),
        (lambda dn: dn - 900, "at least 0"),
        (lambda dn: dn[:11], "12 bands"),
    ],
)
def test_terramesh_files_that_break_the_rules_are_refused(tmp_path, breakage, message):
    write_terramesh(tmp_path, breakage(np.full((12, 12, 12), 500, np.int16)))
    if message is None:
        (site,) = read_sites(tmp_path)
        assert site.s2["B01"].shape == (2, 2)
        assert site.s2_pass == OpticalPass("S2B", dt.datetime(2020, 1, 11, 16, 46, 49, tzinfo=dt.UTC), 126, "02.12")
    else:
        with pytest.raises(DeepSentinelError, match=message):
            list(read_sites(tmp_path))
