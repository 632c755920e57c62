"""Conditions as SQL, run by SQLite over a table of a few rows, against the closed form."""

import json
import sqlite3
from contextlib import closing

import pytest

from catalog.serving.guards import RequestError
from catalog.serving.order import Order
from catalog.serving.predicates import Predicates
from catalog.serving.queryables import Kind, Queryable
from catalog.serving.times import to_us

ASKED = (
    Queryable("cloud", Kind.NUMBER),
    Queryable("name", Kind.TEXT),
    Queryable("seen", Kind.TIME),
    Queryable("fixed", Kind.TRUTH),
    Queryable("tags", Kind.TEXTS),
    Queryable("codes", Kind.NUMBERS),
)
ROWS = [
    (5.0, "Alpha", "2020-01-01T00:00:00Z", 1, ["a", "b"], [1, 2]),
    (20.0, "beta*", "2020-01-02T00:00:00Z", 0, ["a"], []),
    (None, "a_b", "2020-01-03T00:00:00Z", None, None, [2]),
    (5.0, "A%", "2020-01-04T12:00:00+12:00", 1, [], [3, 1]),
]
STARTS = ["2020-01-01", "2020-01-05", "2020-01-09", "2020-01-12"]  # each goes on for three days


@pytest.fixture(scope="module")
def database():
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(
            "CREATE TABLE item (n INTEGER PRIMARY KEY, _start INTEGER, _end INTEGER, cloud REAL, name TEXT, "
            "seen INTEGER, fixed INTEGER, tags TEXT, codes TEXT)"
        )
        connection.execute("CREATE TABLE tag (property INTEGER, value, n INTEGER)")
        for n, (cloud, name, seen, fixed, tags, codes) in enumerate(ROWS):
            start = to_us(STARTS[n])
            arrays = [None if values is None else json.dumps(values) for values in (tags, codes)]
            row = (n, start, start + 3 * 86_400_000_000, cloud, name, to_us(seen), fixed, *arrays)
            connection.execute("INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            for number, values in ((4, tags), (5, codes)):
                connection.executemany("INSERT INTO tag VALUES (?, ?, ?)", [(number, v, n) for v in values or ()])
        for name in ("cloud", "name", "seen", "fixed"):
            connection.execute(f'CREATE INDEX "by {name}" ON item ("{name}")')
        yield connection


def rows(database, expression) -> list[int]:
    """Rows that meet a filter; what lists them lists at least those."""
    conditions = Predicates(ASKED).conditions(expression)
    text = " AND ".join(f"({one.test.text})" for one in conditions)
    values = [value for one in conditions for value in one.test.values]
    found = [n for (n,) in database.execute(f"SELECT n FROM item WHERE {text} ORDER BY n", values)]
    for condition in conditions:
        for lister in condition.listers:
            assert {n for (n,) in database.execute(lister.text, lister.values)} >= set(found)
    return found


def op(name, *args):
    return {"op": name, "args": list(args)}


CLOUD, NAME, SEEN, FIXED, TAGS, CODES, WHEN = (
    {"property": name} for name in ("cloud", "name", "seen", "fixed", "tags", "codes", "datetime")
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (op("=", CLOUD, 5), [0, 3]),
        (op("<>", CLOUD, 5), [1]),
        (op(">", 10, CLOUD), [0, 3]),
        (op("<", 10, CLOUD), [1]),
        (op("like", NAME, "A_pha"), [0]),
        (op("<=", 20, CLOUD), [1]),
        (op("not", op("=", CLOUD, 5)), [1]),
        (op("isNull", CLOUD), [2]),
        (op("not", op("isNull", CLOUD)), [0, 1, 3]),
        (op("between", CLOUD, 4, 6), [0, 3]),
        (op("in", CLOUD, [20, 21]), [1]),
        (op("in", NAME, ["A%", "a_b"]), [2, 3]),
        (op("or", op("=", CLOUD, 20), op("=", NAME, "a_b")), [1, 2]),
        (op("and", op("=", CLOUD, 5), FIXED), [0, 3]),
        (op("like", NAME, "A%"), [0, 3]),
        (op("like", NAME, "%a"), [0]),
        (op("like", NAME, "a_b"), [2]),
        (op("like", NAME, "A\\%"), [3]),
        (op("like", NAME, "%*"), [1]),
        (op("like", NAME, "?"), []),
        (op("like", NAME, "_%[%"), []),
        (op("=", op("casei", NAME), op("casei", "ALPHA")), [0]),
        (op("like", op("casei", NAME), op("casei", "A%")), [0, 2, 3]),
        (op("=", SEEN, {"timestamp": "2020-01-02T00:00:00Z"}), [1]),
        (op(">=", SEEN, "2020-01-03"), [2, 3]),
        (op("=", SEEN, {"timestamp": "2020-01-04T00:00:00Z"}), [3]),
        (op("=", FIXED, False), [1]),
        (op("not", FIXED), [1]),
        (op("a_contains", TAGS, ["a"]), [0, 1]),
        (op("a_contains", TAGS, ["a", "b"]), [0]),
        (op("a_overlaps", TAGS, ["b", "z"]), [0]),
        (op("a_containedBy", TAGS, ["a", "z"]), [1, 3]),
        (op("a_equals", TAGS, ["b", "a"]), [0]),
        (op("a_contains", CODES, [1.0]), [0, 3]),
        (op("not", op("a_contains", TAGS, ["a"])), [3]),
        (op("not", op("a_overlaps", CODES, [2])), [1, 3]),
        (True, [0, 1, 2, 3]),
        (False, []),
        (op("t_after", WHEN, {"date": "2020-01-08"}), [2, 3]),
        (op("t_before", WHEN, {"date": "2020-01-08"}), [0]),
        (op("t_intersects", WHEN, {"interval": ["2020-01-04", "2020-01-05"]}), [0, 1]),
        (op("t_intersects", WHEN, {"interval": ["..", "2020-01-09"]}), [0, 1, 2]),
        (op("t_disjoint", WHEN, {"interval": ["2020-01-08", ".."]}), [0]),
        (op("t_during", WHEN, {"interval": ["2020-01-04", "2020-01-13"]}), [1, 2]),
        (op("t_contains", WHEN, "2020-01-06"), [1]),
        (op("t_equals", WHEN, {"interval": ["2020-01-05", "2020-01-08"]}), [1]),
        (op("t_meets", WHEN, {"interval": ["2020-01-08", ".."]}), [1]),
        (op("t_starts", WHEN, {"interval": ["2020-01-09", ".."]}), [2]),
        (op("t_overlaps", WHEN, {"interval": ["2020-01-10", ".."]}), [2]),
        (op("t_after", SEEN, {"timestamp": "2020-01-02T00:00:00Z"}), [2, 3]),
    ],
)
def test_each_operator_finds_the_rows_it_says(database, expression, expected):
    assert rows(database, expression) == expected


