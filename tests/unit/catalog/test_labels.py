"""The class tables against the official legend, and the tag rules against tags in the wild."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import CorpusError
from catalog.labels import (
    BIGEARTHNET_19,
    CORINE,
    CORINE_BY_CODE,
    CORINE_LEVEL1,
    CORINE_LEVEL2,
    OSM,
    OSM_BY_NAME,
    SCL,
    bigearthnet_group,
    check_classes,
    osm_bits,
)
from catalog.osm_classes import NO_CLASS, OSM_KEYS, OSM_PRECEDENCE, Kind, dominant, names_of


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


def test_priors_are_the_official_shares_and_add_up_to_one(shared_data: Path):
    with (shared_data / "clc_legend" / "clc_legend.csv").open() as stream:
        shares = [float(row["share"]) for row in csv.DictReader(stream)]
    np.testing.assert_allclose([cover.prior for cover in CORINE], shares, atol=5e-7)  # six decimals in the table
    assert sum(cover.prior for cover in CORINE) == pytest.approx(1)


def test_bigearthnet_groups_are_19_disjoint_sets_without_the_dropped_classes():
    grouped = [code for codes in BIGEARTHNET_19.values() for code in codes]
    assert (len(BIGEARTHNET_19), len(grouped)) == (19, len(set(grouped)))
    dropped = {122, 123, 124, 131, 132, 133, 141, 142, 332, 334, 335, 423}
    assert set(grouped) == CORINE_BY_CODE.keys() - dropped
    assert bigearthnet_group(223) == "Permanent crops"
    assert bigearthnet_group(131) is None


def test_osm_bits_are_distinct_and_fit_32_bits():
    assert [osm.bit for osm in OSM] == list(range(len(OSM)))
    assert len(OSM_BY_NAME) == len(OSM) <= 32


def test_every_class_has_one_place_in_the_precedence():
    assert sorted(OSM_PRECEDENCE) == sorted(OSM_BY_NAME)


def test_lines_and_points_are_drawn_at_least_a_pixel_wide():
    assert min(osm.width_m for osm in OSM) >= 10


@pytest.mark.parametrize(
    ("tags", "kind", "names"),
    [
        ({"building": "yes"}, "area", {"building"}),
        ({"building": "yes"}, "point", set()),
        ({"building": "no"}, "area", set()),
        ({"building": "stadium"}, "area", {"building", "stadium"}),
        ({"highway": "primary", "name": "A4"}, "line", {"major_road"}),
        ({"highway": "primary"}, "area", set()),
        ({"highway": "residential"}, "line", {"minor_road"}),
        ({"highway": "track"}, "line", {"service_road"}),
        ({"highway": "footway"}, "line", set()),
        ({"landuse": "forest"}, "area", {"forest"}),
        ({"natural": "water", "landuse": "reservoir"}, "area", {"water"}),
        ({"power": "plant", "plant:source": "solar", "landuse": "industrial"}, "area",
         {"power_plant", "solar_farm", "industrial"}),
        ({"power": "plant", "plant:source": "gas"}, "area", {"power_plant"}),
        ({"power": "generator", "generator:source": "wind"}, "point", {"wind_turbine"}),
        ({"power": "line"}, "line", {"power_line"}),
        ({}, "area", set()),
    ],
)  # fmt: skip
def test_tags_give_the_classes_of_the_map(tags: dict[str, str], kind: Kind, names: set[str]):
    assert set(names_of(osm_bits(tags, kind))) == names


@given(st.dictionaries(st.sampled_from(OSM_KEYS), st.sampled_from(["yes", "no", "forest", "wind", "solar", "line"])))
def test_the_look_up_equals_the_rules_read_one_by_one(tags: dict[str, str]):
    for kind in ("point", "line", "area"):
        expected = {
            osm.name
            for osm in OSM
            for key, values in osm.tags.items()
            if kind in osm.kinds and key in tags and (tags[key] in values if values else tags[key] != "no")
        }
        assert set(names_of(osm_bits(tags, kind))) == expected


def test_the_dominant_class_is_the_first_of_the_precedence():
    building, forest = OSM_BY_NAME["building"], OSM_BY_NAME["forest"]
    mask = np.array([0, forest.value, forest.value | building.value, OSM_BY_NAME["park"].value], np.uint32)
    assert dominant(mask).tolist() == [NO_CLASS, forest.bit, building.bit, 31]


def test_a_name_that_is_no_class_is_refused_with_the_names_that_are():
    assert check_classes(("131", "solar_farm")) == ("131", "solar_farm")
    with pytest.raises(CorpusError, match=r"no class '130', 'windmill'.*wind_turbine"):
        check_classes(("131", "130", "windmill"))


def test_the_documented_table_is_the_table():
    """docs/labels.md, line by line."""
    lines = (Path(__file__).resolve().parents[3] / "docs" / "labels.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    rows = {cells[1]: cells for cells in table if cells[0].isdigit()}
    assert rows.keys() == OSM_BY_NAME.keys()
    for osm in OSM:
        bit, _, drawn, tags = rows[osm.name]
        assert int(bit) == osm.bit
        rules = [f"`{k}`: " + (", ".join(sorted(v)) if v else "any but no") for k, v in osm.tags.items()]
        assert tags == "; ".join(rules)
        assert f"{osm.width_m:g} m" in drawn or osm.kinds == ("area",)
        assert f"{osm.min_area_m2:g} m²" in drawn or osm.kinds != ("area",)
