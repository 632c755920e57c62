"""Places: the newest first, then by id; kept when other items come."""

import datetime as dt
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import CorpusError
from catalog.serving.places import MAX_PLACE, places_of, span_of

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# few, so that there are ties: of one microsecond, of one millisecond, across one; before 1970 and near both limits
TIMES_US = (-4_000_000_000_000_000, -1001, -1000, -1, 0, 1, 999, 1000, 1_600_000_000_000_000, 4_398_000_000_000_000)
ITEMS = st.lists(st.tuples(st.sampled_from(TIMES_US), st.sampled_from("abcdef")), max_size=12)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("places")


def places(folder, *collections):
    found = []
    for number, items in enumerate(collections):
        times = pa.array([time for time, _ in items], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
        path = folder / f"{number}.parquet"
        pq.write_table(pa.table({"datetime": times, "id": pa.array([name for _, name in items], pa.string())}), path)
        found.append(types.SimpleNamespace(items=path))
    return [part.tolist() for part in places_of(found)]


@given(ITEMS, ITEMS)
def test_the_order_of_places_is_the_newest_first_and_then_the_last_id(place, one, other):
    found = places(place, one, other)
    items = [*((n, item) for n, item in zip(found[0], one, strict=True)), *zip(found[1], other, strict=True)]
    assert len({n for n, _ in items}) == len(items)
    assert all(0 <= n <= MAX_PLACE for n, _ in items)
    assert [item for _, item in sorted(items)] == sorted([*one, *other], reverse=True)


@given(ITEMS, ITEMS)
def test_items_of_other_milliseconds_move_none(place, before, more):
    kept = [(time, name) for time, name in more if time // 1000 not in {time // 1000 for time, _ in before}]
    assert places(place, [*kept, *before])[0][len(kept) :] == places(place, before)[0]


@given(ITEMS, st.sampled_from(TIMES_US), st.sampled_from(TIMES_US))
def test_the_span_of_an_interval_holds_its_items_and_none_a_millisecond_away(place, items, first, last):
    low, high = span_of(first, last)
    for (time, _), n in zip(items, places(place, items)[0], strict=True):
        if first <= time <= last:
            assert low <= n <= high
        if time < first - 1000 or time > last + 1000:
            assert not low <= n <= high


def test_the_span_of_always_holds_every_place():
    assert span_of(-(1 << 62), 1 << 62) == (0, MAX_PLACE)


@pytest.mark.parametrize("time", [dt.datetime(1800, 1, 1, tzinfo=dt.UTC), dt.datetime(2200, 1, 1, tzinfo=dt.UTC)])
def test_times_that_no_place_can_say_are_refused(place, time):
    with pytest.raises(CorpusError, match=str(time.year)):
        places(place, [((time - EPOCH) // dt.timedelta(microseconds=1), "a"), (0, "b")])


def test_no_items_have_no_places(place):
    assert places(place) == []
    assert places(place, []) == [[]]
    assert places_of([]) == []
    assert np.array(places(place, [(0, "a")])).shape == (1, 1)
