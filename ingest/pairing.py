"""Which two scenes a patch is read from, and why every other one was refused."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from catalog.patch import Scene, ScenePair
from ingest.cells import MARGIN_DEG
from ingest.sample import Place

MAX_GAP = dt.timedelta(days=3)  # Kruitwagen 2020, section 3

NO_S2_SCENE = "no_s2_scene"
NO_S1_SCENE = "no_s1_scene"
OUTSIDE_PERIOD = "outside_period"
NOT_CONTAINED = "not_contained"
OTHER_TILE = "other_tile"
CLOUDY_SCENE = "cloudy_scene"
GAP_TOO_LONG = "gap_too_long"
NOT_NEAREST = "not_nearest"


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes two scenes a pair."""

    max_gap: dt.timedelta = MAX_GAP
    scene_cloud_max: float = 60.0
    """Largest `eo:cloud_cover` of a Sentinel-2 scene, percent. Patches have a limit of their own after the read."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a scene was not taken for a place."""

    item_id: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The pair for a place, or none; and a refusal for every other scene that was looked at."""

    place: Place
    pair: ScenePair | None
    reason: str
    """"paired", or why there is no pair."""
    refusals: tuple[Refusal, ...]


class Matcher:
    """Finds the scenes whose footprints contain a patch, for many patches at once.

    Args:
        s2: Sentinel-2 scenes.
        s1: Sentinel-1 scenes.
    """

    def __init__(self, s2: Sequence[Scene], s1: Sequence[Scene], rules: Rules) -> None:
        self._scenes = {"s2": list(s2), "s1": list(s1)}
        self._trees = {
            sensor: shapely.STRtree([scene.footprint for scene in scenes]) for sensor, scenes in self._scenes.items()
        }
        self.rules = rules

    def match(self, places: Sequence[Place]) -> list[Verdict]:
        """One verdict a place, in order."""
        footprints = np.array([place.grid.footprint() for place in places], dtype=object)
        s2 = self._near(footprints, "s2")
        s1 = self._near(footprints, "s1")
        return [judge(place, s2[i], s1[i], self.rules) for i, place in enumerate(places)]

    def _near(self, footprints: np.ndarray, sensor: str) -> list[list[Scene]]:
        near: list[list[Scene]] = [[] for _ in footprints]
        for i, j in self._trees[sensor].query(footprints, predicate="intersects").T.tolist():
            near[i].append(self._scenes[sensor][j])
        return near


def judge(place: Place, s2: Iterable[Scene], s1: Iterable[Scene], rules: Rules) -> Verdict:
    """Choose the pair with the shortest gap for one place.

    Both footprints must contain the whole patch. Ties go to a radar scene in the patch's own UTM zone, then to the
    clearer optical scene, then to the earlier one, then by id; so the order of the arguments does not matter.
    """
    refusals: list[Refusal] = []
    outline = place.grid.footprint()
    optical = [scene for scene in s2 if _passes(refuse_s2(scene, place, outline, rules), refusals)]
    radar = [scene for scene in s1 if _passes(_refuse_outline(scene, outline), refusals)]
    pairs = [ScenePair(place.grid, a, b) for b in optical for a in radar]
    near = [pair for pair in pairs if abs(pair.gap) <= rules.max_gap]
    if not near:
        refusals += [_no_partner(scene, radar, rules) for scene in optical]
        return Verdict(place, None, NO_S1_SCENE if optical else _worst(refusals), tuple(refusals))
    best = min(near, key=_preference)
    others = {id(scene): scene for pair in pairs for scene in (pair.s2, pair.s1)}
    refusals += [_not_nearest(scene, best) for scene in others.values() if scene not in (best.s2, best.s1)]
    return Verdict(place, best, "paired", tuple(refusals))


def refuse_s2(scene: Scene, place: Place, outline: shapely.Polygon, rules: Rules) -> Refusal | None:
    """Why a Sentinel-2 scene cannot serve a place, or None."""
    if not place.start <= scene.acquired < place.end:
        span = f"{place.start:%Y-%m-%d} to {place.end:%Y-%m-%d}"
        return Refusal(scene.item_id, OUTSIDE_PERIOD, f"acquired {scene.acquired:%Y-%m-%d}, wanted {span}")
    if scene.tile != place.grid.tile:
        return Refusal(scene.item_id, OTHER_TILE, f"tile {scene.tile}, the patch belongs to {place.grid.tile}")
    if scene.cloud_cover is not None and scene.cloud_cover > rules.scene_cloud_max:
        detail = f"cloud cover {scene.cloud_cover:.1f} % (limit {rules.scene_cloud_max:g} %)"
        return Refusal(scene.item_id, CLOUDY_SCENE, detail)
    return _refuse_outline(scene, outline)


def _refuse_outline(scene: Scene, outline: shapely.Polygon) -> Refusal | None:
    if scene.footprint.covers(outline.buffer(-MARGIN_DEG)):
        return None
    inside = scene.footprint.intersection(outline).area / outline.area
    return Refusal(scene.item_id, NOT_CONTAINED, f"holds {inside:.1%} of the patch")


def _passes(refusal: Refusal | None, refusals: list[Refusal]) -> bool:
    if refusal is not None:
        refusals.append(refusal)
    return refusal is None


def _preference(pair: ScenePair) -> tuple[dt.timedelta, bool, float, dt.datetime, str, str]:
    cloud = pair.s2.cloud_cover if pair.s2.cloud_cover is not None else 100.0
    other_zone = pair.s1.epsg != pair.grid.epsg
    return abs(pair.gap), other_zone, cloud, pair.s2.acquired, pair.s2.item_id, pair.s1.item_id


def _no_partner(scene: Scene, radar: Sequence[Scene], rules: Rules) -> Refusal:
    if not radar:
        return Refusal(scene.item_id, NO_S1_SCENE, "no Sentinel-1 scene contains the patch")
    nearest = min(radar, key=lambda other: (abs(other.acquired - scene.acquired), other.item_id))
    days = abs(nearest.acquired - scene.acquired) / dt.timedelta(days=1)
    limit = rules.max_gap / dt.timedelta(days=1)
    detail = f"nearest Sentinel-1 scene {nearest.item_id} is {days:.1f} days away (limit {limit:g})"
    return Refusal(scene.item_id, GAP_TOO_LONG, detail)


def _not_nearest(scene: Scene, best: ScenePair) -> Refusal:
    hours = abs(best.gap) / dt.timedelta(hours=1)
    detail = f"{best.s2.item_id} with {best.s1.item_id} has the shortest gap, {hours:.1f} h"
    return Refusal(scene.item_id, NOT_NEAREST, detail)


def _worst(refusals: Sequence[Refusal]) -> str:
    """The reason that came closest to a pair: a cloudy scene says more than a scene of another day."""
    reasons = {refusal.reason for refusal in refusals}
    return next((reason for reason in (CLOUDY_SCENE, NOT_CONTAINED) if reason in reasons), NO_S2_SCENE)
