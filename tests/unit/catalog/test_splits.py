"""Splits: shares, reproducibility, and a leak test that sees one patch moved and one class put back."""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.corpus import Corpus
from catalog.errors import CorpusError
from catalog.fake import write_fake_build
from catalog.grid import PatchGrid, cell_at
from catalog.leaks import Member, check_leaks, close_pairs
from catalog.mgrs import transformer, utm_epsg
from catalog.publish import publish
from catalog.split_items import Place, assign, check_splits, properties_of
from catalog.splits import (
    BUFFER,
    HELD_OUT,
    NONE,
    TEST,
    TRAIN,
    SplitRules,
    choose_salt,
    split_of,
    test_shares,
)
from catalog.validate import validate

RULES = SplitRules()
CLASSES = ("211", "311", "312", "112", "231", "forest", "building", "water")
test_shares.__test__ = False  # a function of the catalog, not a test


def grid_at(lon: float, lat: float, side_px: int = 256) -> PatchGrid | None:
    epsg = int(utm_epsg(lon, lat))
    return cell_at(epsg, *transformer(4326, epsg).transform(lon, lat), side_px)


def simulated_corpus(count: int, seed: int = 0) -> list[Place]:
    """Patches over 9 x 7 degrees in three zones, with classes in regions of some degrees, and rare held-out ones."""
    rng = np.random.default_rng(seed)
    places: dict[PatchGrid, Place] = {}
    while len(places) < count:
        lon, lat = rng.uniform((4.5, 46), (13.5, 53))
        grid = grid_at(lon, lat)
        if grid is None:
            continue
        likely = 0.5 + 0.45 * np.sin(lon * np.arange(1, 9) / 2 + lat)
        shown = [name for name, p in zip(CLASSES, likely, strict=True) if rng.uniform() < p]
        shown += [name for name in ("131", "wind_turbine") if rng.uniform() < 0.02]
        places[grid] = Place(grid, tuple(shown))
    return list(places.values())


@pytest.fixture(scope="module")
def places() -> list[Place]:
    return simulated_corpus(2000)


@pytest.fixture(scope="module")
def members(places) -> tuple[SplitRules, list[Member]]:
    found = assign(places, RULES, None)
    assert found is not None
    rules, splits = found
    return rules, [
        Member(f"p{i}", place.grid, split.name, place.classes, (f"scene{i % 7}",))
        for i, (place, split) in enumerate(zip(places, splits, strict=True))
    ]


def findings(members: list[Member], rules: SplitRules) -> list[str]:
    return [finding.rule for finding in check_leaks(members, rules)]


def test_2000_patches_have_no_leak_and_every_split_is_there(members):
    rules, found = members
    assert findings(found, rules) == []
    names = [member.split for member in found]
    assert names.count(TRAIN) > 800
    assert names.count(TEST) > 300
    assert names.count(NONE) > 0


def test_a_patch_moved_into_the_buffer_is_a_leak(members):
    rules, found = members
    test = next(i for i, member in enumerate(found) if member.split == TEST)
    target = found[test].grid
    for gap_m, leaks in ((2550, True), (2570, False)):
        moved = PatchGrid(target.epsg, target.west_m + target.side_m + gap_m, target.north_m)
        train = next(i for i, member in enumerate(found) if member.split == TRAIN)
        others = [member for member in found if member.split == TRAIN][1:300]
        changed = [found[test], dataclasses.replace(found[train], grid=moved), *others]
        assert findings(changed, rules) == (["split-distance"] if leaks else [])


@pytest.mark.parametrize("buffer_m", [0, 1000, 2560])
def test_patches_wall_to_wall_over_many_blocks_have_no_leak(buffer_m):
    """Two zones side by side, every cell taken: the buffer is all that keeps neighbours apart."""
    rules = SplitRules(block_deg=0.25, buffer_m=buffer_m, salt=1)
    grids = [
        PatchGrid(epsg, west_m + 1280 * column, 5_600_000 - 1280 * row, 128)
        for epsg, west_m in ((32631, 680_000), (32632, 290_000))
        for column in range(24)
        for row in range(60)
    ]
    splits = [split_of(grid, (), rules) for grid in grids]
    found = [
        Member(f"p{i}", grid, split.name, (), (f"s{i}",))
        for i, (grid, split) in enumerate(zip(grids, splits, strict=True))
    ]
    assert {TRAIN, TEST} < {split.name for split in splits}
    assert findings(found, rules) == []
    no_buffer = dataclasses.replace(rules, buffer_m=0)
    unguarded = [dataclasses.replace(m, split=split_of(m.grid, (), no_buffer).name) for m in found]
    assert (findings(unguarded, rules) == []) == (buffer_m < 1280)  # the cells cut by a block's edge are a gap too


