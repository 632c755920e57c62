"""The scene index over HTTP: complete whatever the provider does, the same by searches and by snapshot."""

import dataclasses
import datetime as dt
import itertools
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from stac_geoparquet.arrow import stac_table_to_items

from catalog.grid import cell_at, grid_of_cell
from catalog.mgrs import tile_origin, transformer
from ingest import search
from ingest.chunks import CELL_DEG, Chunk, chunks_of
from ingest.errors import SourceError
from ingest.footprints import contains
from ingest.match import Matcher
from ingest.pairing import Rules
from ingest.places import Place, Places
from ingest.sandbox.faults import Faults
from ingest.sandbox.items import s1_item, s2_item
from ingest.sandbox.server import Sandbox
from ingest.scene_index import load_index, save_chunk
from ingest.scenes import find_scenes
from ingest.sources import planetary_computer

NOON = dt.datetime(2023, 6, 6, 10, 0, 31, 24000, tzinfo=dt.UTC)
GAP = dt.timedelta(days=3)
PLACES = [
    Place(i, grid_of_cell(cell), NOON - dt.timedelta(days=4), NOON + dt.timedelta(days=20))
    for i, cell in enumerate(["33uuu-010-010", "33uuu-020-030", "33uuv-004-017"])
]


def optical(tile, day, **changes):
    epsg, west, north = tile_origin(tile)
    x, y = np.array([0, 1, 1, 0]) * 109_800 + west, north - np.array([1, 1, 0, 0]) * 109_800
    footprint = shapely.Polygon(np.stack(transformer(epsg, 4326).transform(x, y), axis=1))
    values = {
        "tile": tile, "acquired": NOON + dt.timedelta(days=day), "platform": "S2A", "relative_orbit": 122,
        "orbit_state": "descending", "baseline": "05.09", "cloud_cover": 10.0, "footprint": footprint,
    }  # fmt: skip
    return s2_item(**(values | changes))


def radar(day, **changes):
    started = NOON + dt.timedelta(days=day, hours=6)
    values = {
        "started": started, "stopped": started + dt.timedelta(seconds=25), "platform": "S1A",
        "orbit_state": "ascending", "relative_orbit": 44, "absolute_orbit": 48_791 + day, "epsg": 32633,
        "west_m": 200_000, "north_m": 6_000_000,
        "width_px": 27_000, "height_px": 30_000, "footprint": shapely.box(9, 49, 17, 55),
    }  # fmt: skip
    return s1_item(**(values | changes))


def horizontal(item):
    """The item with HH and HV instead, as over the polar seas."""
    assets = {name.replace("v", "h", 1): asset for name, asset in item["assets"].items()}
    return item | {"id": item["id"].replace("1SDV", "1SDH"), "assets": assets}


def with_proj_code(item):
    """As STAC's projection extension 2 states it."""
    properties = dict(item["properties"])
    properties["proj:code"] = f"EPSG:{properties.pop('proj:epsg')}"
    return item | {"properties": properties}


ITEMS = [
    *(optical(tile, day) for tile, day in itertools.product(["33UUU", "33UUV", "33UVU"], range(0, 20, 2))),
    *(radar(day) for day in range(0, 20, 3)),
    with_proj_code(optical("33UUU", 1)),
    optical("33UUU", 2, baseline="05.10", generated=NOON + dt.timedelta(days=300)),  # made again
    horizontal(radar(400)),
    horizontal(radar(1)),
]


def write_items(folder, items):
    for item in items:
        path = folder / "items" / item["collection"] / f"{item['id']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(item))
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_items(tmp_path_factory.mktemp("scenes"), ITEMS)


def found_in(archive, folder, *ways, faults=None, places=PLACES, token_ttl_s=2700.0, **more):
    with Sandbox(archive, faults=faults or Faults(), token_ttl_s=token_ttl_s) as sandbox, sandbox.applied():
        found = find_scenes(places, planetary_computer(), folder, GAP, ways or ("search",), **more)
        return found, sandbox.counters


def everything(table):
    """Whole scenes, with footprints as text, so that tables compare."""
    scenes = table.load(np.arange(len(table)))
    return [(s.item_id, s.acquired, s.epsg, s.tile, s.cloud_cover, dict(s.hrefs), s.footprint.wkt) for s in scenes]


def test_searches_find_every_scene_once_and_count_what_is_dropped(archive, tmp_path):
    found, _ = found_in(archive, tmp_path)
    assert len(found.s2) == 31
    assert len(found.s1) == 7
    assert found.dropped == {"older_processing": 1, "missing_asset": 1}  # the other HH+HV item is of another time
    assert not any("1SDH" in item_id for item_id in found.s1.item_id)


