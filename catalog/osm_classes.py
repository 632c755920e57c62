"""OpenStreetMap classes: which tags make them, how wide their lines are drawn, which one wins a pixel.

A bit of the `osm` array is one class; classes overlap. A pixel without a bit is unknown, not background.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from catalog.corine_classes import Colour

Kind = Literal["point", "line", "area"]
Theme = Literal["buildings", "transport", "water", "landcover", "landuse", "energy"]
NO_CLASS = 255  # in the output of `dominant`


@dataclass(frozen=True, slots=True)
class OsmClass:
    """One bit of the `osm` array, the OpenStreetMap tags that set it, and how its elements are drawn."""

    bit: int
    name: str
    theme: Theme
    colour: Colour
    tags: Mapping[str, frozenset[str]]
    """Key -> values; an empty set takes every value but "no". One match is enough."""
    kinds: tuple[Kind, ...] = ("area",)
    """Geometries that count; a closed road is a line, never the area that it encloses."""
    width_m: float = 10.0
    """Full width that lines, and diameter that points, are drawn with. At least a pixel, so that none vanishes."""
    min_area_m2: float = 0.0
    """Smaller areas are left out: what a 10 m pixel cannot show is noise in a label."""

    @property
    def value(self) -> int:
        """The class as a bitmask."""
        return 1 << self.bit


def _any(*values: str) -> frozenset[str]:
    return frozenset(values)


def _with_links(*roads: str) -> frozenset[str]:
    return frozenset(roads) | {f"{road}_link" for road in roads}


_PIXEL_M2, _QUARTER_HA = 100.0, 2500.0
_AREA_POINT: tuple[Kind, ...] = ("point", "area")
_LINE: tuple[Kind, ...] = ("line",)

# Tags: OpenStreetMap wiki, Map features. Widths: motorway 2 x 2 lanes with shoulders about 25 m, rural roads 6-8 m
# (RAL 2012), runways 45 m (ICAO Annex 14, code 4), corridor of a high-voltage line 20-40 m; none below one pixel.
# Bits never change meaning, and all 32 of the array are taken.
OSM: tuple[OsmClass, ...] = (
    OsmClass(0, "building", "buildings", (178, 34, 34), {"building": _any()}, min_area_m2=_PIXEL_M2 / 4),
    OsmClass(1, "major_road", "transport", (60, 60, 60), {"highway": _with_links("motorway", "trunk", "primary")},
             _LINE, 20.0),
    OsmClass(2, "minor_road", "transport", (110, 110, 110), {
        "highway": _with_links("secondary", "tertiary") | {"unclassified", "residential", "living_street", "road"}},
        _LINE),
    OsmClass(3, "service_road", "transport", (160, 160, 160), {"highway": _any("service", "track")}, _LINE),
    OsmClass(4, "rail", "transport", (30, 30, 30), {"railway": _any("rail", "light_rail", "narrow_gauge", "tram")},
             _LINE),
    OsmClass(5, "water", "water", (70, 130, 220), {
        "natural": _any("water"), "waterway": _any("riverbank", "dock"), "landuse": _any("reservoir", "basin")},
        min_area_m2=_PIXEL_M2),
    OsmClass(6, "waterway", "water", (110, 170, 240), {"waterway": _any("river", "canal")}, _LINE, 20.0),
    OsmClass(7, "wetland", "water", (130, 190, 190), {"natural": _any("wetland")}, min_area_m2=_PIXEL_M2),
    OsmClass(8, "forest", "landcover", (34, 120, 34), {"landuse": _any("forest"), "natural": _any("wood")},
             min_area_m2=_PIXEL_M2),
    OsmClass(9, "scrub", "landcover", (150, 170, 90), {"natural": _any("scrub", "heath")}, min_area_m2=_PIXEL_M2),
    OsmClass(10, "farmland", "landcover", (238, 214, 140), {"landuse": _any("farmland")}, min_area_m2=_PIXEL_M2),
    OsmClass(11, "orchard", "landcover", (200, 210, 80), {"landuse": _any("orchard")}, min_area_m2=_PIXEL_M2),
    OsmClass(12, "vineyard", "landcover", (190, 120, 160), {"landuse": _any("vineyard")}, min_area_m2=_PIXEL_M2),
    OsmClass(13, "meadow", "landcover", (170, 215, 110), {
        "landuse": _any("meadow", "grass"), "natural": _any("grassland")}, min_area_m2=_PIXEL_M2),
    OsmClass(14, "residential", "landuse", (224, 180, 180), {"landuse": _any("residential")}, min_area_m2=_PIXEL_M2),
    OsmClass(15, "commercial", "landuse", (240, 150, 200), {"landuse": _any("commercial", "retail")},
             min_area_m2=_PIXEL_M2),
    OsmClass(16, "industrial", "landuse", (170, 120, 200), {"landuse": _any("industrial")}, min_area_m2=_PIXEL_M2),
    OsmClass(17, "quarry", "landuse", (150, 110, 80), {"landuse": _any("quarry")}, min_area_m2=_PIXEL_M2),
    OsmClass(18, "landfill", "landuse", (120, 90, 60), {"landuse": _any("landfill")}, min_area_m2=_PIXEL_M2),
    OsmClass(19, "port", "landuse", (90, 110, 150), {
        "landuse": _any("harbour", "port"), "industrial": _any("port", "shipyard"), "leisure": _any("marina")},
        min_area_m2=_PIXEL_M2),
    OsmClass(20, "airfield", "transport", (190, 190, 220), {"aeroway": _any("aerodrome", "runway", "airstrip")},
             ("line", "area"), 45.0, _PIXEL_M2),
    OsmClass(21, "power_plant", "energy", (255, 200, 0), {"power": _any("plant")}, min_area_m2=_PIXEL_M2),
    OsmClass(22, "substation", "energy", (230, 170, 40), {"power": _any("substation")}, min_area_m2=_PIXEL_M2),
    OsmClass(23, "power_line", "energy", (255, 230, 100), {"power": _any("line")}, _LINE, 20.0),
    OsmClass(24, "wind_turbine", "energy", (0, 200, 200), {"generator:source": _any("wind")}, _AREA_POINT, 40.0),
    OsmClass(25, "solar_farm", "energy", (255, 140, 0), {
        "plant:source": _any("solar"), "generator:source": _any("solar")}, min_area_m2=_QUARTER_HA),
    OsmClass(26, "oil_and_gas", "energy", (70, 40, 40), {
        "man_made": _any("petroleum_well", "gasometer", "offshore_platform"),
        "industrial": _any("oil", "gas", "refinery", "oil_storage", "wellsite")}, _AREA_POINT, 40.0),
    OsmClass(27, "works", "landuse", (200, 90, 200), {"man_made": _any("works")}, min_area_m2=_PIXEL_M2),
    OsmClass(28, "mine", "landuse", (110, 60, 30), {
        "man_made": _any("mineshaft", "adit", "tailings_pond"), "industrial": _any("mine")}, _AREA_POINT, 40.0),
    OsmClass(29, "stadium", "landuse", (80, 200, 120), {"leisure": _any("stadium"), "building": _any("stadium")},
             min_area_m2=_PIXEL_M2),
    OsmClass(30, "cemetery", "landuse", (120, 150, 120), {
        "landuse": _any("cemetery"), "amenity": _any("grave_yard")}, min_area_m2=_PIXEL_M2),
    OsmClass(31, "park", "landuse", (100, 220, 150), {"leisure": _any("park")}, min_area_m2=_PIXEL_M2),
)  # fmt: skip
OSM_BY_NAME: Mapping[str, OsmClass] = {osm.name: osm for osm in OSM}
OSM_KEYS: tuple[str, ...] = tuple(sorted({key for osm in OSM for key in osm.tags}))

# Which class names a pixel that several share: things before the ground that they stand on, the rarer before the
# more common. Where one class must be had per pixel (pictures, softmax heads), the first of these that is there.
OSM_PRECEDENCE: tuple[str, ...] = (
    "wind_turbine", "oil_and_gas", "mine", "solar_farm", "substation", "stadium", "building", "rail", "major_road",
    "minor_road", "airfield", "power_plant", "works", "port", "landfill", "quarry", "waterway", "water", "wetland",
    "service_road", "power_line", "cemetery", "park", "vineyard", "orchard", "commercial", "industrial", "residential",
    "forest", "scrub", "meadow", "farmland",
)  # fmt: skip


def _tables() -> dict[Kind, dict[str, tuple[dict[str, int], int]]]:
    """Bits by kind, key and value, and those that any value but "no" sets: one look-up a tag, not one a class."""
    tables: dict[Kind, dict[str, tuple[dict[str, int], int]]] = {"point": {}, "line": {}, "area": {}}
    for kind, table in tables.items():
        for osm in (osm for osm in OSM if kind in osm.kinds):
            for key, values in osm.tags.items():
                by_value, every = table.get(key, ({}, 0))
                for value in values:
                    by_value[value] = by_value.get(value, 0) | osm.value
                table[key] = by_value, every | (0 if values else osm.value)
    return tables


_TABLES = _tables()


def osm_bits(tags: Mapping[str, str], kind: Kind) -> int:
    """The bitmask of every class that an element of this geometry with these tags belongs to; 0 for none."""
    table, bits = _TABLES[kind], 0
    for key, value in tags.items():
        if key in table:
            by_value, every = table[key]
            bits |= by_value.get(value, 0) | (every if value != "no" else 0)
    return bits


def names_of(bits: int) -> list[str]:
    """Names of the classes of a bitmask, in bit order."""
    return [osm.name for osm in OSM if bits & osm.value]


def dominant(mask: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The bit of the class that names each pixel by `OSM_PRECEDENCE`; NO_CLASS where none is known."""
    bits = np.full(mask.shape, NO_CLASS, np.uint8)
    for name in reversed(OSM_PRECEDENCE):
        bits[mask & np.uint32(OSM_BY_NAME[name].value) > 0] = OSM_BY_NAME[name].bit
    return bits