def fold_members(rules, grids):
    """Training patches with their folds."""
    splits = [(i, grid, split_of(grid, (), rules)) for i, grid in enumerate(grids)]
    return [Member(f"p{i}", g, s.name, (), (f"s{i}",), s.fold, s.near_folds) for i, g, s in splits if s.name == TRAIN]


@pytest.mark.parametrize("buffer_m", [1300, 2560])
def test_what_trains_beside_a_fold_lies_a_buffer_away_from_it(buffer_m):
    """Wall to wall, by brute force over all pairs of patches of one zone: no fold is nearer to what trains with it."""
    rules = SplitRules(block_deg=0.1, buffer_m=buffer_m, salt=1)
    grids = [PatchGrid(32632, 300_000 + 1280 * i, 5_600_000 - 1280 * j, 128) for i in range(30) for j in range(30)]
    found = fold_members(rules, grids)
    corner = np.array([(m.grid.west_m, m.grid.north_m) for m in found])
    across = np.maximum(np.abs(corner[:, None] - corner[None]) - 1280, 0)
    distance_m = np.hypot(across[..., 0], across[..., 1])
    fold = np.array([m.fold for m in found])
    for held in range(rules.folds):
        splits = np.array([split_of(m.grid, (), rules).in_fold(held) for m in found])
        between = distance_m[np.ix_(splits == "val", splits == TRAIN)]
        assert ((splits == "val") == (fold == held)).all()
        assert between.size > 0
        assert between.min() >= buffer_m
        unguarded = distance_m[np.ix_(fold == held, fold != held)]
        assert unguarded.min() < buffer_m  # the folds themselves touch
    assert findings(found, rules) == []


def test_a_patch_that_trains_beside_its_fold_is_a_leak():
    rules = SplitRules(block_deg=0.1, salt=1)
    grids = [PatchGrid(32632, 300_000 + 1280 * i, 5_600_000 - 1280 * j, 128) for i in range(30) for j in range(30)]
    found = fold_members(rules, grids)
    guarded = next(i for i, member in enumerate(found) if member.near_folds)
    found[guarded] = dataclasses.replace(found[guarded], near_folds=())
    assert set(findings(found, rules)) == {"split-fold"}


def test_a_held_out_class_put_back_is_a_leak(members):
    rules, found = members
    train = next(i for i, member in enumerate(found) if member.split == TRAIN)
    changed = list(found)
    changed[train] = dataclasses.replace(found[train], classes=(*found[train].classes, "131"))
    (leak,) = check_leaks(changed, rules)
    assert (leak.rule, leak.subject) == ("split-held-out", found[train].patch_id)
    assert "131" in leak.evidence


def test_patches_that_may_share_a_source_pixel_are_a_leak_without_any_buffer(members):
    rules = dataclasses.replace(RULES, buffer_m=0)
    grid = members[1][0].grid
    beside = PatchGrid(grid.epsg, grid.west_m + grid.side_m, grid.north_m)
    pair = [Member("a", grid, TRAIN, (), ("s2",)), Member("b", beside, TEST, (), ("s2",))]
    assert findings(pair, rules) == ["split-source"]
    assert findings([pair[0], dataclasses.replace(pair[1], sources=("other",))], rules) == []


def test_a_patch_seen_twice_must_not_stand_on_both_sides(members):
    grid = members[1][0].grid
    pair = [Member("a", grid, TRAIN, (), ("x",)), Member("b", grid, TEST, (), ("y",))]
    assert findings(pair, RULES) == ["split-distance"]


