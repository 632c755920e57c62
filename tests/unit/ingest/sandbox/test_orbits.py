import datetime as dt

import pytest

from ingest.sandbox.orbits import absolute_orbit, likeliest_platform, relative_orbit

# Product names: platform, start, absolute and relative orbit; latitude and direction of the scene.
RECORDED = [
    ("S2A", "20190101T000001", 62.0, False, 18417, 116),
    ("S2A", "20230216T145731", 0.0, False, 39976, 82),
    ("S2A", "20230602T100601", 50.0, False, 41489, 22),
    ("S2A", "20170617T113321", 52.3, False, None, 80),
    ("S2A", "20171221T112501", 39.4, False, None, 37),
    ("S2B", "20170924T093020", 62.8, False, None, 136),
    ("S2B", "20220612T182919", 35.0, False, 27509, 27),
    ("S2B", "20240419T095549", 81.4, True, 37185, 122),
    ("S2B", "20250731T130249", 40.0, False, 43879, 95),
    ("S1A", "20170613T165043", 48.2, True, 17018, 146),
    ("S1A", "20170617T064724", 52.3, False, 17070, 23),
    ("S1A", "20170925T043256", 62.8, False, 18527, 80),
    ("S1A", "20200727T122412", 26.5, False, 33640, 143),
    ("S1A", "20220805T015427", 48.0, True, 44411, 64),
    ("S1A", "20241207T170745", 46.0, True, 56889, 117),
    ("S1B", "20161121T010910", 34.5, True, 3050, 49),
]


def time(stamp: str) -> dt.datetime:
    return dt.datetime.strptime(stamp + "Z", "%Y%m%dT%H%M%S%z")


@pytest.mark.parametrize(("platform", "stamp", "lat", "ascending", "absolute", "relative"), RECORDED)
def test_orbit_numbers_of_recorded_products(platform, stamp, lat, ascending, absolute, relative):
    found = absolute_orbit(platform, time(stamp), lat, ascending=ascending)
    assert absolute is None or found == absolute
    assert relative_orbit(platform, found) == relative


@pytest.mark.parametrize(("platform", "stamp", "lat", "ascending", "absolute", "relative"), RECORDED)
def test_the_satellite_follows_from_time_and_place(platform, stamp, lat, ascending, absolute, relative):
    mission = platform[:2]
    assert likeliest_platform((f"{mission}A", f"{mission}B"), time(stamp), lat, ascending=ascending) == platform


@pytest.mark.parametrize(("platform", "days", "orbits"), [("S1A", 12, 175), ("S1B", 12, 175), ("S2A", 10, 143)])
def test_a_repeat_cycle_later_is_the_same_relative_orbit(platform, days, orbits):
    start = time("20200101T053000")
    first = absolute_orbit(platform, start, 45.0)
    later = absolute_orbit(platform, start + dt.timedelta(days=days), 45.0)
    assert later - first == orbits
    assert relative_orbit(platform, later) == relative_orbit(platform, first)


def test_relative_orbits_count_from_one():
    assert {relative_orbit("S2B", n) for n in range(10_000, 10_143)} == set(range(1, 144))
    assert {relative_orbit("S1C", n) for n in range(500, 675)} == set(range(1, 176))
