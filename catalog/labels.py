"""Class tables: CORINE Land Cover 2018, Sentinel-2 scene classification, OpenStreetMap."""

from collections.abc import Mapping
from dataclasses import dataclass

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class LandCoverClass:
    """One of the 44 classes of CORINE Land Cover, the third of three levels."""

    grid_code: int
    """1..44: what the 100 m raster and our `corine` array store."""
    code: int
    """111..523: the code people cite."""
    name: str
    colour: Colour
    """Official red, green, blue."""

    @property
    def level1(self) -> int:
        """First digit: 1 artificial, 2 agricultural, 3 forest and semi-natural, 4 wetland, 5 water."""
        return self.code // 100

    @property
    def level2(self) -> int:
        """First two digits, such as 31 for forests."""
        return self.code // 10


@dataclass(frozen=True, slots=True)
class SceneClass:
    """One value of the Sentinel-2 scene classification (SCL)."""

    value: int
    name: str
    colour: Colour


@dataclass(frozen=True, slots=True)
class OsmClass:
    """One bit of the `osm` array, and the OpenStreetMap tags that set it."""

    bit: int
    name: str
    colour: Colour
    tags: Mapping[str, frozenset[str]]
    """Key -> values; an empty set takes every value but "no". One match is enough."""

    def matches(self, tags: Mapping[str, str]) -> bool:
        """Whether an OpenStreetMap element with these tags belongs to the class."""
        return any(
            tags[key] in values if values else tags[key] != "no" for key, values in self.tags.items() if key in tags
        )


# Codes, English names and colours: EEA, legend of the CORINE Land Cover 2018 raster, version 20.
_CORINE = (
    (111, "Continuous urban fabric", (230, 0, 77)),
    (112, "Discontinuous urban fabric", (255, 0, 0)),
    (121, "Industrial or commercial units", (204, 77, 242)),
    (122, "Road and rail networks and associated land", (204, 0, 0)),
    (123, "Port areas", (230, 204, 204)),
    (124, "Airports", (230, 204, 230)),
    (131, "Mineral extraction sites", (166, 0, 204)),
    (132, "Dump sites", (166, 77, 0)),
    (133, "Construction sites", (255, 77, 255)),
    (141, "Green urban areas", (255, 166, 255)),
    (142, "Sport and leisure facilities", (255, 230, 255)),
    (211, "Non-irrigated arable land", (255, 255, 168)),
    (212, "Permanently irrigated land", (255, 255, 0)),
    (213, "Rice fields", (230, 230, 0)),
    (221, "Vineyards", (230, 128, 0)),
    (222, "Fruit trees and berry plantations", (242, 166, 77)),
    (223, "Olive groves", (230, 166, 0)),
    (231, "Pastures", (230, 230, 77)),
    (241, "Annual crops associated with permanent crops", (255, 230, 166)),
    (242, "Complex cultivation patterns", (255, 230, 77)),
    (243, "Land principally occupied by agriculture, with significant areas of natural vegetation", (230, 204, 77)),
    (244, "Agro-forestry areas", (242, 204, 166)),
    (311, "Broad-leaved forest", (128, 255, 0)),
    (312, "Coniferous forest", (0, 166, 0)),
    (313, "Mixed forest", (77, 255, 0)),
    (321, "Natural grasslands", (204, 242, 77)),
    (322, "Moors and heathland", (166, 255, 128)),
    (323, "Sclerophyllous vegetation", (166, 230, 77)),
    (324, "Transitional woodland-shrub", (166, 242, 0)),
    (331, "Beaches, dunes, sands", (230, 230, 230)),
    (332, "Bare rocks", (204, 204, 204)),
    (333, "Sparsely vegetated areas", (204, 255, 204)),
    (334, "Burnt areas", (0, 0, 0)),
    (335, "Glaciers and perpetual snow", (166, 230, 204)),
    (411, "Inland marshes", (166, 166, 255)),
    (412, "Peat bogs", (77, 77, 255)),
    (421, "Salt marshes", (204, 204, 255)),
    (422, "Salines", (230, 230, 255)),
    (423, "Intertidal flats", (166, 166, 230)),
    (511, "Water courses", (0, 204, 242)),
    (512, "Water bodies", (128, 242, 230)),
    (521, "Coastal lagoons", (0, 255, 166)),
    (522, "Estuaries", (166, 255, 230)),
    (523, "Sea and ocean", (230, 242, 255)),
)
CORINE: tuple[LandCoverClass, ...] = tuple(
    LandCoverClass(grid_code, code, name, colour) for grid_code, (code, name, colour) in enumerate(_CORINE, start=1)
)
CORINE_BY_GRID_CODE: Mapping[int, LandCoverClass] = {cover.grid_code: cover for cover in CORINE}
CORINE_BY_CODE: Mapping[int, LandCoverClass] = {cover.code: cover for cover in CORINE}
CORINE_LEVEL1: Mapping[int, str] = {
    1: "Artificial surfaces",
    2: "Agricultural areas",
    3: "Forest and semi natural areas",
    4: "Wetlands",
    5: "Water bodies",
}
CORINE_LEVEL2: Mapping[int, str] = {
    11: "Urban fabric",
    12: "Industrial, commercial and transport units",
    13: "Mine, dump and construction sites",
    14: "Artificial, non-agricultural vegetated areas",
    21: "Arable land",
    22: "Permanent crops",
    23: "Pastures",
    24: "Heterogeneous agricultural areas",
    31: "Forests",
    32: "Scrub and/or herbaceous vegetation associations",
    33: "Open spaces with little or no vegetation",
    41: "Inland wetlands",
    42: "Maritime wetlands",
    51: "Inland waters",
    52: "Marine waters",
}

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


