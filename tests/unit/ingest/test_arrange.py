import datetime as dt

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from catalog.grid import grid_of_cell
from catalog.patch import Scene, ScenePair
from ingest.arrange import Candidate, arrange
from ingest.errors import PlanError

TIME = dt.datetime(2021, 6, 1, tzinfo=dt.UTC)


def candidate(draw):
    grid = grid_of_cell(f"33uuu-{draw // 39:03d}-{draw % 39:03d}")
    s2 = Scene(f"s2-{draw % 7}", "s2", TIME, "S2A", None, None, 32633, shapely.box(0, 0, 1, 1), {}, tile="33UUU")
    s1 = Scene(f"s1-{draw % 3}", "s1", TIME, "S1A", None, None, 32633, shapely.box(0, 0, 1, 1), {})
    return Candidate(draw, ScenePair(grid, s1, s2))


@given(st.integers(1, 60), st.integers(0, 40), st.integers(1, 20))
def test_shards_share_the_count_and_the_reserve_and_lose_no_candidate(count, reserve, shard_rows):
    candidates = [candidate(draw) for draw in range(count + reserve)]
    jobs = arrange(candidates, count, shard_rows)
    assert sum(job.rows for job in jobs) == count
    assert max(job.rows for job in jobs) <= shard_rows
    assert all(len(job.candidates) >= job.rows for job in jobs)
    assert sorted(c.draw for job in jobs for c in job.candidates) == list(range(count + reserve))
    assert all([c.draw for c in job.candidates] == sorted(c.draw for c in job.candidates) for job in jobs)
    assert arrange(candidates[::-1], count, shard_rows) == jobs


def test_too_few_candidates_name_the_cures():
    with pytest.raises(PlanError, match=r"only 3 places can be paired and 4 patches are wanted.*--reserve"):
        arrange([candidate(draw) for draw in range(3)], 4, 2)
