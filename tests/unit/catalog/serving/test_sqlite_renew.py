"""An index made from an earlier one is the index that would have been built anew."""

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.synthetic_items import write_synthetic
from catalog.fake import write_fake_build
from catalog.serving import sqlite_build, sqlite_renew
from catalog.serving.published import Published
from catalog.serving.sqlite_backend import ensure_index
from catalog.serving.sqlite_build import build_index
from catalog.serving.sqlite_file import Meta, connect, decompress
from catalog.serving.sqlite_renew import renew_index
from catalog.serving.sqlite_search import Search, Searcher

ROWS = 24
# ties of one microsecond, of one millisecond, and neighbours of it
TIMES_US = np.array([1_600_000_000_000_000 + us for us in (0, 0, 0, 300, 999, 1000, 86_400_000_000)])


class Folder:
    """A published folder whose index is written again and again."""

    def __init__(self, place):
        write_synthetic(place / "catalog", write_fake_build(place / "build", 4, side_px=16), ROWS)
        self.place = place
        self.path = place / "catalog" / "labelled" / "items.parquet"
        self.all = self.timed(pq.read_table(self.path))

    def timed(self, table):
        at = table.schema.get_field_index("datetime")
        times = pa.array(TIMES_US[np.arange(ROWS) % len(TIMES_US)]).cast(table.schema.field(at).type)
        return table.set_column(at, table.schema.field(at), times)

    def write(self, rows, *, group=7, drop=()):
        """Publish rows, each as its number in the first index and which variant of it."""
        parts = [self.variant(self.all.slice(row, 1), kind) for row, kind in rows]
        table = pa.concat_tables(parts) if parts else self.all.slice(0, 0)
        pq.write_table(table.drop_columns(list(drop)), self.path, row_group_size=group)
        return Published.open(self.place / "catalog")

    def variant(self, row, kind):
        changed = {
            1: {"deepsentinel:split": ["validate"]},
            2: {"eo:cloud_cover": [None], "deepsentinel:corine_classes": [[111]]},
            3: {"platform": ["another"], "end_datetime": row["datetime"].to_pylist()},
        }
        for name, value in changed.get(kind, {}).items():
            field = row.schema.field(name)
            row = row.set_column(row.schema.get_field_index(name), field, pa.array(value, field.type))
        return row


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return Folder(tmp_path_factory.mktemp("renew"))


@pytest.fixture(autouse=True)
def renew_always(monkeypatch):
    monkeypatch.setattr(sqlite_renew, "MOST_CHANGED", 2.0)


def tables(path):
    """All that an index holds, but for how documents are numbered and compressed."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        meta = Meta.read(database)
        items = [dict(row) for row in database.execute("SELECT * FROM item JOIN document ON d = _document ORDER BY n")]
        for item in items:
            item["body"] = json.loads(decompress(item.pop("body"), meta.dictionary))
            del item["d"], item["_document"]
        found = {"item": items}
        for table, order in (("tag", "property, value, n"), ("area", "k"), ("origin", "n")):
            found[table] = [tuple(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY {order}")]
        found["documents"] = database.execute("SELECT count(*) FROM document").fetchone()[0]
        found["meta"] = {name: getattr(meta, name) for name in Meta.__slots__ if name != "dictionary"}
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    return found


STATES = st.dictionaries(st.integers(0, ROWS - 1), st.integers(0, 3), min_size=1).flatmap(
    lambda state: st.permutations(sorted(state.items()))
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states=st.lists(STATES, min_size=2, max_size=3), group=st.integers(1, 9))
def test_after_any_changes_it_is_the_index_that_is_built_anew(folder, states, group):
    renewed, anew = folder.place / "renewed.sqlite", folder.place / "anew.sqlite"
    build_index(folder.write(states[0], group=group), renewed)
    for state in states[1:]:
        published = folder.write(state, group=group)
        assert renew_index(published, renewed, renewed)
    build_index(published, anew)
    assert tables(renewed) == tables(anew)


def every(*changed):
    """All rows; some of them as another variant."""
    return [(row, 1 if row in changed else 0) for row in range(ROWS)]


def test_only_what_changed_is_read_again(folder, tmp_path, monkeypatch):
    build_index(folder.write(every()), tmp_path / "index.sqlite")
    written = []
    insert = sqlite_renew.insert

    def counting(database, schema, found):
        written.extend(row[-2] for row in found.item)
        insert(database, schema, found)

    monkeypatch.setattr(sqlite_renew, "insert", counting)
    seen = []
    assert renew_index(folder.write(every(3, 20)), tmp_path / "index.sqlite", tmp_path / "index.sqlite", seen.append)
    assert sorted(written) == sorted(folder.all["id"].take([3, 20]).to_pylist())
    assert sum(seen) == ROWS


def test_ensure_takes_over_and_says_so(folder, tmp_path, monkeypatch):
    path = tmp_path / "index.sqlite"
    assert ensure_index(folder.write(every()), path)
    monkeypatch.setattr("catalog.serving.sqlite_backend.build_index", None)
    assert ensure_index(folder.write(every(5)), path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("reason", ["properties", "format", "damaged", "many"])
def test_where_it_cannot_be_done_the_one_before_stays(folder, tmp_path, monkeypatch, caplog, reason):
    path = tmp_path / "index.sqlite"
    build_index(folder.write(every()), path)
    published = folder.write(every(5), drop=["platform"] if reason == "properties" else ())
    if reason == "format":
        monkeypatch.setattr(sqlite_renew, "FORMAT", sqlite_build.FORMAT + 1)
    if reason == "damaged":
        path.write_bytes(path.read_bytes()[:30_000])
    if reason == "many":
        monkeypatch.setattr(sqlite_renew, "MOST_CHANGED", 0.01)
    before = path.read_bytes()
    with caplog.at_level(logging.INFO, sqlite_renew.__name__):
        assert not renew_index(published, path, path)
    assert "built anew" in caplog.text
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_one_that_is_killed_leaves_the_one_before(folder, tmp_path):
    path = tmp_path / "index.sqlite"
    build_index(folder.write(every()), path)
    before = path.read_bytes()
    folder.write(every(1, 2, 3))
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from catalog.serving import sqlite_renew; from catalog.serving.published import Published\n"
        "sqlite_renew.write_meta = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "path = Path(sys.argv[2]); sqlite_renew.renew_index(Published.open(Path(sys.argv[1])), path, path)"
    )
    command = [sys.executable, "-c", program, folder.place / "catalog", path]
    done = subprocess.run(command, check=False, capture_output=True, env={**os.environ})
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.read_bytes() == before

    (left,) = tmp_path.glob(".index.sqlite.*")
    other = left.with_name(".index.sqlite.1.staging")
    other.touch()  # of a build that may still go on
    os.utime(left, (0, 0))
    build_index(folder.write(every()), path)
    assert [*tmp_path.glob(".index.sqlite.*")] == [other]


def test_who_reads_the_one_before_is_not_disturbed(folder, tmp_path):
    path = tmp_path / "index.sqlite"
    build_index(folder.write(every()), path)
    with closing(connect(str(path))) as connection:
        searcher = Searcher(Meta.read(connection))
        first = searcher.search(connection, Search(limit=10))
        assert renew_index(folder.write(every()[: ROWS // 2]), path, path)
        rest = searcher.search(connection, Search(limit=ROWS, token=first.token))
        assert len(first.documents) + len(rest.documents) == ROWS
    with closing(connect(str(path))) as connection:
        assert Searcher(Meta.read(connection)).search(connection, Search(limit=ROWS)).matched == ROWS // 2
