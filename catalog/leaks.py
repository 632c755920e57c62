"""The leak test: whether anything that trains says something about what tests.

It measures distances between patches themselves and does not know how they were split, so it judges any split.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from catalog.grid import PatchGrid
from catalog.mgrs import transformer
from catalog.physics import Finding
from catalog.splits import NONE, TRAIN, SplitRules

_DEG_M = 110_574.0  # least length of a degree of latitude (WGS 84)
_SHARED_M = 60.0  # the coarsest source pixel: two patches nearer than this may hold parts of one


@dataclass(frozen=True, slots=True)
class Member:
    """A patch as the leak test sees it."""

    patch_id: str
    grid: PatchGrid
    split: str
    classes: Collection[str]
    """CORINE codes and names of OpenStreetMap classes that it shows."""
    sources: Collection[str]
    """Ids of the scenes that it was read from."""
    fold: int | None = None
    """Of a training patch that is used in cross-validation."""
    near_folds: Collection[int] = ()
    """Folds that it does not train beside."""


def check_leaks(members: Sequence[Member], rules: SplitRules) -> Iterator[Finding]:
    """Patches of different splits nearer than the buffer or with a source pixel in common, and held-out classes.

    Of two training patches, too, that are nearer than the buffer and of different folds, neither may train while the
    other validates.
    """
    inside = [member for member in members if member.split != NONE]
    for left, right, distance_m in close_pairs([m.grid for m in inside], max(rules.buffer_m, _SHARED_M)):
        one, other = inside[left], inside[right]
        if one.split == other.split:
            if distance_m < rules.buffer_m and _trains_beside(one, other):
                pair = f"{one.patch_id} (fold {one.fold}) and {other.patch_id} (fold {other.fold})"
                yield Finding("split-fold", pair, f"are {distance_m:.0f} m apart (limit {rules.buffer_m} m)")
            continue
        pair = f"{one.patch_id} ({one.split}) and {other.patch_id} ({other.split})"
        if distance_m < rules.buffer_m:
            yield Finding("split-distance", pair, f"are {distance_m:.0f} m apart (limit {rules.buffer_m} m)")
        if distance_m < _SHARED_M and (common := set(one.sources) & set(other.sources)):
            yield Finding("split-source", pair, f"may share pixels of {', '.join(sorted(common))}")
    for member in inside:
        if member.split == TRAIN and (shown := sorted(set(member.classes) & set(rules.held_out))):
            yield Finding("split-held-out", member.patch_id, f"trains and shows {', '.join(shown)}, which is held out")


def _trains_beside(one: Member, other: Member) -> bool:
    """Whether one of two patches trains while the other validates."""
    if one.fold is None or other.fold is None or one.fold == other.fold:
        return False
    return other.fold not in one.near_folds or one.fold not in other.near_folds


def close_pairs(grids: Sequence[PatchGrid], limit_m: float) -> list[tuple[int, int, float]]:
    """Pairs of patches at most so far apart, with their distance in metres; 0 where they touch or overlap."""
    if not grids:
        return []
    pairs = _pairs_in_degrees(grids, limit_m)
    by_zone: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for left, right in pairs:
        by_zone[grids[left].epsg].append((left, right))
    found = []
    for epsg, members in by_zone.items():
        lefts, rights = (_outlines([grids[pair[side]] for pair in members], epsg) for side in (0, 1))
        distances = shapely.distance(lefts, rights)
        found += [(*pair, float(d)) for pair, d in zip(members, distances, strict=True) if d <= limit_m]
    return sorted(found)


def _pairs_in_degrees(grids: Sequence[PatchGrid], limit_m: float) -> list[tuple[int, int]]:
    """Pairs whose bounds in longitude and latitude are near, also across the antimeridian."""
    bounds = np.array([grid.footprint().bounds for grid in grids])
    rise = limit_m / _DEG_M
    reach = rise / np.cos(np.radians(np.abs(bounds[:, [1, 3]]).max(axis=1) + rise))
    boxes = shapely.box(bounds[:, 0], bounds[:, 1], bounds[:, 2], bounds[:, 3])
    tree = shapely.STRtree(boxes)
    pairs: set[tuple[int, int]] = set()
    for turn in (0.0, 360.0):
        wide = shapely.box(
            bounds[:, 0] - reach + turn, bounds[:, 1] - rise, bounds[:, 2] + reach + turn, bounds[:, 3] + rise
        )
        left, right = tree.query(wide)
        pairs.update((min(pair), max(pair)) for pair in zip(left.tolist(), right.tolist(), strict=True))
    return [(left, right) for left, right in pairs if left != right]


def _outlines(grids: Sequence[PatchGrid], epsg: int) -> NDArray[np.object_]:
    """Outlines in one zone, metres."""
    corners = np.empty((len(grids), 4, 2))
    zones = np.array([grid.epsg for grid in grids])
    for i, grid in enumerate(grids):
        west, south, east, north = grid.bounds_m
        corners[i] = (west, south), (east, south), (east, north), (west, north)
    for zone in np.unique(zones[zones != epsg]).tolist():
        x, y = transformer(zone, epsg).transform(corners[zones == zone, :, 0], corners[zones == zone, :, 1])
        corners[zones == zone] = np.stack([x, y], axis=-1)
    return np.asarray(shapely.polygons(corners))
