"""Which patches train and which test: by blocks of the Earth, with a strip between them and classes held out.

A block of longitude and latitude belongs to one side, drawn by a hash, so a patch's split follows from its place and
the version of the split alone. A patch nearer than the buffer to a block of the other side belongs to neither; nor
does a training patch that shows a held-out class. Then whatever trains lies at least the buffer away from whatever
tests: all of a training patch lies in training blocks and that far from testing ones, and the other way round.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from catalog.errors import CorpusError
from catalog.grid import PatchGrid
from catalog.labels import check_classes

TRAIN, VAL, TEST, NONE = "train", "val", "test", "none"
BUFFER, HELD_OUT = "buffer", "held_out_class"
"""Reasons for `NONE`."""

# Classes that generalisation is tested on: rare enough to spare, distinct enough to be worth finding.
DEFAULT_HELD_OUT = ("131", "213", "223", "334", "335", "422", "solar_farm", "wind_turbine")
_METHOD = 1  # raise it when the same options would split differently
_DEG_LAT_M = 110_574.0  # least length of a degree of latitude (WGS 84, at the equator)
_DEG_LON_M = 111_319.0  # least length of a degree of longitude over the cosine of the latitude
_WIDER = 1.001  # UTM, in which distances are checked, shrinks lengths by up to 0.04 %
_BEND_M = 1.0  # how far a side strays from the straight line between its corners
_MIXERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64 (Steele et al. 2014)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


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
    lon, lat = _centre(grid)
    own = _block(lon, lat, rules)
    tests = _is_test(own, rules)
    touched = _blocks_near(grid, rules, rules.buffer_m)
    if bool(np.any(_is_test(touched, rules) != tests)):
        return Split(NONE, BUFFER)
    if bool(tests):
        return Split(TEST)
    if not set(classes).isdisjoint(rules.held_out):
        return Split(NONE, HELD_OUT)
    fold = int(_fold(own, rules))
    around = _blocks_near(grid, rules, rules.buffer_m + grid.side_m)  # a patch reaches half a side beyond its block
    near = np.unique(_fold(around[~_is_test(around, rules)], rules)).tolist()
    return Split(TRAIN, None, fold, tuple(other for other in near if other != fold))


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
    cost = np.array([_unfairness(groups, counts, rules, salt) for salt in range(tries)])
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
    """The classes that an item's properties list, as `split_of` takes them."""
    corine = properties.get("deepsentinel:corine_classes") or []
    return [*map(str, corine), *(properties.get("deepsentinel:osm_classes") or [])]


@dataclass(frozen=True, slots=True)
class _Groups:
    """Kinds of patches that every salt treats alike."""

    own: NDArray[np.uint64]
    """Block of each kind."""
    near: NDArray[np.uint64]
    """(kinds, most): blocks that it touches, its own where there are fewer than most."""
    held_out: NDArray[np.bool_]
    """Whether it shows a held-out class."""

    def __len__(self) -> int:
        return len(self.own)


def _groups(
    grids: Sequence[PatchGrid], classes: Sequence[Collection[str]], rules: SplitRules
) -> tuple[_Groups, list[int]]:
    """The kinds of patches, and which kind each patch is."""
    numbers: dict[tuple[Any, ...], int] = {}
    index = []
    for grid, shown in zip(grids, classes, strict=True):
        key = (
            int(_block(*_centre(grid), rules)),
            tuple(_blocks_near(grid, rules, rules.buffer_m).tolist()),
            not set(shown).isdisjoint(rules.held_out),
        )
        index.append(numbers.setdefault(key, len(numbers)))
    most = max(len(near) for _, near, _ in numbers)
    padded = [(*near, *[own] * (most - len(near))) for own, near, _ in numbers]
    own, _, held_out = zip(*numbers, strict=True)
    return _Groups(np.array(own, np.uint64), np.array(padded, np.uint64), np.array(held_out)), index


