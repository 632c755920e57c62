"""The pairs of a million places at once: `ingest.pairing.judge` in columns.

Optical scenes are found by tile and time with sorted keys, radar scenes with a tree of footprints. Places go in
batches of neighbours, so that few footprints are prepared at a time and memory does not grow with the plan.
"""

import datetime as dt
import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from catalog.patch import Scene, ScenePair
from ingest.footprints import Geometries, contains, middles, moved
from ingest.pairing import (
    CLOUDY_SCENE,
    NO_S1_SCENE,
    NO_S2_SCENE,
    NOT_CONTAINED,
    OTHER_ORBIT,
    OUTSIDE_SEASON,
    PAIRED,
    Rules,
    Verdict,
    judge,
)
from ingest.places import Place, Places
from ingest.scene_table import Load, SceneTable

REASONS = (PAIRED, NO_S1_SCENE, CLOUDY_SCENE, NOT_CONTAINED, NO_S2_SCENE)
_BATCH = 20_000
_DAY_US = 86_400_000_000

Rows = NDArray[np.int64]
Couples = tuple[Rows, Rows]
"""Rows of places and the rows of scenes beside them."""


@dataclass(frozen=True, eq=False)
class Matched:
    """Pairs of many places, as rows of the places and of the two tables."""

    place: Rows
    """Rising; the pairs of one place stand together, best first."""
    s2: Rows
    s1: Rows
    reason: NDArray[np.int8]
    """Of each place, a position in `REASONS`."""
    refusals: Counter[str]
    """Scenes refused, by reason, over all places. Scenes of another tile or period, and radar scenes too far in time
    to serve, are not looked at and not counted."""

    def reasons(self) -> Counter[str]:
        """Places by reason."""
        counts = np.bincount(self.reason, minlength=len(REASONS)).tolist()
        return Counter({reason: count for reason, count in zip(REASONS, counts, strict=True) if count})


