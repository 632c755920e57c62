"""Searches against a slow filter in plain Python, subsets read back, and the program's answers."""

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.range_server import RangeServer
from catalog import search as program
from catalog.corpus import Corpus
from catalog.errors import CorpusError
from catalog.fake import write_fake_build
from catalog.index import read_index
from catalog.publish import publish
from catalog.search import Search, save, search
from catalog.selection import SEASONS, Criteria, parse_interval, select
from catalog.subset import METADATA_KEY, read_subset

CLASSES = ("112", "211", "311", "512", "building", "forest")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    publish([write_fake_build(folder / "build", 24, side_px=16, shard_rows=8)], folder / "catalog", workers=1)
    return folder / "catalog" / "labelled"


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """An index table, as `read_index` gives it, of rows in plain words."""
    times = pa.array([row["time"] for row in rows], pa.timestamp("us", tz="UTC"))
    columns: dict[str, Any] = {"id": pa.array([f"p{i}" for i in range(len(rows))], pa.string()), "datetime": times}
    for name, key, kind in (
        ("eo:cloud_cover", "cloud", pa.float64()),
        ("deepsentinel:gap_hours", "gap", pa.float64()),
        ("deepsentinel:split", "split", pa.string()),
        ("deepsentinel:s1_orbit_state", "orbit", pa.string()),
        ("platform", "s2", pa.string()),
        ("deepsentinel:s1_platform", "s1", pa.string()),
        ("grid:code", "tile", pa.string()),
        ("deepsentinel:corine_classes", "corine", pa.list_(pa.int32())),
        ("deepsentinel:osm_classes", "osm", pa.list_(pa.string())),
        *((edge, edge, pa.float64()) for edge in ("west", "south", "east", "north")),
    ):
        columns[name] = pa.array([row[key] for row in rows], kind)
    return pa.table(columns)


def longitudes(west: float, east: float) -> list[tuple[float, float]]:
    """An arc as intervals of -180..180."""
    return [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]


def fits(row: dict[str, Any], name: str, asked: Criteria) -> bool:
    """The slow reference: does one row fit one patch's id and criteria?"""
    month = row["time"].month if row["north"] >= 0 else (row["time"].month + 6 - 1) % 12 + 1
    start, end = parse_interval(asked.datetime) if asked.datetime else (row["time"], row["time"] + dt.timedelta(1))
    shown = {*map(str, row["corine"] or ()), *(row["osm"] or ())}
    box = asked.bbox or (-180, -90, 180, 90)
    arcs = [(a, b) for a in longitudes(row["west"], row["east"]) for b in longitudes(box[0], box[2])]
    return all(
        (
            any(a[0] <= b[1] and b[0] <= a[1] for a, b in arcs) and row["south"] <= box[3] and row["north"] >= box[1],
            start <= row["time"] < end,
            asked.cloud_max is None or row["cloud"] <= asked.cloud_max,
            asked.gap_max is None or abs(row["gap"]) <= asked.gap_max,
            set(asked.has_class) <= shown,
            not asked.split or row["split"] in asked.split,
            not asked.season or any(month in SEASONS[season] for season in asked.season),
            asked.orbit is None or row["orbit"] == asked.orbit,
            not asked.platform or bool({row["s1"], row["s2"]} & set(asked.platform)),
            not asked.tile or row["tile"].removeprefix("MGRS-") in asked.tile,
            not asked.ids or name in asked.ids,
        )
    )


# Few values, so that edges meet; a box that only touches the antimeridian would be a matter of taste, so none does.
LON, LAT = st.sampled_from([-179.0, -90.0, 0.0, 0.5, 90.0, 179.0]), st.sampled_from([-45.0, -0.5, 0.0, 10.0, 60.0])
TIMES = st.sampled_from(
    [dt.datetime(2020, 12, 31, 23, 59, 59, tzinfo=dt.UTC), dt.datetime(2021, 1, 1, tzinfo=dt.UTC),
     dt.datetime(2021, 6, 15, 10, tzinfo=dt.UTC), dt.datetime(2021, 8, 31, 12, tzinfo=dt.UTC)]
)  # fmt: skip
ROW = st.builds(
    lambda edges, **rest: {**dict(zip(("west", "east"), edges[:2], strict=True)), "south": min(edges[2:]),
                           "north": max(edges[2:]), **rest},
    st.tuples(LON, LON, LAT, LAT),
    time=TIMES, cloud=st.sampled_from([0.0, 20.0, 20.5]), gap=st.sampled_from([-30.0, -2.0, 2.0, 71.0]),
    split=st.sampled_from(["train", "test", "none", None]), orbit=st.sampled_from(["ascending", "descending", None]),
    s1=st.sampled_from(["sentinel-1a", "sentinel-1b"]), s2=st.sampled_from(["sentinel-2a", "sentinel-2b"]),
    tile=st.sampled_from(["MGRS-33UUU", "MGRS-31UFS"]),
    corine=st.one_of(st.none(), st.lists(st.sampled_from([112, 211, 311]), unique=True)),
    osm=st.one_of(st.none(), st.lists(st.sampled_from(["building", "forest"]), unique=True)),
)  # fmt: skip


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.one_of(st.just(()), st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True).map(tuple))


