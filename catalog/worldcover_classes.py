"""ESA WorldCover: the 11 classes of the only label that covers all land, at 10 m, for 2020 and 2021."""

from collections.abc import Mapping
from dataclasses import dataclass

from catalog.corine_classes import Colour


@dataclass(frozen=True, slots=True)
class WorldCoverClass:
    """One class of ESA WorldCover."""

    value: int
    """10..100: what the map and our `worldcover` array store."""
    name: str
    colour: Colour
    """Official red, green, blue."""


# Values, names and colours: `classification:classes` of the collection esa-worldcover of the Planetary Computer, which
# are those of the WorldCover product user manual, version 2.0, table 2.
WORLDCOVER: tuple[WorldCoverClass, ...] = (
    WorldCoverClass(10, "Tree cover", (0, 100, 0)),
    WorldCoverClass(20, "Shrubland", (255, 187, 34)),
    WorldCoverClass(30, "Grassland", (255, 255, 76)),
    WorldCoverClass(40, "Cropland", (240, 150, 255)),
    WorldCoverClass(50, "Built-up", (250, 0, 0)),
    WorldCoverClass(60, "Bare / sparse vegetation", (180, 180, 180)),
    WorldCoverClass(70, "Snow and ice", (240, 240, 240)),
    WorldCoverClass(80, "Permanent water bodies", (0, 100, 200)),
    WorldCoverClass(90, "Herbaceous wetland", (0, 150, 160)),
    WorldCoverClass(95, "Mangroves", (0, 207, 117)),
    WorldCoverClass(100, "Moss and lichen", (250, 230, 160)),
)
WORLDCOVER_BY_VALUE: Mapping[int, WorldCoverClass] = {cover.value: cover for cover in WORLDCOVER}