def test_items_with_proj_code_have_their_zone(archive, tmp_path):
    found, _ = found_in(archive, tmp_path)
    assert found.s2.epsg.tolist() == [32633] * 31


def test_the_columns_are_those_of_the_scenes(archive, tmp_path):
    found, _ = found_in(archive, tmp_path)
    for table in (found.s2, found.s1):
        for row, scene in enumerate(table.load(np.arange(len(table)))):
            assert table.item_id[row] == scene.item_id
            assert table.acquired_us[row] == (scene.acquired - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) / dt.timedelta(
                microseconds=1
            )
            assert (table.tile[row], table.epsg[row]) == (scene.tile or "", scene.epsg)
            assert table.footprint[row].equals(scene.footprint)


def test_the_snapshot_gives_the_same_scenes_as_searches_and_says_where_it_ends(archive, tmp_path, caplog):
    searched, _ = found_in(archive, tmp_path / "a", "search")
    taken, counters = found_in(archive, tmp_path / "b", "geoparquet")
    assert "the snapshot of sentinel-2-l2a goes from 2023-06-05" in caplog.text
    assert counters.searches == 0
    assert everything(taken.s2) == everything(searched.s2)
    assert everything(taken.s1) == everything(searched.s1)
    assert taken.dropped == searched.dropped


def test_the_snapshot_leaves_out_what_lies_elsewhere_in_place_or_time(archive, tmp_path):
    spans = [c for c in chunks_of(PLACES, planetary_computer(), GAP) if c.collection == "sentinel-2-l2a"]
    first, last = ((edge - NOON) / dt.timedelta(days=1) for edge in (spans[0].start, max(c.end for c in spans)))
    elsewhere = [optical("33UUU", first - 0.1), optical("33UUU", last + 0.1)]
    for days in range(int(first) - 5, int(last) + 5, 5):  # each week has a file
        elsewhere += [optical("33TVM", days), optical("30UUU", days)]
    more = write_items(tmp_path / "more", [*ITEMS, *elsewhere])
    taken, _ = found_in(more, tmp_path / "index", "geoparquet")
    searched, _ = found_in(archive, tmp_path / "searched", "search")
    assert everything(taken.s2) == everything(searched.s2)


@pytest.mark.parametrize(
    "faults",
    [
        Faults(search_429_every=2),
        Faults(search_504_every=2),
        Faults(search_cut_every=2),
        Faults(short_page_every=1),
        Faults(drop_next_links=True),
        Faults(search_cut_every=3, short_page_every=2, search_504_every=5),
    ],
    ids=lambda faults: str([name for name in faults.__slots__ if getattr(faults, name)]),
)
def test_a_troubled_provider_loses_no_scene(archive, tmp_path, monkeypatch, faults):
    """With pages of 7, so that each search has several; the waits between retries are left out."""
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: None)
    monkeypatch.setattr(search.time, "sleep", lambda _: None)
    monkeypatch.setattr(search, "PAGE_ITEMS", 7)
    calm, _ = found_in(archive, tmp_path / "calm")
    found, _ = found_in(archive, tmp_path / "index", faults=faults)
    assert len(found.s2) == 31
    assert everything(found.s2) == everything(calm.s2)
    assert everything(found.s1) == everything(calm.s1)


@pytest.mark.parametrize("faults", [Faults(blob_503_every=2), Faults(token_reads=1), Faults(blob_cut_every=3)])
def test_a_snapshot_behind_troubled_storage_is_read_whole(archive, tmp_path, monkeypatch, faults):
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: None)
    found, _ = found_in(archive, tmp_path, "geoparquet", faults=faults)
    assert (len(found.s2), len(found.s1)) == (31, 7)


def test_a_snapshot_that_lacks_a_week_is_refused_and_the_next_way_taken(archive, tmp_path):
    faults = Faults(missing_blobs=("pcstacitems/items/sentinel-2-l2a.parquet/part-0001*",))
    with pytest.raises(SourceError, match="no files from 2023-06-12 to 2023-06-19; use --scenes search"):
        found_in(archive, tmp_path / "a", "geoparquet", faults=faults)
    found, counters = found_in(archive, tmp_path / "b", "geoparquet", "search", faults=faults)
    assert (len(found.s2), len(found.s1)) == (31, 7)
    assert counters.searches > 0