def _counts(
    index: Sequence[int], classes: Sequence[Collection[str]], rules: SplitRules, groups: int
) -> NDArray[np.int64]:
    """Patches of every kind (first column), and those that show each class (in the order of names)."""
    names = sorted({name for shown in classes for name in shown} - set(rules.held_out))
    column = {name: i for i, name in enumerate(names, start=1)}
    counts = np.zeros((groups, len(names) + 1), np.int64)
    for group, shown in zip(index, classes, strict=True):
        counts[group, [0, *(column[name] for name in shown if name in column)]] += 1
    return counts


def _unfairness(groups: _Groups, counts: NDArray[np.int64], rules: SplitRules, salt: int) -> float:
    tests = _is_test(groups.own, rules, salt)
    kept = (_is_test(groups.near, rules, salt) == tests[:, None]).all(axis=1) & (tests | ~groups.held_out)
    remaining = kept @ counts
    if not remaining[0]:
        return np.inf
    shared = remaining > 0
    shares = (kept & tests) @ counts[:, shared] / remaining[shared]
    return float(np.square(shares - rules.test_share).sum())


def _centre(grid: PatchGrid) -> tuple[float, float]:
    west, south, east, north = grid.footprint().bounds
    return (west + east) / 2, (south + north) / 2


def _block(lon_deg: Any, lat_deg: Any, rules: SplitRules) -> NDArray[np.uint64]:
    """Number of the block that holds a point: rows from south to north, columns from west to east."""
    columns = round(360 / rules.block_deg)
    column = np.floor((np.asarray(lon_deg) + 180) / rules.block_deg) % columns
    row = np.floor((np.asarray(lat_deg) + 90) / rules.block_deg)
    return np.asarray(row * columns + column).astype(np.uint64)


def _blocks_near(grid: PatchGrid, rules: SplitRules, wider_m: int) -> NDArray[np.uint64]:
    """Every block that a patch, widened on all sides, touches; rather one too many."""
    west, south, east, north = grid.footprint().bounds
    reach_m = wider_m * _WIDER + _BEND_M
    rise = reach_m / _DEG_LAT_M
    south, north = south - rise, north + rise
    reach = reach_m / (_DEG_LON_M * np.cos(np.radians(max(abs(south), abs(north)))))
    columns = np.arange(np.floor((west - reach) / rules.block_deg), np.floor((east + reach) / rules.block_deg) + 1)
    rows = np.arange(np.floor(south / rules.block_deg), np.floor(north / rules.block_deg) + 1)
    lon, lat = np.meshgrid((columns + 0.5) * rules.block_deg, (rows + 0.5) * rules.block_deg)
    return _block(lon, lat, rules).ravel()


def _is_test(blocks: NDArray[np.uint64], rules: SplitRules, salt: int | None = None) -> NDArray[np.bool_]:
    return np.asarray(_uniform(blocks, rules.salt if salt is None else salt) < rules.test_share)


def _fold(blocks: NDArray[np.uint64], rules: SplitRules) -> NDArray[np.int64]:
    """The fold of each block, as if it trained."""
    return np.asarray(_uniform(blocks, rules.salt, stream=1) * rules.folds).astype(np.int64)


def _uniform(blocks: NDArray[np.uint64], salt: int, stream: int = 0) -> NDArray[np.float64]:
    """A number in [0, 1) for each block, the same on every machine."""
    with np.errstate(over="ignore"):
        state = np.asarray(blocks, np.uint64) * _GOLDEN + np.uint64(2 * salt + stream + 1)
        for _ in range(2):
            state = (state ^ (state >> np.uint64(30))) * _MIXERS[0]
            state = (state ^ (state >> np.uint64(27))) * _MIXERS[1]
            state = (state ^ (state >> np.uint64(31))) + _GOLDEN
    return np.asarray((state >> np.uint64(11)) * 2.0**-53, np.float64)
