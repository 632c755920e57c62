"""Which patches train and which test: by blocks of the Earth, with a strip between them and classes held out.

A block of longitude and latitude belongs to one side, drawn by a hash, so a patch's split follows from its place and
the version of the split alone. A patch nearer than the buffer to a block of the other side belongs to neither; nor
does a training patch that shows a held-out class. Then whatever trains lies at least the buffer away from whatever
tests: all of a training patch lies in training blocks and that far from testing ones, and the other way round.
"""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from catalog.blocks import Blocks, holding, touched
from catalog.draws import uniform
from catalog.errors import CorpusError
from catalog.grid import PatchGrid, bounds_deg
from catalog.labels import check_classes

TRAIN, VAL, TEST, NONE = "train", "val", "test", "none"
BUFFER, HELD_OUT = "buffer", "held_out_class"
"""Reasons for `NONE`."""

# Classes that generalisation is tested on: rare enough to spare, distinct enough to be worth finding.
DEFAULT_HELD_OUT = ("131", "213", "223", "334", "335", "422", "solar_farm", "wind_turbine")
_SALTS_AT_ONCE = 32  # a million patches are some 100,000 kinds of patches, 26 MB for 32 salts
_KINDS_AT_ONCE = 64  # 32 x 64 x 78 classes: below the 262,144 products that OpenBLAS computes in one thread
_METHOD = 1  # raise it when the same options would split differently


@dataclass(frozen=True, slots=True)
class SplitRules:
    """Everything that decides a split; its `version` names it."""

    block_deg: float = 0.5
    buffer_m: int = 2560
    """A default patch."""
    test_share: float = 0.3  # Kruitwagen 2020: 70 % for fine-tuning, 30 % for generalisation
    folds: int = 5
    salt: int = 0
    held_out: tuple[str, ...] = DEFAULT_HELD_OUT

    def __post_init__(self) -> None:
        check_classes(self.held_out)
        if self.block_deg <= 0 or abs(180 / self.block_deg - round(180 / self.block_deg)) > 1e-9:
            raise CorpusError(
                f"blocks of {self.block_deg:g} degrees do not fill the Earth; take 0.05, 0.1, 0.25 or 0.5"
            )
        if not 0 < self.test_share < 1 or self.folds < 2 or self.buffer_m < 0:
            raise CorpusError(
                f"test share {self.test_share:g}, {self.folds} folds and a buffer of {self.buffer_m} m make no split; "
                "take a share between 0 and 1, at least 2 folds and a buffer of 0 m or more"
            )

    @property
    def version(self) -> str:
        """The rules in one word, such as "1_0.5deg_2560m_30pct_5fold_salt17_131.213"."""
        held_out = ".".join(self.held_out) or "all"
        return (
            f"{_METHOD}_{self.block_deg:g}deg_{self.buffer_m}m_{100 * self.test_share:g}pct_{self.folds}fold_"
            f"salt{self.salt}_{held_out}"
        )

    @classmethod
    def of_version(cls, version: str) -> Self:
        """Read the rules back from their version.

        Raises:
            CorpusError: other software made it.
        """
        method, *fields = version.split("_", 6)
        if method != str(_METHOD) or len(fields) != 6:
            raise CorpusError(f"split version {version!r} is not one of method {_METHOD}; publish the corpus again")
        units = ("deg", "m", "pct", "fold")
        block, buffer, share, folds = (f.removesuffix(u) for f, u in zip(fields[:4], units, strict=True))
        held_out = () if fields[5] == "all" else tuple(fields[5].split("."))
        return cls(float(block), int(buffer), float(share) / 100, int(folds), int(fields[4][4:]), held_out)


@dataclass(frozen=True, slots=True)
class Split:
    """Where one patch belongs."""

    name: str
    """train, test or none."""
    reason: str | None = None
    """Why none."""
    fold: int | None = None
    """0..folds-1 of a training patch: which part of cross-validation its block belongs to."""
    near_folds: tuple[int, ...] = ()
    """Other folds that a training patch lies so near to that it must not train when one of them validates."""

    def in_fold(self, fold: int) -> str:
        """ "train", "val" or "none" when a fold of the training patches is held out for validation."""
        if self.name != TRAIN or fold in self.near_folds:
            return NONE
        return VAL if self.fold == fold else TRAIN