class Matcher:
    """Finds the best pairs of scenes for many places, and explains the choice for one.

    Args:
        s2: Sentinel-2 scenes.
        s1: Sentinel-1 scenes.
    """

    def __init__(self, s2: Sequence[Scene] | SceneTable, s1: Sequence[Scene] | SceneTable, rules: Rules) -> None:
        self.s2, self.s1 = (t if isinstance(t, SceneTable) else SceneTable.of(t) for t in (s2, s1))
        self.rules = rules
        self._optical = _Optical(self.s2, rules)
        self._radar = _Radar(self.s1, rules)

    def match(self, places: Sequence[Place]) -> list[Verdict]:
        """One verdict a place, in order, without refusals: `explain` gives those."""
        matched = self.match_rows(Places.of(places))
        pairs = self.pairs_of(places, matched)
        return [
            Verdict(place, tuple(pairs.get(i, ())), REASONS[reason], ())
            for i, (place, reason) in enumerate(zip(places, matched.reason.tolist(), strict=True))
        ]

    def match_rows(self, places: Places) -> Matched:
        """The same as rows of the places and scenes."""
        order = np.argsort(places.tiles(), kind="stable")
        reason = np.empty(len(places), dtype=np.int8)
        refusals: Counter[str] = Counter()
        found: list[Rows] = [np.empty((3, 0), dtype=np.int64)]
        for start in range(0, len(places), _BATCH):
            rows = order[start : start + _BATCH]
            place, s2, s1 = self._match_batch(places.take(rows), reason, rows, refusals)
            found.append(np.stack([rows[place], s2, s1]))
        place, s2, s1 = np.concatenate(found, axis=1)
        by_place = np.argsort(place, kind="stable")
        return Matched(place[by_place], s2[by_place], s1[by_place], reason, refusals)

    def pairs_of(self, places: Sequence[Place], matched: Matched) -> dict[int, list[ScenePair]]:
        """The pairs of each row of the places that has any, best first; loads only the scenes that are used."""
        s2, s1 = loaded(self.s2.load, matched.s2), loaded(self.s1.load, matched.s1)
        pairs: dict[int, list[ScenePair]] = {}
        for row, a, b in zip(matched.place.tolist(), matched.s2.tolist(), matched.s1.tolist(), strict=True):
            pairs.setdefault(row, []).append(ScenePair(places[row].grid, s1[b], s2[a]))
        return pairs

    def explain(self, place: Place) -> Verdict:
        """The verdict on one place with a refusal for every scene near it, whatever its time, tile or clouds."""
        outlines = Places.of([place]).inner_outlines()
        trees = (self.s2, self._s2_tree), (self.s1, self._radar.tree)
        near = [table.load(np.unique(_touching(tree, outlines)[1])) for table, tree in trees]
        return judge(place, near[0], near[1], self.rules)

    @functools.cached_property
    def _s2_tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.s2.footprint)

    def _match_batch(
        self, places: Places, reason: NDArray[np.int8], rows: Rows, refusals: Counter[str]
    ) -> tuple[Rows, Rows, Rows]:
        outlines = places.inner_outlines()
        optical, reason[rows] = self._optical.near(places, outlines, refusals)
        radar = self._radar.near(places, outlines, refusals)
        place, s2, s1 = self._near_in_time(optical, radar)
        best = self._best(places, place, s2, s1)
        reason[rows[place[best]]] = REASONS.index(PAIRED)
        return place[best], s2[best], s1[best]

    def _near_in_time(self, optical: Couples, radar: Couples) -> tuple[Rows, Rows, Rows]:
        """All pairs of an optical and a radar scene of one place within the largest gap."""
        gap_us = _us(self.rules.max_gap)
        times = np.unique(self.s1.acquired_us)
        keys = radar[0] * (len(times) + 1) + np.searchsorted(times, self.s1.acquired_us[radar[1]])
        order = np.argsort(keys, kind="stable")
        base, taken = optical[0] * (len(times) + 1), self.s2.acquired_us[optical[1]]
        first = np.searchsorted(keys[order], base + np.searchsorted(times, taken - gap_us, "left"))
        last = np.searchsorted(keys[order], base + np.searchsorted(times, taken + gap_us, "right"))
        couple, at = _spread(first, last)
        return optical[0][couple], optical[1][couple], radar[1][order[at]]

    def _best(self, places: Places, place: Rows, s2: Rows, s1: Rows) -> Rows:
        """Of pairs the best ones of each place, on distinct days, as many as the rules say."""
        cloud = np.nan_to_num(self.s2.cloud[s2], nan=100.0)
        gap = np.abs(self.s1.acquired_us[s1] - self.s2.acquired_us[s2])
        other_zone = self.s1.epsg[s1] != places.epsg[place]
        time = self.s2.acquired_us[s2]
        ids = self._radar.ranks[s1], self._optical.ranks[s2]
        order = np.lexsort((*ids, time, cloud, gap, other_zone, place))
        days = np.stack([place[order], time[order] // _DAY_US])
        order = order[np.sort(np.unique(days, axis=1, return_index=True)[1])]
        sorted_places = place[order]
        rank = np.arange(len(order)) - np.searchsorted(sorted_places, sorted_places)
        return order[rank < self.rules.pairs]


class _Optical:
    """Sentinel-2 scenes, sorted by tile and time."""

    def __init__(self, table: SceneTable, rules: Rules) -> None:
        self._table, self.ranks = table, table.ranks()
        self._tiles, self._times = np.unique(table.tile), np.unique(table.acquired_us)
        keys = self._keys(table.tile, np.searchsorted(self._times, table.acquired_us))
        self._order = np.argsort(keys, kind="stable")
        self._sorted_keys = keys[self._order]
        self._clear = ~(table.cloud > rules.scene_cloud_max)
        self._in_season = np.isin(table.months(), rules.months or range(1, 13))

    def near(self, places: Places, outlines: Geometries, refusals: Counter[str]) -> tuple[Couples, NDArray[np.int8]]:
        """Scenes that can serve each place, and the reason of each place if it finds no partner in time."""
        tiles = places.tiles()
        edges = (np.searchsorted(self._times, time) for time in (places.start_us, places.end_us))
        known = np.isin(tiles, self._tiles)
        first, last = (np.searchsorted(self._sorted_keys, self._keys(tiles, edge)) * known for edge in edges)
        place, at = _spread(first, last)
        scene = self._order[at]
        season, clear = self._in_season[scene], self._clear[scene]
        cloudy = season & ~clear
        place_inside, scene_inside = place[season & clear], scene[season & clear]
        inside = contained(self._table.footprint, scene_inside, outlines, place_inside)
        refusals += Counter({OUTSIDE_SEASON: int((~season).sum()), CLOUDY_SCENE: int(cloudy.sum())})
        refusals[NOT_CONTAINED] += int((~inside).sum())
        reason = np.full(len(places), REASONS.index(NO_S2_SCENE), dtype=np.int8)
        reason[place_inside[~inside]] = REASONS.index(NOT_CONTAINED)
        reason[place[cloudy]] = REASONS.index(CLOUDY_SCENE)
        reason[place_inside[inside]] = REASONS.index(NO_S1_SCENE)
        return (place_inside[inside], scene_inside[inside]), reason

    def _keys(self, tiles: NDArray[np.str_], time: Rows) -> Rows:
        keys: Rows = np.searchsorted(self._tiles, tiles) * (len(self._times) + 1) + time
        return keys


class _Radar:
    """Sentinel-1 scenes, in a tree of their footprints."""

    def __init__(self, table: SceneTable, rules: Rules) -> None:
        self._table, self.ranks = table, table.ranks()
        self._gap_us = _us(rules.max_gap)
        self.tree = shapely.STRtree(table.footprint)
        self._wanted = np.ones(len(table), bool) if rules.orbit == "any" else table.orbit == rules.orbit

    def near(self, places: Places, outlines: Geometries, refusals: Counter[str]) -> Couples:
        """Scenes that contain each place and may be near enough in time."""
        place, scene = _touching(self.tree, outlines)
        time = self._table.acquired_us[scene]
        timely = (time >= places.start_us[place] - self._gap_us) & (time < places.end_us[place] + self._gap_us)
        refusals[OTHER_ORBIT] += int((timely & ~self._wanted[scene]).sum())
        place, scene = place[timely & self._wanted[scene]], scene[timely & self._wanted[scene]]
        inside = contained(self._table.footprint, scene, outlines, place)
        refusals[NOT_CONTAINED] += int((~inside).sum())
        return place[inside], scene[inside]


def contained(footprints: Geometries, scene: Rows, outlines: Geometries, place: Rows) -> NDArray[np.bool_]:
    """Whether scenes contain places; prepares the footprints and lets go of what that takes."""
    used = footprints[np.unique(scene)]
    shapely.prepare(used)
    inside = contains(footprints[scene], outlines[place])
    shapely.destroy_prepared(used)
    return inside


def _touching(tree: shapely.STRtree, outlines: Geometries) -> Couples:
    """Rows of outlines and of footprints whose boxes meet, also where their longitudes are a turn apart."""
    if not len(tree.geometries) or not len(outlines):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    west, _, east, _ = shapely.bounds(tree.geometries).T
    middle = middles(outlines)
    rows = np.arange(len(outlines))
    found = [tree.query(outlines)]
    for turn, beyond in ((-1, middle >= 360 + west.min() - 1), (1, middle <= east.max() - 360 + 1)):
        near = rows[beyond]
        place, scene = tree.query(moved(outlines[near], np.full(len(near), float(turn))))
        found.append(np.stack([near[place], scene]))
    place, scene = np.concatenate(found, axis=1)
    return place, scene


def _spread(first: Rows, last: Rows) -> Couples:
    """Ranges of rows one after the other: the number of the range, and the row, of every member."""
    sizes = np.maximum(last - first, 0)
    which = np.repeat(np.arange(len(sizes)), sizes)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(sizes) - sizes - first, sizes)


def loaded(load: Load, rows: Rows) -> dict[int, Scene]:
    """Whole scenes by row, each of those used once."""
    used = np.unique(rows)
    return dict(zip(used.tolist(), load(used), strict=True))


def _us(span: dt.timedelta) -> int:
    return span // dt.timedelta(microseconds=1)
