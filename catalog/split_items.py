"""Splits on published items: which rules hold for a collection, and what they say about each of its patches."""

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from catalog.errors import CorpusError
from catalog.grid import PatchGrid
from catalog.leaks import Member, check_leaks
from catalog.physics import Finding
from catalog.splits import NONE, TEST, TRAIN, Split, SplitRules, choose_salt, classes_of, splits_of, test_shares

_log = logging.getLogger(__name__)
VERSION = "deepsentinel:split_version"
PROPERTIES: Mapping[str, pa.DataType] = {
    "ml-aoi:split": pa.string(),
    "deepsentinel:split": pa.string(),
    "deepsentinel:split_reason": pa.string(),
    VERSION: pa.string(),
    "deepsentinel:fold": pa.int32(),
    "deepsentinel:near_folds": pa.list_(pa.int32()),
}
"""What an item says about its split; `ml-aoi:split` knows no "none", so such items lack it."""
COLUMNS = (
    "id", "proj:code", "proj:bbox", "deepsentinel:split", "deepsentinel:corine_classes", "deepsentinel:osm_classes",
    "deepsentinel:s1_item_id", "deepsentinel:s2_item_id", "deepsentinel:fold", "deepsentinel:near_folds",
)  # fmt: skip
"""Columns of an index that `check_splits` reads."""
_TOLERANCE = 0.1  # of a class's share in the test split; beyond it publishing warns
_MIN_PATCHES = 50  # of a class, for its share to mean something


@dataclass(frozen=True, slots=True)
class Place:
    """Of one patch, all that decides its split."""

    grid: PatchGrid
    classes: tuple[str, ...]

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> "Place":
        """From an item's properties."""
        return cls(_grid_of(properties["proj:code"], properties["proj:bbox"]), tuple(classes_of(properties)))


def assign(places: Sequence[Place], rules: SplitRules, published: str | None) -> tuple[SplitRules, list[Split]] | None:
    """Rules with their salt, and the split of each place; None, with a warning, where a split would be empty.

    A corpus that was published before keeps its salt, so that patches keep their split when it grows.

    Args:
        published: version of the split that the collection has now, if any.
    """
    grids, classes = [place.grid for place in places], [place.classes for place in places]
    chosen = _keep_salt(rules, published) or choose_salt(grids, classes, rules)
    splits = splits_of(grids, classes, chosen)
    counts = Counter(split.name for split in splits)
    if not counts[TRAIN] or not counts[TEST]:
        _log.warning(
            "no split is stated: of %d patches %d would train and %d test, with blocks of %g degrees and a buffer of "
            "%d m; take smaller blocks (--split-block-deg), a smaller buffer (--split-buffer-m), or more patches",
            len(splits), counts[TRAIN], counts[TEST], chosen.block_deg, chosen.buffer_m,
        )  # fmt: skip
        return None
    _warn_of_unfair(classes, splits, chosen)
    return chosen, splits


def properties_of(split: Split, rules: SplitRules) -> dict[str, Any]:
    """What an item says about its split."""
    found: dict[str, Any] = {"deepsentinel:split": split.name, VERSION: rules.version}
    if split.name != NONE:
        found["ml-aoi:split"] = split.name
    if split.reason is not None:
        found["deepsentinel:split_reason"] = split.reason
    if split.fold is not None:
        found["deepsentinel:fold"] = split.fold
    if split.near_folds:
        found["deepsentinel:near_folds"] = list(split.near_folds)
    return found


def summary_of(places: Sequence[Place], rules: SplitRules, splits: Sequence[Split]) -> dict[str, Any]:
    """What the collection says about its splits."""
    counts = Counter(split.name if split.reason is None else split.reason for split in splits)
    shares = test_shares([place.classes for place in places], splits)
    return {
        VERSION: rules.version,
        "deepsentinel:split_patches": dict(sorted(counts.items())),
        "deepsentinel:split_test_shares": {name: round(share, 4) for name, share in shares.items()},
        "deepsentinel:held_out_classes": list(rules.held_out),
    }


def check_splits(table: pa.Table, version: str) -> Iterator[Finding]:
    """The splits of an index: those that their version gives, and without a leak.

    Args:
        table: with `COLUMNS`.
    """
    try:
        rules = SplitRules.of_version(version)
    except CorpusError as error:
        yield Finding("split-version", version, str(error))
        return
    members = []
    rows = table.select(list(COLUMNS)).to_pylist()
    places = [Place.of(row) for row in rows]
    expected = splits_of([place.grid for place in places], [place.classes for place in places], rules)
    for row, place, split in zip(rows, places, expected, strict=True):
        sources = (row["deepsentinel:s1_item_id"], row["deepsentinel:s2_item_id"])
        stated, folds = row["deepsentinel:split"] or NONE, row["deepsentinel:near_folds"] or ()
        members.append(
            Member(row["id"], place.grid, stated, place.classes, sources, row["deepsentinel:fold"], tuple(folds))
        )
        if row["deepsentinel:split"] != split.name:
            yield Finding("split-version", row["id"], f"is {row['deepsentinel:split']}, its place gives {split.name}")
    yield from check_leaks(members, rules)


def _keep_salt(rules: SplitRules, published: str | None) -> SplitRules | None:
    try:
        found = SplitRules.of_version(published) if published else None
    except CorpusError:  # made by other software: split anew
        return None
    return found if found is not None and dataclasses.replace(rules, salt=found.salt) == found else None


def _warn_of_unfair(classes: Sequence[tuple[str, ...]], splits: Sequence[Split], rules: SplitRules) -> None:
    counts = Counter(name for shown, split in zip(classes, splits, strict=True) if split.name != NONE for name in shown)
    counts["all"] = _MIN_PATCHES  # said of any number of patches
    unfair = {
        name: share
        for name, share in test_shares(classes, splits).items()
        if counts[name] >= _MIN_PATCHES and name not in rules.held_out and abs(share - rules.test_share) > _TOLERANCE
    }
    if unfair:
        stated = ", ".join(f"{name} {share:.0%}" for name, share in unfair.items())
        _log.warning("test patches hold an odd share (wanted %.0f %%) of %s", 100 * rules.test_share, stated)


def _grid_of(code: str, bbox: Sequence[float]) -> PatchGrid:
    west, south, _, north = (round(edge) for edge in bbox)
    return PatchGrid(int(code.removeprefix("EPSG:")), west, north, (north - south) // 10)
