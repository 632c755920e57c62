"""A shard is the first of its candidates that survive, whatever is refused; what fails says why, for every place."""

import datetime as dt
import itertools
import json

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import DeepSentinelError
from catalog.grid import grid_of_cell
from catalog.patch import Patch, Provenance, Quality, Scene, ScenePair, describe_scene
from catalog.shard import list_shards, provenance_of
from ingest import fill
from ingest.arrange import Candidate, ShardJob
from ingest.errors import PlanError, ReadError, Refused, WriteError
from ingest.fill import Filling, LabelSources, PatchReader
from ingest.ledger import read_rows
from ingest.limits import CLOUDY_PATCH, LOW_S1_VALID, LOW_S2_VALID, Limits, check_limits

TIME = dt.datetime(2021, 6, 1, 10, tzinfo=dt.UTC)


def scene(name: str, tile: str | None = None) -> Scene:
    return Scene(name, "made up", TIME, "P", None, None, 32633, shapely.box(0, 0, 1, 1), {}, tile=tile)


def candidate(draw: int) -> Candidate:
    """Seven optical and three radar scenes take turns, so that the order of scenes is not that of draws."""
    grid = grid_of_cell(f"33uuu-{draw // 40:03d}-{draw % 40:03d}", side_px=64)
    return Candidate(draw, ScenePair(grid, scene(f"s1-{draw % 3}"), scene(f"s2-{draw % 7}", "33UUU")))


def patch_of(pair: ScenePair, **quality: float) -> Patch:
    shares = {"s2_valid_share": 1.0, "s1_valid_share": 1.0, "cloud_share": 0.0} | quality
    measured = Quality(shadow_share=0.0, snow_share=0.0, boa_offset_applied=False, s1_zone_changed=False, **shares)
    provenance = Provenance(pair.patch_id, pair.grid, describe_scene(pair.s1), describe_scene(pair.s2), measured)
    number = pair.grid.west_m // 640 % 100
    return Patch(
        provenance, np.full((4, 64, 64), 1000 + number, np.uint16), np.full((8, 32, 32), 1000, np.uint16),
        np.full((32, 32), 5, np.uint8), np.full((2, 64, 64), -1000, np.int16),
    )  # fmt: skip


def job_of(draws, rows: int) -> ShardJob:
    return ShardJob(0, rows, tuple(candidate(draw) for draw in sorted(draws)))


@pytest.fixture
def reading(monkeypatch):
    """Lets a test decide what reading gives, by draw; returns the draws in the order in which they were read."""
    order: list[int] = []

    def decide(outcomes):
        def read_all(self, candidates):
            for one in candidates:
                order.append(one.draw)
                outcome = outcomes.get(one.draw)
                if isinstance(outcome, DeepSentinelError) and not isinstance(outcome, Refused):
                    raise outcome
                yield one, outcome or patch_of(one.pair)

        monkeypatch.setattr(PatchReader, "read_all", read_all)
        return order

    return decide


def fill_into(root, job):
    return Filling(root, "catalog.json", LabelSources(None, None), Limits())(job)


@given(st.sets(st.integers(0, 200), min_size=1, max_size=40), st.data())
def test_the_first_survivors_in_order_of_draws_fill_a_shard(draws, data):
    """The definition, written as a loop over draws, is the reference."""
    refused = data.draw(st.sets(st.sampled_from(sorted(draws)), max_size=len(draws) - 1))
    rows = data.draw(st.integers(1, len(draws) - len(refused)))
    expected = [draw for draw in sorted(draws) if draw not in refused][:rows]
    tried = {draw for draw in draws if draw <= expected[-1]}

    def read_all(candidates):
        return ((one, Refused("no", "") if one.draw in refused else patch_of(one.pair)) for one in candidates)

    ledger: dict = {}
    patches = fill._first_survivors(job_of(draws, rows), read_all, ledger)
    assert [patch.patch_id for patch in patches] == [candidate(draw).pair.patch_id for draw in expected]
    assert {draw for draw, row in ledger.items() if row.status == "written"} == set(expected)
    assert {draw for draw, row in ledger.items() if row.status == "skipped"} == refused & tried
    assert set(ledger) == tried


def test_candidates_of_one_pair_of_scenes_are_read_one_after_the_other(tmp_path, reading):
    order = reading({})
    fill_into(tmp_path, job_of(range(42), 42))
    scenes = [(draw % 7, draw % 3) for draw in order]
    changes = sum(one != other for one, other in itertools.pairwise(scenes))
    assert changes == len(set(scenes)) - 1
    assert sorted(order) == list(range(42))