ASKED = st.builds(
    Criteria,
    bbox=st.one_of(st.none(), st.builds(lambda w, e, a, b: (w, min(a, b), e, max(a, b)), LON, LON, LAT, LAT)),
    datetime=st.sampled_from(
        [
            None,
            "2021",
            "2020-12-31",
            "2021-01/2021-06",
            "../2021-06-15",
            "2021-06-15T10:00:00Z/..",
            "2021-06-15T11:00:00+01:00/2021-08-31T14:00:00+02:00",
            "2021-06-15T11:00:00-05:00/..",
        ]
    ),
    cloud_max=st.sampled_from([None, 0.0, 20.0]),
    gap_max=st.sampled_from([None, 2.0, 48.0]),
    has_class=some(CLASSES),
    split=some(("train", "test", "none")),
    season=some(tuple(SEASONS)),
    orbit=st.sampled_from([None, "ascending", "descending"]),
    platform=some(("sentinel-1a", "sentinel-2b")),
    tile=some(("33UUU",)),
    ids=some(("p0", "p3", "p9")),
)


@given(
    rows=st.lists(ROW, max_size=12),
    asked=ASKED,
    which=st.sets(st.sampled_from([f.name for f in dataclasses.fields(Criteria)])),
)
def test_any_search_finds_what_a_slow_filter_finds(rows: list[dict[str, Any]], asked: Criteria, which: set[str]):
    asked = Criteria(**{name: getattr(asked, name) for name in which})  # few criteria, so that something is found
    found = select(table_of(rows), asked)["id"].to_pylist()
    assert found == [f"p{i}" for i, row in enumerate(rows) if fits(row, f"p{i}", asked)]


@pytest.mark.parametrize(("south", "found"), [(-30.0, "summer"), (30.0, "winter"), (-0.1, "summer")])
def test_january_is_summer_in_the_south(south: float, found: str):
    row = dict.fromkeys(("cloud", "gap", "west", "east"), 0.0) | {"south": south, "north": south + 0.02}
    row |= dict.fromkeys(("split", "orbit", "s1", "s2", "tile", "corine", "osm"))
    table = table_of([row | {"time": dt.datetime(2021, 1, 15, tzinfo=dt.UTC)}])
    assert [season for season in SEASONS if select(table, Criteria(season=(season,))).num_rows] == [found]


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2021", "2021-01-01", "2022-01-01"),
        ("2021-12", "2021-12-01", "2022-01-01"),
        ("2021-02-28", "2021-02-28", "2021-03-01"),
        ("2021-05/2021-08-30", "2021-05-01", "2021-08-31"),
        ("2021-05-01T12:00:00+02:00/2021-06", "2021-05-01T10:00:00", "2021-07-01"),
        ("2021/..", "2021-01-01", "9999-12-31T23:59:59.999999"),
        ("2021/9999-12-31", "2021-01-01", "9999-12-31T23:59:59.999999"),
        ("2021/9999-12", "2021-01-01", "9999-12-31T23:59:59.999999"),
        ("2021/9999", "2021-01-01", "9999-12-31T23:59:59.999999"),
    ],
)
def test_an_interval_covers_all_of_its_last_part(text: str, start: str, end: str):
    expected = tuple(dt.datetime.fromisoformat(time).replace(tzinfo=dt.UTC) for time in (start, end))
    assert parse_interval(text) == expected


