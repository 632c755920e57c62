"""Blocks, splits and salts of many patches at once, against one patch after another by the definition."""

import itertools
import math

import numpy as np
import pytest

from catalog.blocks import holding, touched
from catalog.draws import uniform
from catalog.grid import PatchGrid, bounds_deg, cell_at
from catalog.mgrs import transformer, utm_epsg
from catalog.splits import BUFFER, HELD_OUT, NONE, TEST, TRAIN, Split, SplitRules, choose_salt, split_of, splits_of

CLASSES = ("211", "311", "131", "forest", "wind_turbine")


def cells(count: int, west: float, south: float, east: float, north: float, side_px: int = 256) -> list[PatchGrid]:
    """Cells drawn between these meridians and parallels."""
    rng, found = np.random.default_rng(count), []
    while len(found) < count:
        lon, lat = rng.uniform(west, east), rng.uniform(south, north)
        epsg = int(utm_epsg(lon, lat))
        grid = cell_at(epsg, *transformer(4326, epsg).transform(lon, lat), side_px)
        found += [] if grid is None else [grid]
    return found


@pytest.fixture(scope="module")
def grids() -> list[PatchGrid]:
    """Patches near one another, on all longitudes, beside the antimeridian, near the poles, and small ones."""
    areas = (
        (150, 4, 46, 8, 50, 256), (60, -180, -79, 180, 83, 256), (40, 179.9, -20, 180, 20, 256),
        (40, -180, -20, -179.9, 20, 256), (30, -180, 80, 180, 83.5, 256), (30, -180, -79.5, 180, -77, 64),
    )  # fmt: skip
    return [grid for area in areas for grid in cells(*area)]


@pytest.fixture(scope="module")
def classes(grids: list[PatchGrid]) -> list[tuple[str, ...]]:
    rng = np.random.default_rng(1)
    return [tuple(name for name in CLASSES if rng.uniform() < 0.2) for _ in grids]


def block_at(lon: float, lat: float, rules: SplitRules) -> int:
    columns = round(360 / rules.block_deg)
    return math.floor((lat + 90) / rules.block_deg) * columns + math.floor((lon + 180) / rules.block_deg) % columns


def own_block(grid: PatchGrid, rules: SplitRules) -> int:
    west, south, east, north = grid.footprint().bounds
    return block_at((west + east) / 2, (south + north) / 2, rules)


def blocks_near(grid: PatchGrid, rules: SplitRules, wider_m: int) -> list[int]:
    west, south, east, north = grid.footprint().bounds
    rise = (wider_m * 1.001 + 1) / 110_574
    south, north = south - rise, north + rise
    reach = (wider_m * 1.001 + 1) / (111_319 * math.cos(math.radians(max(abs(south), abs(north)))))
    side = rules.block_deg
    middles = [
        [edge + (step + 0.5) * side for step in range(int((low - edge) // side), int((high - edge) // side) + 1)]
        for low, high, edge in ((west - reach, east + reach, -180), (south, north, -90))
    ]
    return [block_at(lon, lat, rules) for lon, lat in itertools.product(*middles)]


def drawn(block: int, rules: SplitRules, stream: int = 0) -> float:
    return float(uniform(np.array([block], np.uint64), rules.salt, stream)[0])


def slow_split(grid: PatchGrid, classes: tuple[str, ...], rules: SplitRules) -> Split:
    own = own_block(grid, rules)
    tests = drawn(own, rules) < rules.test_share
    if any((drawn(block, rules) < rules.test_share) != tests for block in blocks_near(grid, rules, rules.buffer_m)):
        return Split(NONE, BUFFER)
    if tests:
        return Split(TEST)
    if set(classes) & set(rules.held_out):
        return Split(NONE, HELD_OUT)
    around = blocks_near(grid, rules, rules.buffer_m + grid.side_m)
    training = [block for block in around if drawn(block, rules) >= rules.test_share]
    fold = int(drawn(own, rules, 1) * rules.folds)
    return Split(TRAIN, None, fold, tuple(sorted({int(drawn(b, rules, 1) * rules.folds) for b in training} - {fold})))


def slow_cost(grids: list[PatchGrid], classes: list[tuple[str, ...]], rules: SplitRules) -> float:
    """What `choose_salt` makes least."""
    splits = [slow_split(grid, shown, rules).name for grid, shown in zip(grids, classes, strict=True)]
    cost = 0.0
    for name in ("all", *sorted({name for shown in classes for name in shown} - set(rules.held_out))):
        shows = [name == "all" or name in shown for shown in classes]
        if name != "all" and len({own_block(grid, rules) for grid, yes in zip(grids, shows, strict=True) if yes}) == 1:
            continue
        inside = [split for split, yes in zip(splits, shows, strict=True) if yes and split != NONE]
        if inside:
            cost += (inside.count(TEST) / len(inside) - rules.test_share) ** 2
        elif name == "all":
            return math.inf
    return cost


def test_bounds_of_many_grids_are_those_of_each_footprint(grids):
    np.testing.assert_array_equal(bounds_deg(grids), [grid.footprint().bounds for grid in grids])
    assert bounds_deg([]).shape == (0, 4)


@pytest.mark.parametrize("block_deg", [0.05, 0.5, 0.8, 4])
def test_a_patch_touches_the_block_that_holds_it(grids, block_deg):
    bounds = bounds_deg(grids)
    near = touched(bounds, block_deg, wider_m=0)
    assert (near == holding(bounds, block_deg)[:, None]).any(axis=1).all()


@pytest.mark.parametrize(
    "rules",
    [
        SplitRules(salt=17),
        SplitRules(block_deg=0.05, salt=5),
        SplitRules(block_deg=0.25, buffer_m=0, folds=9, salt=77),
        SplitRules(block_deg=2, buffer_m=20_000, test_share=0.1, folds=3, salt=4, held_out=()),
        SplitRules(block_deg=4, buffer_m=20_000, salt=2, held_out=()),  # the equator crosses a row of blocks
    ],
)
def test_splits_of_many_patches_are_those_of_each(grids, classes, rules):
    expected = [slow_split(grid, shown, rules) for grid, shown in zip(grids, classes, strict=True)]
    assert splits_of(grids, classes, rules) == expected
    assert [split_of(grid, shown, rules) for grid, shown in zip(grids[:40], classes, strict=False)] == expected[:40]
    assert {split.reason for split in expected} >= ({BUFFER, HELD_OUT} if rules.held_out else {BUFFER})


def test_the_salt_is_the_fairest_of_those_tried(grids, classes):
    rules, tries = SplitRules(held_out=("131",)), 70  # more than are tried at once
    near, shown = grids[:150], classes[:150]
    costs = [slow_cost(near, shown, SplitRules(salt=salt, held_out=rules.held_out)) for salt in range(tries)]
    assert choose_salt(near, shown, rules, tries=tries).salt == int(np.argmin(costs))
    assert int(np.argmin(costs)) > 0
