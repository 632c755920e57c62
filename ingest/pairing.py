"""Which two scenes a patch is read from, and why every other one was refused.

Preference, from the first criterion to the last: a radar scene in the patch's own UTM zone, since any other must be
resampled; the shortest time between the two images; the clearer optical scene; the earlier one; then the ids. So
neither the order of scenes nor of places matters. `judge` decides one place and can explain itself; `ingest.match`
decides a million by the same rules.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely

from catalog.patch import Scene, ScenePair
from ingest.footprints import contains, continuous, middles, moved
from ingest.places import Place, Places

MAX_GAP = dt.timedelta(days=3)  # Kruitwagen 2020, section 3

PAIRED = "paired"
NO_S2_SCENE = "no_s2_scene"
NO_S1_SCENE = "no_s1_scene"
OUTSIDE_PERIOD = "outside_period"
OUTSIDE_SEASON = "outside_season"
NOT_CONTAINED = "not_contained"
OTHER_TILE = "other_tile"
OTHER_ORBIT = "other_orbit"
CLOUDY_SCENE = "cloudy_scene"
GAP_TOO_LONG = "gap_too_long"
NOT_NEAREST = "not_nearest"


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes two scenes a pair."""

    max_gap: dt.timedelta = MAX_GAP
    scene_cloud_max: float = 60.0
    """Largest `eo:cloud_cover` of a Sentinel-2 scene, percent. Patches have a limit of their own after the read."""
    orbit: Literal["any", "ascending", "descending"] = "any"
    """Direction of Sentinel-1's flight. Sentinel-2 always images flying south."""
    months: tuple[int, ...] = ()
    """Months (1 to 12) of the optical image; all when empty."""
    pairs: int = 1
    """Most pairs a place, on as many days of Sentinel-2."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a scene was not taken for a place."""

    item_id: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The pairs for a place, best first, or none; and a refusal for every other scene that was looked at."""

    place: Place
    pairs: tuple[ScenePair, ...]
    reason: str
    """"paired", or why there is no pair."""
    refusals: tuple[Refusal, ...]

    @property
    def pair(self) -> ScenePair | None:
        """The best pair."""
        return self.pairs[0] if self.pairs else None


def judge(place: Place, s2: Iterable[Scene], s1: Iterable[Scene], rules: Rules) -> Verdict:
    """Choose the best pairs for one place; both footprints must contain the whole patch."""
    refusals: list[Refusal] = []
    outline = Places.of([place]).inner_outlines()[0]
    optical = [scene for scene in s2 if _passes(refuse_s2(scene, place, outline, rules), refusals)]
    worst = _worst(refusals)
    radar = [scene for scene in s1 if _passes(refuse_s1(scene, outline, rules), refusals)]
    pairs = [ScenePair(place.grid, a, b) for b in optical for a in radar]
    near = sorted((pair for pair in pairs if abs(pair.gap) <= rules.max_gap), key=preference)
    if not near:
        refusals += [_no_partner(scene, radar, rules) for scene in optical]
        return Verdict(place, (), NO_S1_SCENE if optical else worst, tuple(refusals))
    best: dict[dt.date, ScenePair] = {}
    for pair in near:
        best.setdefault(pair.s2.acquired.date(), pair)
    chosen = tuple(best.values())[: rules.pairs]
    taken = {scene.item_id for pair in chosen for scene in (pair.s2, pair.s1)}
    refusals += [_not_nearest(scene, chosen[0]) for scene in (*optical, *radar) if scene.item_id not in taken]
    return Verdict(place, chosen, PAIRED, tuple(refusals))


def refuse_s2(scene: Scene, place: Place, outline: shapely.Polygon, rules: Rules) -> Refusal | None:
    """Why a Sentinel-2 scene cannot serve a place, or None."""
    if not place.start <= scene.acquired < place.end:
        span = f"{place.start:%Y-%m-%d} to {place.end:%Y-%m-%d}"
        return Refusal(scene.item_id, OUTSIDE_PERIOD, f"acquired {scene.acquired:%Y-%m-%d}, wanted {span}")
    if scene.tile != place.grid.tile:
        return Refusal(scene.item_id, OTHER_TILE, f"tile {scene.tile}, the patch belongs to {place.grid.tile}")
    if rules.months and scene.acquired.month not in rules.months:
        return Refusal(scene.item_id, OUTSIDE_SEASON, f"acquired {scene.acquired:%Y-%m-%d}, months {rules.months}")
    if scene.cloud_cover is not None and scene.cloud_cover > rules.scene_cloud_max:
        detail = f"cloud cover {scene.cloud_cover:.1f} % (limit {rules.scene_cloud_max:g} %)"
        return Refusal(scene.item_id, CLOUDY_SCENE, detail)
    return _refuse_outline(scene, outline)


def refuse_s1(scene: Scene, outline: shapely.Polygon, rules: Rules) -> Refusal | None:
    """Why a Sentinel-1 scene cannot serve a place, or None."""
    if rules.orbit not in ("any", scene.orbit_state):
        return Refusal(scene.item_id, OTHER_ORBIT, f"{scene.orbit_state}, wanted {rules.orbit}")
    return _refuse_outline(scene, outline)


def preference(pair: ScenePair) -> tuple[bool, dt.timedelta, float, dt.datetime, str, str]:
    """Sorts the pairs of one place, the best first: see the head of this module."""
    cloud = pair.s2.cloud_cover if pair.s2.cloud_cover is not None else 100.0
    other_zone = pair.s1.epsg != pair.grid.epsg
    return other_zone, abs(pair.gap), cloud, pair.s2.acquired, pair.s2.item_id, pair.s1.item_id


def _refuse_outline(scene: Scene, outline: shapely.Polygon) -> Refusal | None:
    footprint, patch = continuous(_array(scene.footprint)), _array(outline)
    if contains(footprint, patch)[0]:
        return None
    beside = moved(patch, np.round((middles(footprint) - middles(patch)) / 360))[0]
    inside = footprint[0].intersection(beside).area / beside.area
    return Refusal(scene.item_id, NOT_CONTAINED, f"holds {inside:.1%} of the patch")


def _array(shape: shapely.Geometry) -> np.ndarray:
    shapes = np.empty(1, dtype=object)
    shapes[0] = shape
    return shapes


def _passes(refusal: Refusal | None, refusals: list[Refusal]) -> bool:
    if refusal is not None:
        refusals.append(refusal)
    return refusal is None


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
    detail = f"{best.s2.item_id} with {best.s1.item_id} is preferred, {hours:.1f} h apart"
    return Refusal(scene.item_id, NOT_NEAREST, detail)


def _worst(refusals: Sequence[Refusal]) -> str:
    """The reason that came closest to a pair: a cloudy scene says more than a scene of another day."""
    reasons = {refusal.reason for refusal in refusals}
    return next((reason for reason in (CLOUDY_SCENE, NOT_CONTAINED) if reason in reasons), NO_S2_SCENE)
