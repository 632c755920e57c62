"""What workers tell of their work, and what is shown of it."""

from collections import Counter

import pytest
from rich.console import Console

from ingest.display import describe, shown
from ingest.tally import Tally, Teller, forget_unfinished, read_tallies


@pytest.fixture
def told(tmp_path):
    for index in range(3):
        teller = Teller(tmp_path, index)
        teller.tell(index, Counter(cloudy_patch=index), 1000 * index, at_once=True)
    return tmp_path


def test_tallies_of_shards_add_up(told):
    total = sum(read_tallies(told).values(), Tally())
    assert (total.read, total.skipped, total.fetched_bytes) == (3, Counter(cloudy_patch=3), 3000)
    assert read_tallies(told, but={0, 1}).keys() == {2}


def test_a_shard_is_told_at_most_once_a_second_and_at_its_end(tmp_path):
    teller = Teller(tmp_path, 7)
    teller.tell(1, Counter(), 10)
    teller.tell(2, Counter(), 20)
    assert read_tallies(tmp_path)[7].read == 1
    teller.tell(3, Counter(), 30, at_once=True)
    assert read_tallies(tmp_path)[7].read == 3


def test_what_was_told_of_a_shard_that_begins_anew_is_dropped(told):
    forget_unfinished(told, {1})
    assert read_tallies(told).keys() == {1}


@pytest.mark.parametrize("columns", [80, 200])
def test_the_last_lines_count_what_this_runs_workers_told(told, capsys, monkeypatch, columns):
    monkeypatch.setattr("rich._console", Console(width=columns))
    with shown(told, wanted=4, present=frozenset({2})):
        Teller(told, 1).tell(2, Counter(cloudy_patch=1, physics=1), 5_000_000, at_once=True)
    line = " ".join(capsys.readouterr().out.split())
    assert "2/4" in line
    assert "5.0 MB fetched, 1 cloudy_patch, 1 physics" in line
    assert "patches/s" in line


def test_bytes_and_refusals_in_a_line():
    assert describe(Tally(1, Counter(b=1, a=2), 1_500_000_000)) == "1,500.0 MB fetched, 2 a, 1 b"