@pytest.mark.parametrize(("start", "found"), [("11:00:00+01:00", 1), ("11:00:00Z", 0), ("05:00:01-05:00", 0)])
def test_times_are_compared_as_moments(start: str, found: int):
    row = dict.fromkeys(("cloud", "gap", "west", "east", "south", "north"), 0.0)
    row |= dict.fromkeys(("split", "orbit", "s1", "s2", "tile", "corine", "osm"))
    table = table_of([row | {"time": dt.datetime(2021, 6, 15, 10, tzinfo=dt.UTC)}])
    assert select(table, Criteria(datetime=f"2021-06-15T{start}/..")).num_rows == found


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"bbox": (5.0, 60.0, 6.0, 50.0)}, "is no box"),
        ({"bbox": (5.0, 50.0, 600.0, 60.0)}, "longitudes -180..180"),
        ({"has_class": ("wood",)}, "there is no class 'wood'"),
        ({"season": ("monsoon",)}, "there is no season monsoon; take winter"),
        ({"split": ("val",)}, "there is no split val; take train, test, none"),
        ({"orbit": "polar"}, "ascending or descending"),
        ({"datetime": "yesterday"}, "write 2021, 2021-05 or 2021-05-31"),
        ({"datetime": "2022/2021"}, "ends before it starts"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_cure(corpus: Path, asked: dict[str, Any], reason: str):
    with pytest.raises(CorpusError, match=reason):
        search(corpus, Criteria(**asked))


def test_a_limit_keeps_the_first_in_the_corpus_order(corpus: Path):
    everything = read_index(corpus / "items.parquet", ["id"])["id"].to_pylist()
    assert search(corpus, Criteria(), limit=5)["id"].to_pylist() == everything[:5]
    assert search(corpus / "collection.json", Criteria())["id"].to_pylist() == everything
    with pytest.raises(CorpusError, match="finds nothing"):
        search(corpus, Criteria(), limit=0)


def test_a_subset_names_its_corpus_and_rows_from_wherever_it_lies(corpus: Path, tmp_path: Path):
    found = search(corpus, Criteria(cloud_max=0.0, has_class=("312",)))
    assert 0 < found.num_rows < 24
    path = tmp_path / "deep" / "subset.parquet"
    save(found, corpus, path, "cloud_max=0.0")
    rows, source = read_subset(path)
    index = read_index(corpus / "items.parquet", ["id"]).to_pylist()
    place = {row["id"]: (row["deepsentinel:shard"], row["deepsentinel:index"]) for row in index}
    assert [(row["shard"], row["index"]) for row in rows.to_pylist()] == [
        place[name] for name in found["id"].to_pylist()
    ]
    collection = json.loads((corpus / "collection.json").read_text())
    assert (source.collection, source.version, source.fingerprint, source.query) == (
        collection["id"], collection["version"], collection["deepsentinel:fingerprint"], "cloud_max=0.0",
    )  # fmt: skip
    assert Path(source.locate(path)).resolve() == corpus.resolve()
    assert not Path(source.href).is_absolute()
    assert [entry.name for entry in path.parent.iterdir()] == ["subset.parquet"]


def test_a_corpus_on_a_server_is_searched_too(corpus: Path, tmp_path: Path):
    asked = Criteria(has_class=("211",))
    with RangeServer(corpus.parent) as server:
        found = search(f"{server.href}/labelled", asked)
        save(found, f"{server.href}/labelled/collection.json", tmp_path / "s.parquet")
        assert Corpus.open(tmp_path / "s.parquet").href == f"{server.href}/labelled"
    assert found.num_rows > 0
    assert found.equals(search(corpus, asked))


def test_what_is_no_subset_says_how_to_make_one(tmp_path: Path):
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "whole.parquet")
    torn = bytearray((tmp_path / "whole.parquet").read_bytes())
    torn[-12] ^= 255  # of the footer, in Thrift
    for name, write in {
        "none.parquet": lambda path: None,
        "text.parquet": lambda path: path.write_text("no"),
        "torn.parquet": lambda path: path.write_bytes(torn),
        "bare.parquet": lambda path: pq.write_table(pa.table({"id": ["a"]}), path),
        "thin.parquet": lambda path: pq.write_table(
            pa.table({"id": ["a"]}).replace_schema_metadata(
                {METADATA_KEY: json.dumps({"href": ".", "collection": "c", "version": "1", "fingerprint": "f"})}
            ),
            path,
        ),
    }.items():
        write(tmp_path / name)
        with pytest.raises(CorpusError, match="write one with the program search"):
            read_subset(tmp_path / name)


def test_the_program_prints_a_table_and_writes_the_subset(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    program.run(Search(str(corpus), Criteria(has_class=("211",)), to=tmp_path / "s.parquet"))
    printed = capsys.readouterr().out
    assert "6 patches; by split: " in printed
    assert all(name in printed for name in search(corpus, Criteria(has_class=("211",)))["id"].to_pylist())
    assert "…" not in printed
    rows, source = read_subset(tmp_path / "s.parquet")
    assert rows.num_rows == 6
    assert source.query == "has_class=('211',)"
    with pytest.raises(SystemExit) as ended:
        program.run(Search(str(corpus), Criteria(has_class=("solar_farm",)), to=tmp_path / "no.parquet"))
    assert ended.value.code == program.EXIT_NOTHING == 1
    assert "no patch of 24 fits all; each alone fits: has_class solar_farm: 0\n" in capsys.readouterr().out
    both = Criteria(has_class=("211", "112"), cloud_max=50.0, bbox=(-180.0, -90.0, 180.0, 90.0))
    with pytest.raises(SystemExit):
        program.run(Search(str(corpus), both))
    assert "has_class 211: 6, has_class 112: 6, bbox -180.0 -90.0 180.0 90.0: 24, cloud_max 50.0: 24" in (
        capsys.readouterr().out.replace("\n", " ")
    )
    assert not (tmp_path / "no.parquet").exists()
