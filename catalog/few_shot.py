"""Few examples of a class held out, and the patches to find it in: for tests of generalisation to unseen classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog.errors import CorpusError
from catalog.leaks import Member, close_pairs
from catalog.splits import TEST, SplitRules


@dataclass(frozen=True, slots=True)
class Episode:
    """Rows of a list of members."""

    support: tuple[int, ...]
    """Show the class and may be learned from."""
    query: tuple[int, ...]
    """All other testing patches, with the class or not, at least the buffer away from every support."""


def episode(members: Sequence[Member], name: str, shots: int, rules: SplitRules, *, seed: int = 0) -> Episode:
    """Draw the support of a class among testing patches; what is left of them is the query.

    Raises:
        CorpusError: the class is not held out, or too few testing patches show it to leave one to find.
    """
    if name not in rules.held_out:
        raise CorpusError(f"class {name!r} is not held out; these are: {', '.join(rules.held_out)}")
    tests = [i for i, member in enumerate(members) if member.split == TEST]
    shown = [i for i in tests if name in members[i].classes]
    if len(shown) <= shots:
        raise CorpusError(
            f"{len(shown)} testing patches show {name}, {shots} shots leave none to find; take fewer shots"
        )
    support = sorted(np.random.default_rng(seed).choice(shown, shots, replace=False).tolist())
    pairs = close_pairs([members[i].grid for i in tests], rules.buffer_m)
    chosen = set(support)
    near = {tests[a] for a, b, _ in pairs if tests[b] in chosen} | {tests[b] for a, b, _ in pairs if tests[a] in chosen}
    return Episode(tuple(support), tuple(i for i in tests if i not in near and i not in chosen))
