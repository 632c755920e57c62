import datetime as dt
import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import shapely

from catalog.errors import DeepSentinelError, OutputExistsError
from catalog.patch import parse_time
from ingest.sandbox.items import blob_path, reflectance_conversion, s1_item, s2_item, write_item
from tests.unit.ingest.sandbox.conftest import make_s1_item, make_s2_item, write_blobs

# Assets of the real items that an archive has no blob for.
NO_BLOB = {"AOT", "WVP", "visual", "preview", "tilejson", "rendered_preview"}


def recorded(shared_data: Path, *names: str) -> list[dict[str, Any]]:
    items = []
    for name in names:
        content = json.loads((shared_data / "stac-fixtures" / "pc" / name).read_text())
        content = content.get("features", [content]) if isinstance(content, dict) else content
        items += content
    return items


def recorded_s2(shared_data: Path) -> list[dict[str, Any]]:
    return recorded(
        shared_data,
        "items/sentinel-2-l2a-pc.json",
        "items/sentinel-2-l2a_04.00_20220612.json",
        "items/odc-stac_S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531.json",
        "search/sentinel-2-l2a_20190101.json",
    )


def remake_s2(real: dict[str, Any]) -> dict[str, Any]:
    """The item that `s2_item` makes of a recorded item's facts."""
    properties = real["properties"]
    strip = properties["s2:datastrip_id"].split("_S")[-1][:15]
    shares = {name[3:-11]: value for name, value in properties.items() if name.endswith("_percentage")}
    return s2_item(
        tile=properties["s2:mgrs_tile"],
        acquired=parse_time(properties["datetime"]),
        platform=real["id"][:3],
        relative_orbit=properties["sat:relative_orbit"],
        orbit_state=properties["sat:orbit_state"],
        baseline=properties["s2:processing_baseline"],
        cloud_cover=properties["eo:cloud_cover"],
        footprint=shapely.from_geojson(json.dumps(real["geometry"])),
        generated=parse_time(properties["s2:generation_time"]),
        strip_start=dt.datetime.strptime(strip + "Z", "%Y%m%dT%H%M%S%z"),
        solar_zenith=properties["s2:mean_solar_zenith"],
        solar_azimuth=properties["s2:mean_solar_azimuth"],
        percentages=shares,
    )


def test_sentinel_2_items_equal_the_recorded_ones(shared_data):
    reals = recorded_s2(shared_data)
    assert len(reals) > 30
    for real in reals:
        made = remake_s2(real)
        assert made["id"] == real["id"]
        assert set(made) == set(real)
        assert made["properties"].keys() == real["properties"].keys()
        # Time stamps inside these two ids are up to minutes later than the product's own.
        loose = {"s2:granule_id", "s2:datastrip_id", "s2:reflectance_conversion_factor", "s2:generation_time"}
        strict = real["properties"].keys() - loose
        assert {name: made["properties"][name] for name in strict} == {
            name: real["properties"][name] for name in strict
        }
        assert [link["rel"] for link in made["links"]] == [link["rel"] for link in real["links"]]
        assert made["bbox"] == pytest.approx(real["bbox"])


def test_sentinel_2_assets_equal_the_recorded_ones(shared_data):
    for real in recorded_s2(shared_data):
        made = remake_s2(real)["assets"]
        metadata = {name for name in real["assets"] if name.endswith(("-metadata", "-manifest"))}
        assert made.keys() == real["assets"].keys() - NO_BLOB - metadata
        for name, asset in made.items():
            expected = dict(real["assets"][name])
            expected["href"] = expected["href"].replace("https://", "http://")
            assert asset == expected


