import dataclasses
import datetime as dt
from collections import Counter

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from catalog.grid import grid_of_cell
from catalog.patch import Scene
from ingest.arrange import arrange, by_scene
from ingest.candidates import Paired, candidates_of
from ingest.errors import PlanError
from ingest.match import Matched, Matcher
from ingest.pairing import Rules
from ingest.places import Place, Places

TIME = dt.datetime(2021, 6, 1, tzinfo=dt.UTC)


def candidates(draws):
    """Seven optical and three radar scenes take turns; ids are not in the order of the tables' rows."""
    cells = [Place(d, grid_of_cell(f"33uuu-{d // 39:03d}-{d % 39:03d}"), TIME, TIME) for d in draws]
    outline = shapely.box(0, 0, 1, 1)
    s2 = [
        Scene(f"s2-{6 - i}", "s2", TIME, "S2A", None, None, 32633, outline, {}, tile=f"3{i % 2}UUU") for i in range(7)
    ]
    s1 = [Scene(f"s1-{2 - i}", "s1", TIME, "S1A", None, None, 32633, outline, {}) for i in range(3)]
    matcher = Matcher(s2, s1, Rules())
    rows = np.array(draws)
    matched = Matched(np.arange(len(rows)), rows % 7, rows % 3, np.zeros(len(rows), np.int8), Counter())
    return candidates_of(Paired(Places.of(cells), matcher, matched))


def locality(candidate):
    return candidate.pair.s2.tile, candidate.pair.s2.item_id, candidate.pair.s1.item_id, candidate.draw


@given(st.integers(1, 60), st.integers(0, 40), st.integers(1, 20))
def test_shards_share_the_count_and_the_reserve_and_lose_no_candidate(count, reserve, shard_rows):
    arranged = arrange(candidates(range(count + reserve)), count, shard_rows)
    jobs = [arranged.job(index) for index in range(arranged.shards)]
    assert sum(job.rows for job in jobs) == count
    assert max(job.rows for job in jobs) <= shard_rows
    assert all(len(job.candidates) >= job.rows for job in jobs)
    assert sorted(c.draw for job in jobs for c in job.candidates) == list(range(count + reserve))
    assert all([c.draw for c in job.candidates] == sorted(c.draw for c in job.candidates) for job in jobs)
    dealt = [sorted(job.candidates, key=locality) for job in jobs]
    everything = sorted((one for job in jobs for one in job.candidates), key=locality)
    assert [one for job in dealt for one in job] == everything  # neighbours go to one shard


def test_too_few_candidates_name_the_cures():
    with pytest.raises(PlanError, match=r"only 3 places can be paired and 4 patches are wanted.*--reserve"):
        arrange(candidates(range(3)), 4, 2)


def test_a_job_loads_its_own_scenes_and_no_others():
    """A million candidates have scenes by the hundred thousand, and those of two shards are enough in memory."""
    asked = []

    def load(rows):
        asked.append(rows.tolist())
        return list(rows)

    few = dataclasses.replace(candidates(range(42)), load_s2=load, load_s1=load)
    arranged = arrange(few, 42, 6)
    assert asked == []
    arranged.job(3)
    assert len(asked[0]) <= 2
    assert len(asked[1]) <= 3


@given(st.permutations(range(60)))
def test_candidates_of_one_pair_of_scenes_follow_each_other_whatever_their_order(draws):
    job = arrange(candidates(range(60)), 60, 60).job(0)
    shuffled = by_scene([job.candidates[draw] for draw in draws])
    assert [one.draw for one in shuffled] == [one.draw for one in by_scene(job.candidates)]
    pairs = [(one.pair.s2.item_id, one.pair.s1.item_id) for one in shuffled]
    assert len([pair for pair, before in zip(pairs, [None, *pairs], strict=False) if pair != before]) == len(set(pairs))
