"""The class tables against the official legend, and the tag rules against tags in the wild."""

import csv
from pathlib import Path

import pytest

from catalog.labels import CORINE, CORINE_BY_CODE, CORINE_LEVEL1, CORINE_LEVEL2, OSM, OSM_BY_NAME, SCL, osm_bits


def test_corine_equals_the_official_legend(shared_data: Path):
    with (shared_data / "clc_legend" / "clc_legend.csv").open() as stream:
        legend = [
            (int(row["grid_index"]), int(row["clc_code"]), row["label"], (int(row["r"]), int(row["g"]), int(row["b"])))
            for row in csv.DictReader(stream)
        ]
    assert [(cover.grid_code, cover.code, cover.name, cover.colour) for cover in CORINE] == legend


def test_grid_codes_run_from_1_and_codes_rise():
    assert [cover.grid_code for cover in CORINE] == list(range(1, 45))
    assert [cover.code for cover in CORINE] == sorted({cover.code for cover in CORINE})


def test_upper_levels_are_prefixes_of_the_code_and_all_named():
    forest = CORINE_BY_CODE[312]
    assert (forest.level1, forest.level2) == (3, 31)
    assert {cover.level1 for cover in CORINE} == CORINE_LEVEL1.keys()
    assert {cover.level2 for cover in CORINE} == CORINE_LEVEL2.keys()


def test_scene_classes_stand_at_their_own_index():
    assert [scene.value for scene in SCL] == list(range(12))


def test_osm_bits_are_distinct_and_fit_32_bits():
    assert [osm.bit for osm in OSM] == list(range(len(OSM)))
    assert len(OSM_BY_NAME) == len(OSM) <= 32


@pytest.mark.parametrize(
    ("tags", "names"),
    [
        ({"building": "yes"}, {"building"}),
        ({"building": "no"}, set()),
        ({"highway": "primary", "name": "A4"}, {"road"}),
        ({"highway": "footway"}, set()),
        ({"landuse": "forest"}, {"forest"}),
        ({"natural": "water", "landuse": "reservoir"}, {"water"}),
        ({"power": "plant", "plant:source": "solar", "landuse": "industrial"}, {"power", "solar_farm", "industrial"}),
        ({"power": "plant", "plant:source": "gas"}, {"power"}),
        ({}, set()),
    ],
)
def test_tags_give_the_classes_of_the_map(tags: dict[str, str], names: set[str]):
    assert osm_bits(tags) == sum(1 << OSM_BY_NAME[name].bit for name in names)