def split_of(grid: PatchGrid, classes: Collection[str], rules: SplitRules) -> Split:
    """The split of one patch, from its place, the classes that it shows and the rules.

    Args:
        classes: CORINE codes such as "131" and names of OpenStreetMap classes.
    """
    return splits_of([grid], [classes], rules)[0]


def splits_of(grids: Sequence[PatchGrid], classes: Sequence[Collection[str]], rules: SplitRules) -> list[Split]:
    """`split_of` for many patches at once; equal splits are one object."""
    bounds = bounds_deg(grids)
    own = holding(bounds, rules.block_deg)
    tests = _is_test(own, rules)
    buffered = (_is_test(touched(bounds, rules.block_deg, rules.buffer_m), rules) != tests[:, None]).any(axis=1)
    reach_m = rules.buffer_m + np.array([grid.side_m for grid in grids])  # a patch reaches half a side beyond its block
    near = _training_folds(touched(bounds, rules.block_deg, reach_m), rules)
    held_out = _shows_held_out(classes, rules)
    split = functools.cache(_split)
    facts = (tests.tolist(), buffered.tolist(), held_out.tolist(), _fold(own, rules).tolist())
    return [split(*fact, tuple(row)) for *fact, row in zip(*facts, near.tolist(), strict=True)]


def choose_salt(
    grids: Sequence[PatchGrid], classes: Sequence[Collection[str]], rules: SplitRules, *, tries: int = 1024
) -> SplitRules:
    """The rules with the salt, of `tries`, that gives the fairest share of every class to testing.

    Fair is the smallest sum of squared deviations from the test share, over the patches and over all classes, each
    counted by its patches, so that a rare class weighs as much as a common one. Classes that stand in one block
    alone cannot be shared and are left out, and so are held-out ones.
    """
    groups, index = _groups(grids, classes, rules)
    counts = _counts(index, classes, rules, len(groups))
    spread = [i == 0 or len(np.unique(groups.own[column > 0])) > 1 for i, column in enumerate(counts.T)]
    counts = counts[:, spread]
    salts = [range(tries)[i : i + _SALTS_AT_ONCE] for i in range(0, tries, _SALTS_AT_ONCE)]
    cost = np.array([cost for some in salts for cost in _costs(groups, counts, rules, some)])
    return dataclasses.replace(rules, salt=int(cost.argmin()))


def test_shares(classes: Sequence[Collection[str]], splits: Sequence[Split]) -> dict[str, float]:
    """Share of each class's patches, of those in a split, that test; "all" is that of the patches."""
    found: dict[str, list[bool]] = {"all": []}
    for shown, split in zip(classes, splits, strict=True):
        if split.name != NONE:
            for name in ("all", *shown):
                found.setdefault(name, []).append(split.name == TEST)
    return {name: sum(sides) / len(sides) for name, sides in sorted(found.items()) if sides}


def classes_of(properties: Mapping[str, Any]) -> list[str]:
    """The classes that an item's properties list, as `split_of` takes them; equal names are one object."""
    corine = properties.get("deepsentinel:corine_classes") or []
    return [sys.intern(name) for name in (*map(str, corine), *(properties.get("deepsentinel:osm_classes") or []))]


@dataclass(frozen=True, slots=True)
class _Groups:
    """Kinds of patches that every salt treats alike."""

    blocks: Blocks
    """All blocks that hold or touch a patch."""
    own: NDArray[np.intp]
    """Which of them holds each kind."""
    near: NDArray[np.intp]
    """(kinds, most): which of them each kind touches."""
    held_out: NDArray[np.bool_]
    """Whether it shows a held-out class."""

    def __len__(self) -> int:
        return len(self.own)


def _groups(
    grids: Sequence[PatchGrid], classes: Sequence[Collection[str]], rules: SplitRules
) -> tuple[_Groups, NDArray[np.intp]]:
    """The kinds of patches, and which kind each patch is."""
    bounds = bounds_deg(grids)
    own, near = holding(bounds, rules.block_deg), touched(bounds, rules.block_deg, rules.buffer_m)
    blocks, where = np.unique(np.column_stack([own, near]), return_inverse=True)
    facts = np.column_stack([_shows_held_out(classes, rules), where.reshape(len(own), -1)])
    kinds, index = np.unique(facts, axis=0, return_inverse=True)
    return _Groups(blocks, kinds[:, 1], kinds[:, 2:], kinds[:, 0].astype(bool)), index.ravel()