def test_a_refused_candidate_is_replaced_and_both_stand_in_the_ledger(tmp_path, reading):
    reading({0: Refused("cloudy_patch", "0.9 of the pixels")})
    outcome = fill_into(tmp_path, job_of(range(4), 2))
    assert outcome.written == 2
    rows = read_rows(tmp_path / "ledger")
    assert [(row.draw, row.status, row.reason) for row in rows] == [
        (0, "skipped", "cloudy_patch"), (1, "written", ""), (2, "written", ""),
    ]  # fmt: skip
    assert [one.patch_id for one in provenance_of(tmp_path, 0)] == [row.patch_id for row in rows[1:]]


def test_an_image_out_of_reach_leaves_no_shard_and_says_so_for_every_place(tmp_path, reading):
    reading({1: Refused("cloudy_patch", ""), 3: ReadError("B02 of x cannot be had now")})
    with pytest.raises(ReadError):
        fill_into(tmp_path, job_of(range(8), 4))
    assert list_shards(tmp_path) == []
    rows = read_rows(tmp_path / "ledger")
    assert {(row.status, row.reason) for row in rows if row.draw != 1} == {("failed", "image_out_of_reach")}
    assert [row.draw for row in rows if row.status == "failed"] == [0, 2, 3, 4]  # as many as the shard wants


def test_too_few_survivors_name_the_most_common_reason_and_the_cure(tmp_path, reading):
    reading({draw: Refused("cloudy_patch" if draw else "physics", "") for draw in range(5)})
    with pytest.raises(PlanError, match=r"holds 1 of 3 patches after 6 candidates \(mostly cloudy_patch\).*--reserve"):
        fill_into(tmp_path, job_of(range(6), 3))
    assert {row.reason for row in read_rows(tmp_path / "ledger") if row.status == "failed"} == {"too_few_candidates"}


def test_a_shard_that_another_worker_committed_meanwhile_is_left_as_it_is(tmp_path, reading):
    reading({})
    fill_into(tmp_path, job_of(range(2), 2))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*")}
    assert fill_into(tmp_path, job_of(range(2), 2)).written == 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*")} == before


def test_a_full_disk_is_an_error_of_the_folder_and_not_of_a_patch(tmp_path, reading, monkeypatch):
    reading({})
    monkeypatch.setattr(fill, "write_shard", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(WriteError, match="No space left on device; make room"):
        fill_into(tmp_path, job_of(range(2), 2))


def test_a_scene_that_was_made_again_is_named_in_the_ledger(tmp_path, reading):
    one = candidate(0)
    other = ScenePair(one.pair.grid, one.pair.s1, scene("s2-again", "33UUU"))
    reading({0: patch_of(other)})
    fill_into(tmp_path, job_of([0], 1))
    (row,) = read_rows(tmp_path / "ledger")
    assert (row.status, row.detail) == ("written", "s2-0 was made again: s2-again")


@pytest.mark.parametrize(
    "shares, reason",
    [
        ({"s2_valid_share": 0.999}, LOW_S2_VALID),
        ({"s1_valid_share": 0.989}, LOW_S1_VALID),
        ({"cloud_share": 0.501}, CLOUDY_PATCH),
    ],
)
def test_limits_refuse_what_lies_outside_them_and_say_how_far(shares, reason):
    patch = patch_of(candidate(0).pair, **shares)
    with pytest.raises(Refused, match=str(next(iter(shares.values())))) as refused:
        check_limits(patch, Limits(physics="warn"))
    assert refused.value.reason == reason


def test_at_the_limits_a_patch_is_kept():
    shares = {"s1_valid_share": 0.99, "cloud_share": 0.5}
    check_limits(patch_of(candidate(0).pair, **shares), Limits(physics="warn"))


def test_what_physics_contradicts_is_refused_or_kept_with_the_names_of_the_rules(caplog):
    """Twice as far below zero decibels in VV as in VH."""
    patch = patch_of(candidate(0).pair)
    patch.s1[0] = -2000
    with pytest.raises(Refused, match=r"s1-order: median VV -20\.0 dB") as refused:
        check_limits(patch, Limits())
    assert refused.value.reason == "physics"
    assert check_limits(patch, Limits(physics="warn")) == ["s1-order"]
    assert "s1-order" in caplog.text


def test_ledgers_of_the_same_shard_are_the_same_bytes(tmp_path, reading):
    reading({2: Refused("cloudy_patch", "")})
    for name in ("one", "other"):
        fill_into(tmp_path / name, job_of(range(6), 3))
    one, other = ((tmp_path / name / "ledger" / "000000.jsonl").read_bytes() for name in ("one", "other"))
    assert one == other
    assert [json.loads(line)["draw"] for line in one.splitlines()] == [0, 1, 2, 3]
