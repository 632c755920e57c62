"""CORINE Land Cover: the 44 classes, their hierarchy, how common they are in Europe, and BigEarthNet's grouping."""

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
    cells: int
    """Cells of 100 m over Europe in the map of 2012."""

    @property
    def level1(self) -> int:
        """First digit: 1 artificial, 2 agricultural, 3 forest and semi-natural, 4 wetland, 5 water."""
        return self.code // 100

    @property
    def level2(self) -> int:
        """First two digits, such as 31 for forests."""
        return self.code // 10

    @property
    def prior(self) -> float:
        """Share of the mapped area of Europe, 0..1; the 44 add up to 1."""
        return self.cells / _ALL_CELLS


# Codes, English names and colours: EEA, legend of the CORINE Land Cover 2018 raster, version 20. Cells: attribute
# table of the EEA's 100 m raster of CLC2012 revised, version 20 (no table of 2018 counts is published with it).
_CORINE = (
    (111, "Continuous urban fabric", (230, 0, 77), 799359),
    (112, "Discontinuous urban fabric", (255, 0, 0), 16957487),
    (121, "Industrial or commercial units", (204, 77, 242), 3079722),
    (122, "Road and rail networks and associated land", (204, 0, 0), 352655),
    (123, "Port areas", (230, 204, 204), 119656),
    (124, "Airports", (230, 204, 230), 347919),
    (131, "Mineral extraction sites", (166, 0, 204), 779919),
    (132, "Dump sites", (166, 77, 0), 123021),
    (133, "Construction sites", (255, 77, 255), 208797),
    (141, "Green urban areas", (255, 166, 255), 329138),
    (142, "Sport and leisure facilities", (255, 230, 255), 1288734),
    (211, "Non-irrigated arable land", (255, 255, 168), 121439243),
    (212, "Permanently irrigated land", (255, 255, 0), 10910458),
    (213, "Rice fields", (230, 230, 0), 821123),
    (221, "Vineyards", (230, 128, 0), 4109057),
    (222, "Fruit trees and berry plantations", (242, 166, 77), 4281422),
    (223, "Olive groves", (230, 166, 0), 5208410),
    (231, "Pastures", (230, 230, 77), 43283877),
    (241, "Annual crops associated with permanent crops", (255, 230, 166), 559048),
    (242, "Complex cultivation patterns", (255, 230, 77), 24325793),
    (
        243,
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
        (230, 204, 77),
        27255524,
    ),
    (244, "Agro-forestry areas", (242, 204, 166), 3311009),
    (311, "Broad-leaved forest", (128, 255, 0), 58857024),
    (312, "Coniferous forest", (0, 166, 0), 82333314),
    (313, "Mixed forest", (77, 255, 0), 30126842),
    (321, "Natural grasslands", (204, 242, 77), 21505507),
    (322, "Moors and heathland", (166, 255, 128), 17492432),
    (323, "Sclerophyllous vegetation", (166, 230, 77), 10957404),
    (324, "Transitional woodland-shrub", (166, 242, 0), 29924027),
    (331, "Beaches, dunes, sands", (230, 230, 230), 766497),
    (332, "Bare rocks", (204, 204, 204), 8912987),
    (333, "Sparsely vegetated areas", (204, 255, 204), 23561566),
    (334, "Burnt areas", (0, 0, 0), 90147),
    (335, "Glaciers and perpetual snow", (166, 230, 204), 1582879),
    (411, "Inland marshes", (166, 166, 255), 1387743),
    (412, "Peat bogs", (77, 77, 255), 11606218),
    (421, "Salt marshes", (204, 204, 255), 587254),
    (422, "Salines", (230, 230, 255), 70918),
    (423, "Intertidal flats", (166, 166, 230), 1218351),
    (511, "Water courses", (0, 204, 242), 1355411),
    (512, "Water bodies", (128, 242, 230), 12914694),
    (521, "Coastal lagoons", (0, 255, 166), 652210),
    (522, "Estuaries", (166, 255, 230), 382199),
    (523, "Sea and ocean", (230, 242, 255), 147471421),
)
_ALL_CELLS = sum(cells for _, _, _, cells in _CORINE)
CORINE: tuple[LandCoverClass, ...] = tuple(LandCoverClass(i, *row) for i, row in enumerate(_CORINE, start=1))
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

# Sumbul et al. 2021 (BigEarthNet-MM, arXiv:2105.07921), nomenclature of 19 classes; it drops the codes not named here.
BIGEARTHNET_19: Mapping[str, frozenset[int]] = {
    "Urban fabric": frozenset({111, 112}),
    "Industrial or commercial units": frozenset({121}),
    "Arable land": frozenset({211, 212, 213}),
    "Permanent crops": frozenset({221, 222, 223, 241}),
    "Pastures": frozenset({231}),
    "Complex cultivation patterns": frozenset({242}),
    "Land principally occupied by agriculture, with significant areas of natural vegetation": frozenset({243}),
    "Agro-forestry areas": frozenset({244}),
    "Broad-leaved forest": frozenset({311}),
    "Coniferous forest": frozenset({312}),
    "Mixed forest": frozenset({313}),
    "Natural grassland and sparsely vegetated areas": frozenset({321, 333}),
    "Moors, heathland and sclerophyllous vegetation": frozenset({322, 323}),
    "Transitional woodland, shrub": frozenset({324}),
    "Beaches, dunes, sands": frozenset({331}),
    "Inland wetlands": frozenset({411, 412}),
    "Coastal wetlands": frozenset({421, 422}),
    "Inland waters": frozenset({511, 512}),
    "Marine waters": frozenset({521, 522, 523}),
}


def bigearthnet_group(code: int) -> str | None:
    """BigEarthNet's 19-class name of a CORINE code; None for a class that it drops."""
    return next((name for name, codes in BIGEARTHNET_19.items() if code in codes), None)
