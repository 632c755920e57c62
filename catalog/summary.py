"""What a set of items covers: where, when, how clear, which classes."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Summary:
    """Where, when and what a set of items covers; mergeable."""

    patches: int
    bbox: tuple[float, float, float, float]
    """West, south, east, north in degrees; a set on both sides of the antimeridian spans -180..180."""
    interval: tuple[str, str]
    platforms: tuple[str, ...]
    cloud_cover: tuple[float, float]
    """Least and greatest, percent."""
    gap_hours: tuple[float, float]
    corine_classes: tuple[int, ...]
    osm_classes: tuple[str, ...]

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> "Summary":
        """Summary of one item."""
        properties, (west, south, east, north) = item["properties"], item["bbox"]
        cloud, gap = properties["eo:cloud_cover"], properties["deepsentinel:gap_hours"]
        return cls(
            1,
            (west, south, east, north) if west <= east else (-180.0, south, 180.0, north),
            (properties["start_datetime"], properties["end_datetime"]),
            tuple(sorted({properties["platform"], properties["deepsentinel:s1_platform"]})),
            (cloud, cloud),
            (gap, gap),
            tuple(properties.get("deepsentinel:corine_classes", ())),
            tuple(sorted(properties.get("deepsentinel:osm_classes", ()))),
        )

    @classmethod
    def merge(cls, parts: Iterable["Summary"]) -> "Summary":
        """Summary of all parts together; needs at least one."""
        parts = list(parts)
        wests, souths, easts, norths = zip(*(part.bbox for part in parts), strict=True)
        return cls(
            sum(part.patches for part in parts),
            (min(wests), min(souths), max(easts), max(norths)),
            (min(part.interval[0] for part in parts), max(part.interval[1] for part in parts)),
            _union(part.platforms for part in parts),
            _range(part.cloud_cover for part in parts),
            _range(part.gap_hours for part in parts),
            _union(part.corine_classes for part in parts),
            _union(part.osm_classes for part in parts),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Summary":
        """Read what `to_dict` wrote."""
        fields: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in raw.items()}
        return cls(**fields)


def _union(parts: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    return tuple(sorted({value for part in parts for value in part}))


def _range(parts: Iterable[tuple[float, float]]) -> tuple[float, float]:
    lows, highs = zip(*parts, strict=True)
    return min(lows), max(highs)
