"""Class tables of all labels: CORINE 2018, OpenStreetMap, ESA WorldCover, Sentinel-2 scene classification."""

from dataclasses import dataclass

from catalog.corine_classes import (
    BIGEARTHNET_19,
    CORINE,
    CORINE_BY_CODE,
    CORINE_BY_GRID_CODE,
    CORINE_LEVEL1,
    CORINE_LEVEL2,
    Colour,
    LandCoverClass,
    bigearthnet_group,
)
from catalog.errors import CorpusError
from catalog.osm_classes import OSM, OSM_BY_NAME, OsmClass, osm_bits
from catalog.worldcover_classes import WORLDCOVER, WORLDCOVER_BY_VALUE, WorldCoverClass

__all__ = [
    "BIGEARTHNET_19", "CORINE", "CORINE_BY_CODE", "CORINE_BY_GRID_CODE", "CORINE_LEVEL1", "CORINE_LEVEL2", "OSM",
    "OSM_BY_NAME", "SCL", "WORLDCOVER", "WORLDCOVER_BY_VALUE", "Colour", "LandCoverClass", "OsmClass", "SceneClass",
    "WorldCoverClass", "bigearthnet_group", "check_classes", "osm_bits",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class SceneClass:
    """One value of the Sentinel-2 scene classification (SCL)."""

    value: int
    name: str
    colour: Colour


# Values, names and colours: ESA, Sentinel-2 Level-2A algorithm overview, scene classification.
SCL: tuple[SceneClass, ...] = (
    SceneClass(0, "no data", (0, 0, 0)),
    SceneClass(1, "saturated or defective", (255, 0, 0)),
    SceneClass(2, "dark area", (47, 47, 47)),
    SceneClass(3, "cloud shadow", (100, 50, 0)),
    SceneClass(4, "vegetation", (0, 160, 0)),
    SceneClass(5, "not vegetated", (255, 230, 90)),
    SceneClass(6, "water", (0, 0, 255)),
    SceneClass(7, "unclassified", (128, 128, 128)),
    SceneClass(8, "cloud, medium probability", (192, 192, 192)),
    SceneClass(9, "cloud, high probability", (255, 255, 255)),
    SceneClass(10, "thin cirrus", (100, 200, 255)),
    SceneClass(11, "snow or ice", (255, 150, 255)),
)


def check_classes(names: tuple[str, ...]) -> tuple[str, ...]:
    """The same names: a CORINE code such as "131", or an OpenStreetMap class such as "solar_farm".

    Raises:
        CorpusError: one of them names no class.
    """
    known = {*map(str, CORINE_BY_CODE), *OSM_BY_NAME}
    if unknown := [name for name in names if name not in known]:
        raise CorpusError(
            f"there is no class {', '.join(map(repr, unknown))}; take codes of CORINE from 111 to 523, or names of "
            f"OpenStreetMap classes: {', '.join(OSM_BY_NAME)}"
        )
    return names