def test_every_class_keeps_its_share(places, members):
    """Blocks of 0.5 degrees: with the best of 1024 salts a common class strays by less than 5 percentage points."""
    rules, _ = members
    classes = [place.classes for place in places]
    splits = [split_of(place.grid, place.classes, rules) for place in places]
    shares = test_shares(classes, splits)
    assert {"all", *CLASSES} <= shares.keys()
    for name in ("all", *CLASSES):
        assert abs(shares[name] - 0.3) < 0.05, name
    plain = [split_of(p.grid, p.classes, dataclasses.replace(rules, salt=0)) for p in places]
    spread = [abs(s - 0.3) for s in test_shares(classes, plain).values()]
    assert np.mean([abs(s - 0.3) for s in shares.values()]) <= np.mean(spread)


def test_the_split_follows_from_place_classes_and_version_alone(places, members):
    rules, _ = members
    again = SplitRules.of_version(rules.version)
    assert again == rules
    for place in places[:100]:
        assert split_of(place.grid, place.classes, again) == split_of(place.grid, place.classes, rules)


RECORDED = [
    "train",
    "test",
    "train",
    "train",
    "train",
    "train",
    "train",
    "train",
    "test",
    "test",
    "train",
    "test",
    "train",
    "train",
    "test",
    "train",
]


def test_a_recorded_split_never_changes():
    """Numbers of method 1: a change here means that published corpora would be split otherwise."""
    found = [split_of(grid_at(lon, 50.1), (), SplitRules(salt=3)).name for lon in np.arange(6.2, 14, 0.5)]
    assert found == RECORDED


@given(
    st.sampled_from([0.05, 0.1, 0.25, 0.5, 1.0, 2.0]), st.integers(0, 20_000), st.integers(2, 9),
    st.integers(0, 1000), st.sampled_from([(), ("131",), RULES.held_out]),
)  # fmt: skip
def test_a_version_names_its_rules(block_deg, buffer_m, folds, salt, held_out):
    rules = SplitRules(block_deg, buffer_m, 0.3, folds, salt, held_out)
    assert SplitRules.of_version(rules.version) == rules


def test_reasons_are_given_for_patches_of_no_split(places, members):
    rules, _ = members
    reasons = {split_of(p.grid, p.classes, rules).reason for p in places}
    assert reasons == {None, BUFFER, HELD_OUT}
    for place in places:
        split = split_of(place.grid, place.classes, rules)
        assert (split.name == NONE) == (split.reason is not None)
        assert (split.name == TRAIN) == (split.fold is not None)
        if split.reason == HELD_OUT:
            assert split_of(place.grid, (), rules).name == TRAIN


def test_folds_are_whole_blocks_and_all_are_used(places, members):
    rules, _ = members
    folds: dict[tuple[int, int], set[int]] = {}
    for place in places:
        split = split_of(place.grid, (), rules)
        if split.fold is not None:
            west, south, east, north = place.grid.footprint().bounds
            block = int((west + east) // 1), int((south + north) // 1)
            folds.setdefault(block, set()).add(split.fold)
    assert all(len(found) == 1 for found in folds.values())
    assert set.union(*folds.values()) == set(range(rules.folds))


def test_close_pairs_equal_all_pairs_measured(places):
    """Against the ellipsoid's own distances between the outlines' corners and sides, of a crowd across two zones."""
    from pyproj import Geod

    crowd = [place.grid for place in simulated_corpus(400, seed=1) if 5.5 < place.grid.footprint().centroid.x < 6.5]
    crowd += [grid for lon in np.arange(5.7, 6.3, 0.04) if (grid := grid_at(lon, 50.0)) is not None]
    crowd = list(dict.fromkeys(crowd))
    found = {(left, right) for left, right, _ in close_pairs(crowd, 5000)}
    assert len({grid.epsg for grid in crowd}) == 2
    geod = Geod(ellps="WGS84")
    corners = [grid.footprint().segmentize(0.002).exterior.coords for grid in crowd]
    for left in range(len(crowd)):
        for right in range(left + 1, len(crowd)):
            one, other = (np.array(corners[i]) for i in (left, right))
            if np.abs(one.mean(axis=0) - other.mean(axis=0)).max() > 0.3:
                assert (left, right) not in found
                continue
            a, b = (np.repeat(one, len(other), axis=0), np.tile(other, (len(one), 1)))
            nearest = geod.inv(a[:, 0], a[:, 1], b[:, 0], b[:, 1])[2].min()
            if crowd[left].footprint().intersects(crowd[right].footprint()):
                nearest = 0.0
            if abs(nearest - 5000) > 100:  # points along the sides are up to 150 m apart
                assert ((left, right) in found) == (nearest < 5000)


def test_pairs_across_the_antimeridian_are_found():
    east, west = grid_at(179.97, -17.0), grid_at(-179.97, -17.0)
    ((_, _, distance_m),) = close_pairs([east, west], 10_000)
    assert 0 < distance_m < 7000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"held_out": ("131", "mines")}, r"no class 'mines'; take codes of CORINE"),
        ({"block_deg": 0.7}, "blocks of 0.7 degrees do not fill the Earth"),
        ({"test_share": 1.5}, "make no split"),
        ({"folds": 1}, "make no split"),
    ],
)
def test_rules_that_make_no_sense_are_refused(options, words):
    with pytest.raises(CorpusError, match=words):
        SplitRules(**options)


