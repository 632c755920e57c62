"""Real Sentinel-1 and Sentinel-2 pixels through the whole of ingest: what is stored is what was delivered."""

import datetime as dt
import json

import numpy as np
import pytest
import rasterio

from catalog.bands import S1, S2_10M, S2_20M
from catalog.patch import parse_time
from catalog.reader import ShardReader
from catalog.shard import list_shards, provenance_of, shard_path

TERRAMIND_ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")


def stored_patches(root):
    for index in list_shards(root):
        reader = ShardReader(shard_path(root, index))
        for row, provenance in enumerate(provenance_of(root, index)):
            yield provenance, reader, row


def read(reader, row, name, shape, dtype):
    out = np.empty(shape, dtype)
    reader.read_into(name, row, out)
    return out


class Source:
    """The pixels of one site straight from its files, on the archive's grid; no code of ingest takes part."""

    def __init__(self, data, site):
        self.site = site
        self.bounds_m = site["bounds_m"]
        named = [data / name for name in site["files"]]
        self.files = [file for path in named for file in (sorted(path.glob("*.tif")) if path.is_dir() else [path])]

    def window(self, grid, gsd_m):
        left = (grid.west_m - self.bounds_m[0]) // gsd_m
        top = (self.bounds_m[3] - grid.north_m) // gsd_m
        side = grid.side_px * 10 // gsd_m
        assert left >= 0
        assert top >= 0
        return slice(top, top + side), slice(left, left + side)

    def s2(self, band, grid, gsd_m):
        """A band on the 10 m or 20 m grid, coarser bands repeated."""
        values = self._s2_at_10m(band)[self.window(grid, 10)]
        return values[:: gsd_m // 10, :: gsd_m // 10]

    def _s2_at_10m(self, band):
        stacked = [file for file in self.files if "S2L2A" in file.parts]
        if stacked:
            return rasterio.open(stacked[0]).read(TERRAMIND_ORDER.index(band) + 1).astype(np.uint16)
        file = next(file for file in self.files if file.name.endswith(f"_{band}.tif"))
        values = rasterio.open(file).read(1)
        return np.kron(values, np.ones((120 // len(values),) * 2, values.dtype))

    def s1_db(self, band, grid):
        stacked = [file for file in self.files if "S1RTC" in file.parts]
        if stacked:
            values = rasterio.open(stacked[0]).read([b.name for b in S1].index(band) + 1)
        else:
            values = rasterio.open(next(f for f in self.files if f.name.endswith(f"_{band}.tif"))).read(1)
        return values[self.window(grid, 10)]


@pytest.fixture(scope="session")
def sites(real_archive, shared_data):
    sites = json.loads((real_archive / "sites.json").read_text())
    return {site["s2_item"]: Source(shared_data, site) for site in sites}


def test_every_stored_pixel_equals_the_source_files_pixel(real_build, sites):
    compared = dict.fromkeys(sites, 0)
    for provenance, reader, row in stored_patches(real_build):
        source, grid = sites[provenance.s2["item_id"]], provenance.grid
        s2_10m = read(reader, row, "s2_10m", (4, 60, 60), "uint16")
        s2_20m = read(reader, row, "s2_20m", (8, 30, 30), "uint16")
        s1 = read(reader, row, "s1", (2, 60, 60), "int16")
        for stored, group, gsd_m in ((s2_10m, S2_10M, 10), (s2_20m, S2_20M, 20)):
            for values, band in zip(stored, group, strict=True):
                np.testing.assert_array_equal(values, source.s2(band.name, grid, gsd_m), err_msg=band.name)
        for values, band in zip(s1, S1, strict=True):
            error_db = np.abs(values * 0.01 - source.s1_db(band.name, grid))
            assert error_db.max() <= 0.005 + 1e-5  # half a step of storage; float32 power adds 1e-6 dB
        compared[provenance.s2["item_id"]] += 1
    assert (len(compared), sum(compared.values())) == (8, 40)
    assert min(compared.values()) >= 2


def test_times_zones_and_bounds_equal_the_sources(real_build, sites):
    for provenance, _, _ in stored_patches(real_build):
        site = sites[provenance.s2["item_id"]].site
        grid = provenance.grid
        assert grid.epsg == site["epsg"] == rasterio.open(sites[provenance.s2["item_id"]].files[0]).crs.to_epsg()
        west, south, east, north = site["bounds_m"]
        assert west <= grid.west_m
        assert grid.north_m <= north
        assert grid.bounds_m[2] <= east
        assert grid.bounds_m[1] >= south
        assert provenance.s1["item_id"] == site["s1_item"]
        assert not provenance.quality.s1_zone_changed
        assert not provenance.quality.boa_offset_applied


@pytest.mark.parametrize(
    "site, s1_time, s2_time",
    [  # from the tags of the files (PROVENANCE.md of the data folder)
        ("282D_485L_3_3", "2021-07-21T08:40:10", "2021-07-23T13:22:41"),
        ("38D_378R_2_3", "2023-06-10T16:04:18", "2023-06-10T07:46:21"),
        ("609U_541L_3_0", "2020-01-11T23:27:23", "2020-01-11T16:46:49"),
        ("637U_59R_1_3", "2017-10-30T05:32:30", "2017-10-30T10:41:51"),
        ("33UUP_87_48", "2017-06-13T16:50:43", "2017-06-13T10:10:31"),
        ("29UPU_36_85", "2017-06-17T06:47:24", "2017-06-17T11:33:21"),
        ("35VPK_69_24", "2017-09-25T04:32:56", "2017-09-24T09:30:20"),
        ("29SND_56_35", "2017-12-21T06:42:38", "2017-12-21T11:25:01"),
    ],
)
def test_acquisition_times_are_those_of_the_products(real_build, sites, site, s1_time, s2_time):
    """A radar item states the middle of its slice of 25 s, as on the Planetary Computer; its id has the start."""
    item = next(name for name, source in sites.items() if site in source.site["site"])
    patches = [p for p, _, _ in stored_patches(real_build) if p.s2["item_id"] == item]
    assert {p.s2["acquired"][:19] for p in patches} == {s2_time}
    start = dt.datetime.fromisoformat(s1_time + "Z")
    assert {p.s1["item_id"].split("_")[4] for p in patches} == {f"{start:%Y%m%dT%H%M%S}"}
    assert {parse_time(p.s1["acquired"]) - start for p in patches} == {dt.timedelta(seconds=12.5)}


def test_the_stated_bounds_are_shifted_by_less_than_a_60_m_pixel(sites):
    """BigEarthNet lies on its tile's grid; TerraMesh states origins between pixels, which no product can have."""
    for source in sites.values():
        file = next(file for file in source.files if file.suffix == ".tif")
        bounds = rasterio.open(file).bounds
        shift_x, shift_y = source.site["shift_m"]
        moved = (bounds.left + shift_x, bounds.bottom + shift_y, bounds.right + shift_x, bounds.top + shift_y)
        np.testing.assert_allclose(source.bounds_m, moved, atol=0.001)
        on_grid = bounds.left % 10 == 0
        assert (shift_x, shift_y) == (0, 0) if on_grid else max(abs(shift_x), abs(shift_y)) <= 30
