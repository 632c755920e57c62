"""What takes the place of a scene that was deleted, on items of the real service's form."""

import copy
import json
from pathlib import Path

import pytest

from ingest.errors import ReadError, SourceError
from ingest.sources import planetary_computer
from ingest.sources.profile import scene_of
from ingest.successors import Successors

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12", "SCL")


def item(made="20240419T123458", *, baseline="05.10", strip="S20240419T095604", tile="47XML", west=99.0):
    name = f"S2B_MSIL2A_20240419T095549_R122_T{tile}_{made}"
    return {
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[west, 78.0], [west + 1, 78.0], [west + 1, 79.0], [west, 79.0], [west, 78.0]]],
        },
        "properties": {
            "datetime": "2024-04-19T09:55:49.024000Z",
            "platform": "Sentinel-2B",
            "proj:epsg": 32647,
            "s2:mgrs_tile": tile,
            "s2:processing_baseline": baseline,
            "s2:datatake_id": f"GS2B_20240419T095549_037186_N{baseline}",
            "s2:datastrip_id": f"S2B_OPER_MSI_L2A_DS_2BPS_{made}_{strip}_N{baseline}",
            "s2:generation_time": f"2024-04-{made[6:8]}T12:34:58.000000Z",
        },
        "assets": {band: {"href": f"https://x.blob.core.windows.net/s2/{name}/{band}.tif"} for band in BANDS},
    }


def successor_of(old, answers):
    chunks = []

    def search_of(source):
        def search(chunk):
            chunks.append(chunk)
            return copy.deepcopy(answers)

        return search

    source = planetary_computer()
    successors = Successors(source, search_of)
    scene = scene_of(old, source)
    found = successors.of(scene)
    assert successors.of(scene) is found
    assert len(chunks) == 1  # each scene is looked up once
    (chunk,) = chunks
    assert chunk.start < scene.acquired < chunk.end
    west, south, east, north = chunk.bbox
    assert west <= scene.footprint.centroid.x <= east
    assert south <= scene.footprint.centroid.y <= north
    return found


def test_the_newest_processing_of_the_same_strip_takes_its_place():
    older, newer = item("20240420T101010", baseline="05.09"), item("20240420T090909", baseline="05.11")
    other_strip = item("20240425T101010", strip="S20240419T100100", baseline="05.12")
    other_tile = item("20240425T101010", tile="47XNL", baseline="05.12")
    found = successor_of(item(), [older, newer, other_strip, other_tile])
    assert (found.item_id, found.baseline) == (newer["id"], "05.11")


def test_a_scene_that_is_still_listed_as_it_was_has_no_successor():
    """Its images are missing, but nothing else holds the pixels."""
    signed = item()
    for asset in signed["assets"].values():
        asset["href"] += "?st=1&sig=2"
    assert successor_of(item(), [signed]) is None
    assert successor_of(item(), []) is None


def test_a_scene_without_the_bands_is_no_successor():
    lacking = item("20240420T101010")
    del lacking["assets"]["B11"]
    assert successor_of(item(), [lacking]) is None


def test_radar_keeps_its_id_and_is_known_by_its_images(shared_data):
    path = Path(shared_data) / "stac-fixtures" / "pc" / "items" / "sentinel-1-rtc-pc.json"
    features = json.loads(path.read_text())
    old = next(one for one in features if "vv" in one["assets"] and "vh" in one["assets"])
    moved = copy.deepcopy(old)
    for asset in moved["assets"].values():
        asset["href"] = asset["href"].replace("/GRD/", "/GRD2/")
    assert successor_of(old, [old]) is None
    assert successor_of(old, [moved]).hrefs["VV"] == moved["assets"]["vv"]["href"]


@pytest.mark.parametrize("west", [-180.0, 179.0, -179.5])
def test_scenes_at_the_antimeridian_are_asked_for_where_they_are(west):
    assert successor_of(item(west=west), [item("20240420T101010", west=west)]) is not None


def test_a_provider_that_does_not_answer_is_no_reason_to_refuse_a_patch():
    def search_of(source):
        raise SourceError("it does not answer searches")

    source = planetary_computer()
    with pytest.raises(ReadError, match="what replaced it is not known yet: it does not answer"):
        Successors(source, search_of).of(scene_of(item(), source))