def test_a_class_of_one_block_does_not_decide_the_salt(places):
    lonely = [Place(p.grid, (*p.classes, "521")) if i == 0 else p for i, p in enumerate(places)]
    chosen = [choose_salt([p.grid for p in some], [p.classes for p in some], RULES).salt for some in (places, lonely)]
    assert chosen[0] == chosen[1]


def test_publishing_states_splits_that_validate_and_stay(tmp_path: Path):
    build = write_fake_build(tmp_path / "build", 8, side_px=32, shard_rows=4)
    publish([build], tmp_path / "public", workers=1)
    collection = json.loads((tmp_path / "public" / "labelled" / "collection.json").read_text())
    rules = SplitRules.of_version(collection["deepsentinel:split_version"])
    corpus = Corpus.open(tmp_path / "public" / "labelled")
    assert set(corpus.table["deepsentinel:split"].to_pylist()) == {TRAIN, TEST}
    report = validate(tmp_path / "public")
    assert report.findings == ()
    assert report.checked["splits"] == 8
    item = json.loads(next((tmp_path / "public" / "labelled").glob("shard-000000/33*.json")).read_text())
    place = Place.of(item["properties"])
    assert properties_of(split_of(place.grid, place.classes, rules), rules).items() <= item["properties"].items()
    more = write_fake_build(tmp_path / "more", 12, side_px=32, shard_rows=4)
    publish([more], tmp_path / "public", workers=1)
    assert (
        json.loads((tmp_path / "public/labelled/collection.json").read_text())["deepsentinel:split_version"]
        == rules.version
    )


def test_a_wrong_split_in_the_index_is_found(tmp_path: Path):
    build = write_fake_build(tmp_path / "build", 4, side_px=32, shard_rows=4)
    publish([build], tmp_path / "public", workers=1)
    corpus = Corpus.open(tmp_path / "public" / "labelled", columns=None)
    table = corpus.table.append_column("s", corpus.table["deepsentinel:split"])
    version = corpus.table["deepsentinel:split_version"][0].as_py()
    assert list(check_splits(table, version)) == []
    names = [TEST if name == TRAIN else TRAIN for name in table["deepsentinel:split"].to_pylist()]
    position = table.column_names.index("deepsentinel:split")
    swapped = table.set_column(position, "deepsentinel:split", [names])
    assert [finding.rule for finding in check_splits(swapped, version)] == ["split-version"] * 4
    assert [finding.rule for finding in check_splits(table, "9_x")] == ["split-version"]


def test_an_empty_split_is_said_and_not_stated(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    build = write_fake_build(tmp_path / "build", 4, side_px=32, shard_rows=4)
    with caplog.at_level(logging.WARNING):
        publish(
            [build],
            tmp_path / "public",
            workers=1,
            split_rules=SplitRules(held_out=("112", "211", "312", "511", "512")),
        )
    assert "no split is stated: of 4 patches 0 would train" in caplog.text
    assert "--split-block-deg" in caplog.text
    assert Corpus.open(tmp_path / "public" / "labelled").table["deepsentinel:split"].to_pylist() == [None] * 4
