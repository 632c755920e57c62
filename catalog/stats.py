"""Mergeable statistics: moments of every band over valid pixels, and how often every label class occurs.

Statistics of two sets of patches merge into those of their union (Chan, Golub and LeVeque 1983), so each shard is
read once, by any worker, and the corpus' statistics are the merge of its shards'.
"""

import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog import bands
from catalog.errors import CorpusError
from catalog.labels import CORINE_BY_GRID_CODE, OSM
from catalog.patch import Patch
from catalog.weights import WEIGHTS, known


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean, sum of squared deviations, minimum and maximum of a set of numbers."""

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0
    """Sum of squared deviations from the mean."""
    minimum: float = math.inf
    maximum: float = -math.inf

    @classmethod
    def of(cls, values: NDArray[Any], scale: float = 1.0) -> "Moments":
        """Moments of `values * scale`. Integers are summed exactly."""
        if values.size == 0:
            return cls()
        mean = float(values.sum(dtype=np.int64 if values.dtype.kind in "iu" else np.float64)) / values.size
        m2 = float(np.square(values - mean).sum())
        low, high = float(values.min()), float(values.max())
        return cls(int(values.size), mean * scale, m2 * scale**2, low * scale, high * scale)

    def merge(self, other: "Moments") -> "Moments":
        """Moments of both sets together."""
        if not self.count or not other.count:
            return self if self.count else other
        count, delta = self.count + other.count, other.mean - self.mean
        return Moments(
            count,
            self.mean + delta * other.count / count,
            self.m2 + other.m2 + delta**2 * self.count * other.count / count,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    @property
    def std(self) -> float:
        """Population standard deviation; NaN of nothing."""
        return math.sqrt(self.m2 / self.count) if self.count else math.nan


@dataclass(frozen=True, slots=True)
class BandStatistics:
    """What a set of patches holds: Sentinel-2 in reflectance, Sentinel-1 in dB, labels in pixels a class."""

    patches: int = 0
    bands: Mapping[str, Moments] = field(default_factory=dict)
    """By band name. A 60 m band counts its repeated 20 m pixels."""
    corine: Mapping[int, int] = field(default_factory=dict)
    """Pixels by CORINE code, such as 312; 0 is unknown."""
    osm: Mapping[str, int] = field(default_factory=dict)
    """Pixels by OpenStreetMap class; classes overlap."""
    worldcover: Mapping[int, int] = field(default_factory=dict)
    """Pixels by WorldCover class, such as 40; 0 is unknown."""

    @classmethod
    def of(cls, patch: Patch) -> "BandStatistics":
        """Statistics of one patch."""
        moments = {}
        for array, group in ((patch.s2_10m, bands.S2_10M), (patch.s2_20m, bands.S2_20M), (patch.s1, bands.S1)):
            for pixels, band in zip(array, group, strict=True):
                scale = bands.S2_SCALE if band.sensor == "sentinel-2" else bands.S1_SCALE_DB
                moments[band.name] = Moments.of(pixels[pixels != band.nodata], scale)
        return cls(1, moments, count_corine(patch), count_osm(patch), count_worldcover(patch))

    def merge(self, other: "BandStatistics") -> "BandStatistics":
        """Statistics of both sets together."""
        return BandStatistics(
            self.patches + other.patches,
            merge_moments(dict(self.bands), other.bands),
            _add(self.corine, other.corine),
            _add(self.osm, other.osm),
            _add(self.worldcover, other.worldcover),
        )

    def mean(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Means of these bands, in their order."""
        return np.array([self._moments(name).mean for name in names])

    def std(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Population standard deviations of these bands, in their order."""
        return np.array([self._moments(name).std for name in names])

    def _moments(self, name: str) -> Moments:
        moments = self.bands.get(name, Moments())
        if not moments.count:
            raise CorpusError(f"no valid pixel of {name} was counted; there are {', '.join(self.bands) or 'no bands'}")
        return moments

    def to_json(self) -> str:
        """Indented JSON; equal statistics give equal bytes and floats survive the round trip."""
        counted: dict[str, Mapping[Any, int]] = {"corine": known(self.corine), "osm": self.osm}
        counted["worldcover"] = known(self.worldcover)
        fields = {
            "patches": self.patches,
            "bands": {name: asdict(moments) for name, moments in self.bands.items() if moments.count},
            "corine": {str(code): pixels for code, pixels in sorted(self.corine.items())},
            "osm": dict(self.osm),
            "worldcover": {str(value): pixels for value, pixels in sorted(self.worldcover.items())},
            "class_weights": {
                name: {
                    method: {str(c): round(w, 6) for c, w in weigh(counts).items()} for method, weigh in WEIGHTS.items()
                }
                for name, counts in counted.items()
            },
        }
        return json.dumps(fields, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "BandStatistics":
        """Read what `to_json` wrote."""
        return cls.from_document(json.loads(text), "the text")

    @classmethod
    def from_document(cls, raw: Mapping[str, Any], where: str) -> "BandStatistics":
        """Read the JSON object of `to_json`.

        Raises:
            CorpusError: it is damaged.
        """
        try:
            moments = {name: Moments(**values) for name, values in raw["bands"].items()}
            by_number = ({int(code): n for code, n in raw.get(name, {}).items()} for name in ("corine", "worldcover"))
            corine, worldcover = by_number
            return cls(raw["patches"], moments, corine, raw["osm"], worldcover)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorpusError(
                f"{where} is damaged ({type(error).__name__}: {error}); publish the build again"
            ) from error


def merge_moments(found: dict[str, Moments], more: Mapping[str, Moments]) -> dict[str, Moments]:
    """Merge moments of bands into those that are found already, which are changed and given back."""
    for band, moments in more.items():
        before = found.get(band)
        found[band] = moments if before is None else before.merge(moments)
    return found


def merge_all(parts: Iterable[BandStatistics]) -> BandStatistics:
    """The merge of many statistics, from left to right."""
    return functools.reduce(BandStatistics.merge, parts, BandStatistics())


def count_corine(patch: Patch) -> dict[int, int]:
    """Pixels by CORINE code, classes that occur only; 0 is unknown. Empty without the label."""
    if "corine" not in patch.labels:
        return {}
    values, pixels = np.unique(patch.labels["corine"], return_counts=True)
    codes = [CORINE_BY_GRID_CODE[int(value)].code if value else 0 for value in values]
    return {code: int(n) for code, n in zip(codes, pixels, strict=True)}


def count_osm(patch: Patch) -> dict[str, int]:
    """Pixels by OpenStreetMap class, in bit order, classes that occur only. Empty without the label."""
    if "osm" not in patch.labels:
        return {}
    mask = patch.labels["osm"]
    counts = {osm.name: int(np.count_nonzero(mask & np.uint32(1 << osm.bit))) for osm in OSM}
    return {name: pixels for name, pixels in counts.items() if pixels}


def count_worldcover(patch: Patch) -> dict[int, int]:
    """Pixels by WorldCover class, classes that occur only; 0 is unknown. Empty without the label."""
    if "worldcover" not in patch.labels:
        return {}
    values, pixels = np.unique(patch.labels["worldcover"], return_counts=True)
    return {int(value): int(n) for value, n in zip(values, pixels, strict=True)}


def _add(left: Mapping[Any, int], right: Mapping[Any, int]) -> dict[Any, int]:
    found = dict(left)
    for name, pixels in right.items():
        found[name] = found.get(name, 0) + pixels
    return found