def _counts(
    index: NDArray[np.intp], classes: Sequence[Collection[str]], rules: SplitRules, groups: int
) -> NDArray[np.float64]:
    """Patches of every kind (first column), and those that show each class (in the order of names).

    Whole numbers, as floats so that their sums are exact and quick.
    """
    names = sorted({name for shown in classes for name in shown} - set(rules.held_out))
    column = {name: i for i, name in enumerate(names, start=1)}
    shown_columns = [[0, *{column[name] for name in shown if name in column}] for shown in classes]
    where = np.repeat(index * (len(names) + 1), [len(columns) for columns in shown_columns])
    where += np.fromiter(itertools.chain.from_iterable(shown_columns), np.intp, len(where))
    return np.bincount(where, minlength=groups * (len(names) + 1)).reshape(groups, -1).astype(np.float64)


def _costs(groups: _Groups, counts: NDArray[np.float64], rules: SplitRules, salts: range) -> list[float]:
    """How unfair each salt is; several at once are one product of matrices."""
    blocks = np.stack([_is_test(groups.blocks, rules, salt) for salt in salts])
    tests = blocks[:, groups.own]
    kept = tests | ~groups.held_out
    for near in groups.near.T:
        kept &= blocks[:, near] == tests
    remaining, tested = (_sums(which, counts) for which in (kept, kept & tests))
    return [_unfairness(*both, rules) for both in zip(remaining, tested, strict=True)]


def _sums(which: NDArray[np.bool_], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """`which @ counts` in pieces so small that the product takes one thread: many would wait for one another."""
    total = np.zeros((len(which), counts.shape[1]))
    for start in range(0, len(counts), _KINDS_AT_ONCE):
        piece = slice(start, start + _KINDS_AT_ONCE)
        total += which[:, piece].astype(np.float64) @ counts[piece]
    return total


def _unfairness(remaining: NDArray[np.float64], tested: NDArray[np.float64], rules: SplitRules) -> float:
    """Of patches in a split, and of those that test: all (first), and those of each class."""
    if not remaining[0]:
        return np.inf
    shared = remaining > 0
    return float(np.square(tested[shared] / remaining[shared] - rules.test_share).sum())


def _split(tests: bool, buffered: bool, held_out: bool, fold: int, near_folds: tuple[bool, ...]) -> Split:
    """The split of a patch by what is known of it.

    Args:
        fold: of its block.
        near_folds: of each fold, whether a training block of it is near.
    """
    if buffered:
        return Split(NONE, BUFFER)
    if tests:
        return Split(TEST)
    if held_out:
        return Split(NONE, HELD_OUT)
    return Split(TRAIN, None, fold, tuple(i for i, near in enumerate(near_folds) if near and i != fold))


def _shows_held_out(classes: Sequence[Collection[str]], rules: SplitRules) -> NDArray[np.bool_]:
    held_out = frozenset(rules.held_out)
    return np.array([not held_out.isdisjoint(shown) for shown in classes], np.bool_)


def _is_test(blocks: Blocks, rules: SplitRules, salt: int | None = None) -> NDArray[np.bool_]:
    return np.asarray(uniform(blocks, rules.salt if salt is None else salt) < rules.test_share)


def _fold(blocks: Blocks, rules: SplitRules) -> NDArray[np.int64]:
    """The fold of each block, as if it trained."""
    return np.asarray(uniform(blocks, rules.salt, stream=1) * rules.folds).astype(np.int64)


def _training_folds(blocks: Blocks, rules: SplitRules) -> NDArray[np.bool_]:
    """(patches, folds): of the blocks of each patch, whether one of a fold is there that trains.

    Args:
        blocks: (patches, most).
    """
    trains, folds = ~_is_test(blocks, rules), _fold(blocks, rules)
    return np.stack([(trains & (folds == fold)).any(axis=1) for fold in range(rules.folds)], axis=1)
