"""Episodes of a held-out class: support and query apart, drawn by the seed."""

import pytest

from catalog.errors import CorpusError
from catalog.few_shot import episode
from catalog.grid import PatchGrid
from catalog.leaks import Member, close_pairs
from catalog.splits import NONE, TEST, TRAIN, SplitRules

RULES = SplitRules()


def members() -> list[Member]:
    """A row of 40 testing patches side by side, every fourth with a mine, and some that do not test."""
    row = [
        Member(f"t{i}", PatchGrid(32632, 300_000 + 2560 * i, 5_600_000), TEST, ("131",) if i % 4 == 0 else (), ())
        for i in range(40)
    ]
    others = [
        Member(f"o{i}", PatchGrid(32632, 300_000 + 2560 * i, 5_700_000), split, ("131",), ())
        for i, split in enumerate((TRAIN, NONE))
    ]
    return row + others


@pytest.mark.parametrize("shots", [1, 5])
def test_support_shows_the_class_and_the_query_is_the_rest_beyond_the_buffer(shots):
    found = members()
    drawn = episode(found, "131", shots, RULES)
    assert len(drawn.support) == shots
    assert all("131" in found[i].classes and found[i].split == TEST for i in drawn.support)
    near = {
        b if a in drawn.support else a
        for a, b, _ in close_pairs([member.grid for member in found], RULES.buffer_m)
        if (a in drawn.support) != (b in drawn.support)
    }
    assert set(drawn.query) == set(range(40)) - set(drawn.support) - near
    assert near


def test_the_seed_decides_the_draw():
    draws = {episode(members(), "131", 5, RULES, seed=seed).support for seed in range(5)}
    assert len(draws) > 1
    assert episode(members(), "131", 5, RULES, seed=3) == episode(members(), "131", 5, RULES, seed=3)


def test_too_many_shots_and_classes_of_training_are_refused():
    with pytest.raises(CorpusError, match="10 testing patches show 131, 10 shots leave none to find"):
        episode(members(), "131", 10, RULES)
    with pytest.raises(CorpusError, match="class '311' is not held out; these are: 131"):
        episode(members(), "311", 1, RULES)
