"""A patch: co-located Sentinel-1 and Sentinel-2 pixels, and where each of them came from."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from catalog.grid import PatchGrid

OrbitState = Literal["ascending", "descending"]


@dataclass(frozen=True, slots=True)
class Scene:
    """One source image: a STAC item, reduced to what pairing and reading need."""

    item_id: str
    collection: str
    acquired: dt.datetime
    """UTC."""
    platform: str
    orbit_state: OrbitState | None
    relative_orbit: int | None
    epsg: int
    """UTM zone of the pixels, as the item states it; readers trust the file instead."""
    footprint: shapely.Polygon | shapely.MultiPolygon
    """Longitude and latitude, degrees."""
    hrefs: Mapping[str, str]
    """Unsigned asset hrefs by band name (and "SCL")."""
    cloud_cover: float | None = None
    """Percent of the scene; None for radar."""
    baseline: str | None = None
    """Sentinel-2 processing baseline, such as "05.10"."""
    tile: str | None = None
    """Sentinel-2 tile, such as "33UUU"."""
    item_href: str | None = None
    """Self link of the source item."""
    strip: str | None = None
    """What all processings of the same pixels have in common: tile, datatake and start of the data strip."""

    @property
    def sensor(self) -> str:
        """ "sentinel-2" where the scene has a tile, else "sentinel-1"."""
        return "sentinel-1" if self.tile is None else "sentinel-2"


@dataclass(frozen=True, slots=True)
class ScenePair:
    """The two scenes that a patch is read from."""

    grid: PatchGrid
    s1: Scene
    s2: Scene

    @property
    def gap(self) -> dt.timedelta:
        """Sentinel-1 time minus Sentinel-2 time: positive when the radar image is later."""
        return self.s1.acquired - self.s2.acquired

    @property
    def patch_id(self) -> str:
        """The cell's name and the day of the optical image: unique in a corpus of one image a cell a day."""
        return f"{self.grid.name}-{self.s2.acquired:%Y%m%d}"


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured on the pixels of one patch; shares are 0..1 of all its pixels."""

    s2_valid_share: float
    s1_valid_share: float
    cloud_share: float
    """SCL 8, 9, 10: cloud medium and high probability, thin cirrus."""
    shadow_share: float
    """SCL 3: cloud shadow."""
    snow_share: float
    """SCL 11: snow or ice."""
    boa_offset_applied: bool
    """True where the offset of baseline 04.00 and later was removed from the stored pixels."""
    s1_zone_changed: bool
    """True where the Sentinel-1 scene lies in another UTM zone and was resampled by nearest neighbour."""
    s1_shift_east_m: float | None = None
    """How far east of the optical edges the radar's lie, metres; None where too few edges agree to tell."""
    s1_shift_north_m: float | None = None
    s1_shift_peak: float | None = None
    """Height of the correlation's peak in its standard deviations: how clear the shift is."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything a reader of the corpus may ask about where a patch came from; stored with its pixels."""

    patch_id: str
    grid: PatchGrid
    s1: Mapping[str, Any]
    """item_id, collection, acquired, platform, orbit_state, relative_orbit, epsg, item_href, hrefs."""
    s2: Mapping[str, Any]
    """The same, and cloud_cover, baseline, tile."""
    quality: Quality
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Label sources and their versions."""

    @property
    def gap(self) -> dt.timedelta:
        """Sentinel-1 time minus Sentinel-2 time."""
        return parse_time(self.s1["acquired"]) - parse_time(self.s2["acquired"])

    def to_json(self) -> str:
        """One line of JSON with sorted keys: equal provenance gives equal bytes."""
        fields = {
            "patch_id": self.patch_id,
            "grid": _slots(self.grid),
            "s1": dict(self.s1),
            "s2": dict(self.s2),
            "quality": _slots(self.quality),
            "extra": dict(self.extra),
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Provenance":
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        return cls(
            raw["patch_id"], PatchGrid(**raw["grid"]), raw["s1"], raw["s2"], Quality(**raw["quality"]), raw["extra"]
        )


@dataclass(frozen=True, slots=True)
class Patch:
    """Pixels of one patch as stored, nothing resampled; axes `band y x`."""

    provenance: Provenance
    s2_10m: NDArray[np.uint16]
    """(4, side, side): B02 B03 B04 B08, reflectance x 10000, 0 is nodata."""
    s2_20m: NDArray[np.uint16]
    """(8, side/2, side/2): B05 B06 B07 B8A B11 B12 and B01 B09 repeated 3 x 3."""
    scl: NDArray[np.uint8]
    """(side/2, side/2): Sentinel-2 scene classification, 0 is nodata."""
    s1: NDArray[np.int16]
    """(2, side, side): VV VH, gamma0 in dB x 100, -32768 is nodata."""
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """"corine" (side, side) uint8 grid codes, 0 unknown; "osm" (side, side) uint32 bitmask, 0 unknown;
    "worldcover" (side, side) uint8 classes 10..100, 0 unknown."""

    @property
    def patch_id(self) -> str:
        """The id of the patch, its row's key in every table."""
        return self.provenance.patch_id


def describe_scene(scene: Scene) -> dict[str, Any]:
    """A scene as provenance keeps it: JSON types only, no footprint, hrefs unsigned."""
    kept: dict[str, Any] = {
        name: getattr(scene, name)
        for name in ("item_id", "collection", "platform", "orbit_state", "relative_orbit", "epsg", "item_href")
    }
    kept["acquired"] = format_time(scene.acquired)
    kept["hrefs"] = {name: href.split("?", 1)[0] for name, href in sorted(scene.hrefs.items())}
    if scene.tile is not None:
        kept |= {"cloud_cover": scene.cloud_cover, "baseline": scene.baseline, "tile": scene.tile}
    return kept


def format_time(time: dt.datetime) -> str:
    """RFC 3339 in UTC, as STAC wants it."""
    return time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> dt.datetime:
    """RFC 3339, or the Planetary Computer's variant with a blank instead of the T; UTC when no zone is given."""
    time = dt.datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _slots(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}