@pytest.mark.parametrize(
    ("expression", "word"),
    [
        (op("=", {"property": "clouds"}, 5), "did you mean 'cloud'"),
        (op("=", CLOUD, "5"), "does not compare"),
        (op("=", CLOUD), "2 arguments"),
        (op("=", CLOUD, True), "does not compare"),
        (op("=", TAGS, "a"), "does not compare"),
        (op("like", CLOUD, "5"), "LIKE"),
        (op("a_contains", NAME, ["a"]), "tags, codes"),
        (op("a_contains", TAGS, [1]), "array of text"),
        (op("a_contains", CODES, []), "list"),
        (op("t_after", NAME, "2020-01-01"), "no time"),
        (op("t_after", WHEN, "soon"), "no time"),
        (op("casei", NAME), "unknown operator"),
        (op("or", *[op("=", CLOUD, 5)] * 501), "parts"),
        ({"args": []}, "no condition"),
        ("x", "no condition"),
        (op("and"), "nothing"),
        (op("in", CLOUD, []), "list"),
        (op("in", CLOUD, [CLOUD]), "plain values"),
        (op("s_intersects", CLOUD, CLOUD), "geometry"),
        (op("=", {"property": "x' OR 1=1"}, 5), "no queryable"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(expression, word):
    with pytest.raises(RequestError, match=word):
        Predicates(ASKED).conditions(expression)


@pytest.mark.parametrize(
    "sort", [(("cloud", False),), (("cloud", True),), (("fixed", True), ("cloud", False)), (("name", False),), ()]
)
def test_after_any_item_stand_just_those_that_follow_it(database, sort):
    order = Order(sort, frozenset({"name"}))
    columns = ", ".join(order.columns)
    whole = [row[0:] for row in database.execute(f"SELECT {columns} FROM item ORDER BY {order.text}")]
    assert len(set(whole)) == len(ROWS)
    for i, values in enumerate(whole):
        after = order.after(values)
        rest = database.execute(f"SELECT {columns} FROM item WHERE {after.text} ORDER BY {order.text}", after.values)
        assert rest.fetchall() == whole[i + 1 :]
