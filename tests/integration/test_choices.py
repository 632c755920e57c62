"""Builds of the simulated Earth with scenes from the snapshot, neighbours, and as a dry run."""

import dataclasses

import pytest

from catalog.shard import list_shards, provenance_of
from ingest.build import Build, Choice, estimate, pair_places, run
from ingest.candidates import candidates_of
from ingest.errors import PlanError
from ingest.sample import read_plan, write_plan
from ingest.sandbox.server import Sandbox
from ingest.status import Status
from ingest.status import run as status


@pytest.fixture(scope="module")
def few(tiny_plan, tmp_path_factory):
    """The tiny plan, of which twelve patches are wanted."""
    path = tmp_path_factory.mktemp("few") / "plan.parquet"
    write_plan(dataclasses.replace(read_plan(tiny_plan), count=12), path)
    return path


def test_the_snapshot_leads_to_the_same_pairs_as_searches(tiny_archive, few, tmp_path):
    plan = read_plan(few)
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        searched = candidates_of(pair_places(Build(few, tmp_path / "a"), plan))
        before = sandbox.counters.searches
        taken = candidates_of(pair_places(Build(few, tmp_path / "b", scenes=("geoparquet",)), plan))
        assert sandbox.counters.searches == before
    assert len(taken) > 12
    assert [(c.draw, c.pair) for c in taken] == [(c.draw, c.pair) for c in searched]


def test_a_dry_run_asks_and_writes_nothing_and_foretells_the_build(tiny_archive, few, tmp_path, capsys):
    """First a guess, then with an index the true numbers; the build after it has neighbours that share its scenes."""
    options = Build(few, tmp_path / "corpus", index=tmp_path / "index", choice=Choice(neighbours=2), shard_rows=6)
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        run(dataclasses.replace(options, dry_run=True))
        assert (sandbox.counters.searches, sandbox.counters.blob_requests) == (0, 0)
        assert not (tmp_path / "corpus").exists()
        assert "guessed" in capsys.readouterr().out
        summary = run(options)
        foretold = estimate(options, read_plan(few))
    assert foretold.known
    assert foretold.patches == summary.written == 12
    assert sandbox.counters.blob_requests > 0
    provenance = [p for index in list_shards(options.out) for p in provenance_of(options.out, index)]
    assert len({p.patch_id for p in provenance}) == 12
    for place in provenance:
        beside = [p for p in provenance if p is not place and _adjacent(p.grid, place.grid) and p.s2 == place.s2]
        assert any(p.s1 == place.s1 for p in beside)
    assert status(Status(options.out)).written == 12


def _adjacent(a, b):
    return max(abs(a.west_m - b.west_m), abs(a.north_m - b.north_m)) == a.side_m


def test_choices_out_of_range_are_named(few, tmp_path):
    for choice in (Choice(pairs=0), Choice(neighbours=9), Choice(months=(13,))):
        with pytest.raises(PlanError, match="they must be at least 1, from 0 to 8, and from 1 to 12"):
            run(Build(few, tmp_path / "corpus", choice=choice, dry_run=True))