def _any(*values: str) -> frozenset[str]:
    return frozenset(values)


_ROADS = ("motorway", "trunk", "primary", "secondary", "tertiary")
_ROAD_VALUES = _any(*_ROADS, *(f"{road}_link" for road in _ROADS), "unclassified", "residential", "service")

# Tags: OpenStreetMap wiki, Map features. Bits never change meaning; new classes take new bits.
OSM: tuple[OsmClass, ...] = (
    OsmClass(0, "building", (178, 34, 34), {"building": _any()}),
    OsmClass(1, "road", (90, 90, 90), {"highway": _ROAD_VALUES}),
    OsmClass(2, "rail", (30, 30, 30), {"railway": _any("rail", "light_rail", "narrow_gauge", "tram")}),
    OsmClass(
        3, "water", (70, 130, 220),
        {"natural": _any("water"), "waterway": _any("river", "canal", "dock"), "landuse": _any("reservoir", "basin")},
    ),
    OsmClass(4, "forest", (34, 120, 34), {"landuse": _any("forest"), "natural": _any("wood")}),
    OsmClass(5, "farmland", (238, 214, 140), {"landuse": _any("farmland", "orchard", "vineyard")}),
    OsmClass(6, "meadow", (170, 215, 110), {"landuse": _any("meadow", "grass"), "natural": _any("grassland")}),
    OsmClass(7, "residential", (224, 180, 180), {"landuse": _any("residential")}),
    OsmClass(8, "industrial", (170, 120, 200), {"landuse": _any("industrial")}),
    OsmClass(9, "commercial", (240, 150, 200), {"landuse": _any("commercial", "retail")}),
    OsmClass(10, "quarry", (150, 110, 80), {"landuse": _any("quarry")}),
    OsmClass(11, "power", (255, 200, 0), {"power": _any("plant", "substation", "line")}),
    OsmClass(12, "solar_farm", (255, 140, 0), {"plant:source": _any("solar")}),
)  # fmt: skip
OSM_BY_NAME: Mapping[str, OsmClass] = {osm.name: osm for osm in OSM}


def osm_bits(tags: Mapping[str, str]) -> int:
    """The bitmask of every class that an OpenStreetMap element with these tags belongs to; 0 for none."""
    return sum(1 << osm.bit for osm in OSM if osm.matches(tags))