def test_a_snapshot_of_other_years_names_the_days_it_lacks(archive, tmp_path):
    years_on = [dataclasses.replace(place, start=place.start.replace(year=2027), end=place.end.replace(year=2027))
                for place in PLACES]  # fmt: skip
    with pytest.raises(SourceError, match="no files from 2027-"):
        found_in(archive, tmp_path, "geoparquet", places=years_on)


def test_a_provider_without_a_snapshot_is_named(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("ingest.bulk.ASSET", "no-such-asset")
    with pytest.raises(SourceError, match="planetary-computer has no snapshot of sentinel-2-l2a"):
        found_in(archive, tmp_path, "geoparquet")


def test_a_snapshot_that_is_empty_names_the_cure(archive, tmp_path):
    with pytest.raises(SourceError, match="is empty; use --scenes search"):
        found_in(archive, tmp_path, "geoparquet", faults=Faults(missing_blobs=("*.parquet",)))


def test_a_provider_that_stays_away_is_named_and_what_was_found_is_kept(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: None)
    with pytest.raises(SourceError, match="does not answer searches"):
        found_in(archive, tmp_path, faults=Faults(search_504_every=1))
    found_in(archive, tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    _, counters = found_in(archive, tmp_path)
    assert counters.searches == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")} == kept


def test_a_refresh_finds_what_came_since(archive, tmp_path):
    before, _ = found_in(archive, tmp_path / "index")
    later = write_items(tmp_path / "later", [*ITEMS, optical("33UUU", 3)])
    assert len(found_in(later, tmp_path / "index")[0].s2) == len(before.s2)
    assert len(found_in(later, tmp_path / "index", renew="all")[0].s2) == len(before.s2) + 1


CAME_LATE = NOON + dt.timedelta(days=3)
CHUNK_END = next(
    chunk.end
    for chunk in chunks_of(PLACES, planetary_computer(), GAP)
    if chunk.collection == "sentinel-2-l2a" and chunk.start <= CAME_LATE < chunk.end
)


@pytest.mark.parametrize(
    "asked, grows",
    [
        (CHUNK_END - dt.timedelta(days=10), True),  # while the days of the chunk were going on
        (CHUNK_END + dt.timedelta(days=2), True),  # before the last scenes were in
        (CHUNK_END + dt.timedelta(days=4), False),
    ],
)
def test_days_that_were_not_over_are_asked_for_again_by_themselves(archive, tmp_path, asked, grows):
    before, _ = found_in(archive, tmp_path / "index", now=asked)
    later = write_items(tmp_path / "later", [*ITEMS, optical("33UUU", 3)])
    assert len(found_in(later, tmp_path / "index", renew="none")[0].s2) == len(before.s2)
    years_on = CHUNK_END + dt.timedelta(days=1000)
    found, _ = found_in(later, tmp_path / "index", now=years_on)
    assert len(found.s2) == len(before.s2) + grows
    _, counters = found_in(later, tmp_path / "index", now=years_on)
    assert counters.searches == 0  # asked for once more, and then settled


def test_days_after_the_end_of_a_snapshot_are_asked_for_again(archive, tmp_path):
    """However late it was read: the snapshot has been months old."""
    _, first = found_in(archive, tmp_path, "geoparquet")
    _, second = found_in(archive, tmp_path, "search")
    _, third = found_in(archive, tmp_path, "search")
    assert first.searches == 0
    assert second.searches > 0
    assert third.searches == 0


def test_two_halves_of_a_datatake_both_stay_and_a_second_processing_of_each_replaces_it(tmp_path):
    whole = shapely.from_geojson(json.dumps(optical("33UUU", 0)["geometry"]))
    west, south, east, north = whole.bounds
    halves = [shapely.box(west, south, east, 52.0), shapely.box(west, 52.0, east, north)]
    items = []
    for i, half in enumerate(halves):
        start = NOON + dt.timedelta(minutes=9 * i)
        common = {"footprint": half, "strip_start": start, "generated": NOON + dt.timedelta(hours=3 + i)}
        items.append(optical("33UUU", 0, **common))
        items.append(
            optical("33UUU", 0, **common | {"baseline": "05.10", "generated": NOON + dt.timedelta(days=90 + i)})
        )
    found, _ = found_in(write_items(tmp_path, [*items, radar(0)]), tmp_path / "index")
    assert found.dropped["older_processing"] == 2
    scenes = found.s2.load(np.arange(len(found.s2)))
    assert [scene.baseline for scene in scenes] == ["05.10", "05.10"]
    verdicts = Matcher(found.s2, found.s1, Rules()).match(PLACES[:2])
    assert all(verdict.pair.s2.footprint.covers(verdict.pair.grid.footprint()) for verdict in verdicts)


@pytest.mark.parametrize(
    "both",
    [
        shapely.MultiPolygon([shapely.box(178, -19, 180, -15), shapely.box(-180, -19, -178, -15)]),  # box -180..180
        shapely.box(178, -19, 182, -15),  # stated with a box from 178 to -178
    ],
)
def test_scenes_cut_at_the_antimeridian_serve_patches_of_both_zones(tmp_path, both):
    places = []
    for i, (epsg, lon) in enumerate([(32701, -179.999), (32760, 179.999)]):
        grid = cell_at(epsg, *transformer(4326, epsg).transform(lon, -16.8))
        assert abs(grid.footprint().bounds[0 if epsg == 32701 else 2]) > 180
        places.append(Place(i, grid, NOON - dt.timedelta(days=1), NOON + dt.timedelta(days=1)))
    items = [optical(place.grid.tile, 0, footprint=both) for place in places]
    items.append(radar(0, footprint=both, epsg=32701))
    archive = write_items(tmp_path, items)
    for way in ("search", "geoparquet"):
        found, _ = found_in(archive, tmp_path / way, way, places=places)
        verdicts = Matcher(found.s2, found.s1, Rules()).match(places)
        assert [verdict.reason for verdict in verdicts] == ["paired", "paired"]


@pytest.fixture(scope="module")
def recorded(shared_data):
    """A thousand real items: thirteen pairs of one tile and time, all two data strips, none processed twice."""
    table = pq.read_table(shared_data / "stac-fixtures/pc/bulk/1000-sentinel-2-items.parquet")
    return list(stac_table_to_items(table))


def indexed(items, folder):
    chunk = Chunk("sentinel-2-l2a", -110, 40, NOON, NOON + dt.timedelta(days=400))
    save_chunk(items, planetary_computer(), chunk.path(folder), NOON)
    return load_index([chunk], planetary_computer(), folder)


def test_no_real_item_is_taken_for_a_duplicate(recorded, tmp_path):
    found = indexed(recorded, tmp_path)
    assert len(found.s2) == 1000
    assert not +found.dropped
    tiles_and_times = list(zip(found.s2.tile.tolist(), found.s2.acquired_us.tolist(), strict=True))
    assert len(tiles_and_times) - len(set(tiles_and_times)) == 13


def test_a_second_processing_replaces_the_first_of_its_strip(recorded, tmp_path):
    again = []
    for item in recorded[::10]:
        properties = item["properties"] | {"s2:generation_time": "2026-01-01T00:00:00.000000Z"}
        again.append(item | {"id": item["id"][:-15] + "20260101T000000", "properties": properties})
    found = indexed([*again, *recorded], tmp_path)
    assert len(found.s2) == 1000
    assert found.dropped["older_processing"] == 100
    assert {item["id"] for item in again} <= set(found.s2.item_id)


def test_a_message_about_storage_holds_no_token(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: None)
    with pytest.raises(SourceError) as raised:
        found_in(archive, tmp_path, "geoparquet", token_ttl_s=-10)
    assert "403" in str(raised.value)
    assert "sig" not in str(raised.value)
    assert "st=" not in str(raised.value)


def test_chunks_cover_the_window_of_every_place_and_have_fixed_edges():
    source = planetary_computer()
    chunks = chunks_of(PLACES, source, GAP)
    for place in PLACES:
        lon, lat = Places.of([place]).centres_lonlat()[0]
        for collection, margin in ((source.s2_collection, dt.timedelta(0)), (source.s1_collection, GAP)):
            near = [c for c in chunks if c.collection == collection and c.west_deg <= lon < c.west_deg + CELL_DEG]
            assert all(c.south_deg <= lat < c.south_deg + CELL_DEG for c in near)
            assert min(c.start for c in near) <= place.start - margin
            assert max(c.end for c in near) >= place.end + margin
            assert all(a.end == b.start for a, b in itertools.pairwise(near))
    later = [Place(0, PLACES[0].grid, PLACES[0].start + dt.timedelta(days=1), PLACES[0].end)]
    assert set(chunks_of(later, source, GAP)) <= set(chunks)


def test_outlines_of_the_footprints_hold_the_places(archive, tmp_path):
    found, _ = found_in(archive, tmp_path)
    rows = np.flatnonzero(found.s2.tile == "33UUU")[:1]
    assert contains(found.s2.footprint[rows], Places.of(PLACES[:1]).inner_outlines()).all()