def test_sentinel_1_items_equal_the_recorded_ones(shared_data):
    for real in recorded(shared_data, "items/sentinel-1-rtc-pc.json"):
        properties = real["properties"]
        height, width = properties["proj:shape"]
        made = s1_item(
            started=parse_time(properties["start_datetime"]),
            stopped=parse_time(properties["end_datetime"]),
            platform=real["id"][:3],
            orbit_state=properties["sat:orbit_state"],
            relative_orbit=properties["sat:relative_orbit"],
            absolute_orbit=properties["sat:absolute_orbit"],
            epsg=properties["proj:epsg"],
            west_m=properties["proj:transform"][2],
            north_m=properties["proj:transform"][5],
            width_px=width,
            height_px=height,
            footprint=shapely.from_geojson(json.dumps(real["geometry"])),
            datatake=int(properties["s1:datatake_id"]),
        )
        assert made["id"] == real["id"]
        assert set(made) == set(real)
        assert made["properties"].keys() == properties.keys()
        strict = properties.keys() - {
            "datetime",  # the middle, to a microsecond
            "s1:orbit_source",
            "s1:slice_number",
            "s1:total_slices",
            "s1:product_timeliness",
        }
        assert {name: made["properties"][name] for name in strict} == {name: properties[name] for name in strict}
        shift = parse_time(made["properties"]["datetime"]) - parse_time(properties["datetime"])
        assert abs(shift) <= dt.timedelta(microseconds=1)
        assert [link["rel"] for link in made["links"]] == [link["rel"] for link in real["links"]]
        for name in ("vv", "vh"):
            kept = {key: value for key, value in real["assets"][name].items() if not key.startswith("file:")}
            href = kept.pop("href").replace("https://", "http://")
            assert made["assets"][name].items() >= kept.items()
            # The product's last four letters are a checksum of its data.
            product = href.split("/")[-3]
            assert made["assets"][name]["href"].replace(made["assets"][name]["href"].split("/")[-3], product) == href
            assert made["assets"][name]["href"].split("/")[-3][:-4] == product[:-4]


def test_written_radar_assets_have_the_keys_of_the_recorded_ones(shared_data, archive):
    item = make_s1_item()
    written = json.loads((archive / "items" / "sentinel-1-rtc" / f"{item['id']}.json").read_text())
    real = recorded(shared_data, "items/sentinel-1-rtc-pc.json")[0]
    assert written["assets"]["vv"].keys() == real["assets"]["vv"].keys()


def test_sun_earth_distance_factor_agrees_with_recorded_ones(shared_data):
    for real in recorded_s2(shared_data):
        properties = real["properties"]
        expected = properties["s2:reflectance_conversion_factor"]
        assert reflectance_conversion(parse_time(properties["datetime"])) == pytest.approx(expected, abs=5e-4)


def test_percentages_are_checked_and_default_to_clouds_and_unclassified():
    properties = make_s2_item(3)["properties"]
    assert properties["eo:cloud_cover"] == properties["s2:high_proba_clouds_percentage"] == 30.0
    assert properties["s2:unclassified_percentage"] == 70.0
    with pytest.raises(DeepSentinelError, match="lava"):
        s2_item(
            tile="33UUU",
            acquired=dt.datetime(2023, 1, 1, tzinfo=dt.UTC),
            platform="S2A",
            relative_orbit=1,
            orbit_state="descending",
            baseline="05.09",
            cloud_cover=0.0,
            footprint=shapely.box(13, 51, 14, 52),
            percentages={"lava": 3.0},
        )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_blob_path_ignores_scheme_and_token(scheme):
    href = f"{scheme}://acc.blob.core.windows.net/con/a%20b/c.tif?se=2024&sig=%2F"
    assert blob_path(href) == PurePosixPath("acc/con/a b/c.tif")


@pytest.mark.parametrize(
    "href",
    [
        "https://example.org/con/c.tif",
        "https://acc.blob.core.windows.net/",
        "https://acc.blob.core.windows.net/con/../../secret",
        "https://acc.blob.core.windows.net/con/%2e%2e/secret",
        "https://acc.blob.core.windows.net/%2Fetc/passwd",
        "con/c.tif",
    ],
)
def test_other_hrefs_are_no_blobs(href):
    with pytest.raises(DeepSentinelError, match="is not a blob"):
        blob_path(href)


def test_write_item_wants_blobs_first_and_each_id_once(tmp_path):
    item = make_s1_item()
    with pytest.raises(DeepSentinelError, match="write blobs first"):
        write_item(tmp_path, item)
    write_blobs(tmp_path, item)
    path = write_item(tmp_path, item)
    written = json.loads(path.read_text())
    blob = tmp_path / "blobs" / blob_path(item["assets"]["vv"]["href"])
    assert written["assets"]["vv"]["file:size"] == blob.stat().st_size
    assert written["assets"]["vv"]["file:checksum"] == hashlib.md5(blob.read_bytes()).hexdigest()
    for asset in written["assets"].values():
        del asset["file:size"], asset["file:checksum"]
    assert written == item
    with pytest.raises(OutputExistsError, match="two scenes may not share an id"):
        write_item(tmp_path, item)
