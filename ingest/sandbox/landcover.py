"""What covers the ground at 10 m, and the CORINE zone it belongs to.

Two layers come from one set of fields. The *cover* is what reflects: a wheat field, a conifer, bare soil. The *zone*
is the land use around it, as CORINE's classes define it: a pasture parcel inside an arable block has cover grass and
zone arable. So labels are as impure at 10 m as CORINE's are.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ingest.sandbox.noise import F32, U32, Frame, fbm, mix, mosaic, spline_noise, uniform
from ingest.sandbox.terrain import Climate, Terrain, temperature_c
from ingest.sandbox.towns import CORE, SETTLED

U8 = NDArray[np.uint8]
Mask = NDArray[np.bool_]
_BLOCKS, _WILD, _OPEN, _STAND, _CROWN, _AGRO, _SPECIAL, _WET, _CUT, _VIGOUR, _TONE, _FINE, _WHITE, _GREEN = range(
    41, 55
)
BLOCK_M = 720.0  # about 50 ha, twice CORINE's minimum mapping unit


class Cover(IntEnum):
    """What reflects at 10 m. Roofs and roads are not here: they are shares of a pixel."""

    WATER = 0
    WINTER_CROP = 1
    RAPESEED = 2
    SUMMER_CROP = 3
    FALLOW = 4
    GRASS = 5
    NATURAL_GRASS = 6
    HEATH = 7
    SCLEROPHYLL = 8
    BROADLEAF = 9
    CONIFER = 10
    YOUNG_WOOD = 11
    VINEYARD = 12
    ORCHARD = 13
    OLIVE = 14
    REED = 15
    BOG = 16
    ROCK = 17
    SPARSE = 18
    GRAVEL = 19
    GARDEN = 20
    PAVED = 21
    SOLAR = 22


class Zone(IntEnum):
    """CORINE grid codes (row numbers of the 44 classes, EEA CLC2018 legend) that the simulation knows."""

    CONTINUOUS_URBAN = 1
    DISCONTINUOUS_URBAN = 2
    INDUSTRIAL = 3
    QUARRY = 7
    URBAN_GREEN = 10
    ARABLE = 12
    VINEYARD = 15
    FRUIT = 16
    OLIVE = 17
    PASTURE = 18
    COMPLEX = 20
    AGRICULTURE_AND_NATURE = 21
    BROADLEAF = 23
    CONIFER = 24
    MIXED = 25
    NATURAL_GRASS = 26
    HEATH = 27
    SCLEROPHYLL = 28
    TRANSITIONAL = 29
    ROCK = 31
    SPARSE = 32
    MARSH = 35
    BOG = 36
    WATER_COURSE = 40
    WATER_BODY = 41


PLANTED = (Cover.WINTER_CROP, Cover.RAPESEED, Cover.SUMMER_CROP, Cover.FALLOW, Cover.GRASS)
"""Covers that vary from parcel to parcel rather than smoothly."""


@dataclass(frozen=True, slots=True)
class LandCover:
    """Covers of one frame and how each pixel departs from its cover's mean."""

    cover: U8
    zone: U8
    vigour: F32
    """Departure of greenness: unit variance, one value a parcel on farmland, smooth elsewhere."""
    tone: F32
    """Departure of brightness, mostly the soil's: unit variance."""
    texture: F32
    """Pixel-to-pixel departure that does not change with time: unit variance."""


@dataclass(frozen=True, slots=True)
class _Parcels:
    block: U32
    parcel: U32
    block_u: F32
    parcel_u: F32
    edge_m: F32
    """Distance to the block's border."""


def land_cover(
    frame: Frame, weather: Climate, ground: Terrain, density: F32, industry: U8, quarry: Mask, seed: int
) -> LandCover:
    """Decide cover and zone of every pixel; later steps paint over earlier ones.

    Args:
        density: how built-up, as `settlements.density_at`.
        industry: share of each pixel inside an industrial estate, x 255.
        quarry: pixels of quarries.
    """
    parcels = _parcels(frame, seed)
    warm = temperature_c(weather, ground.elevation_m)
    slope = np.hypot(ground.dzdx, ground.dzdy)
    cover, zone = _farmland(frame, weather, warm, slope, density, parcels, seed)
    _wildland(frame, weather, warm, slope, ground, parcels, cover, zone, seed)
    _wetland(frame, weather, warm, slope, ground, cover, zone, seed)
    _built(frame, density, industry > 127, quarry, parcels, cover, zone, seed)
    water = ground.river | ground.lake
    cover[water] = Cover.WATER
    zone[water] = np.where(ground.lake[water], Zone.WATER_BODY, Zone.WATER_COURSE)
    return LandCover(cover, zone, *_departures(frame, weather, cover, parcels, seed))


def _parcels(frame: Frame, seed: int) -> _Parcels:
    """Blocks of about 50 ha, each cut into strips of its own direction and size."""
    blocks = mosaic(frame, seed, _BLOCKS, BLOCK_M)
    signed = blocks.block.astype(np.int64)
    angle = uniform(mix(signed, 1)) * np.float32(np.pi / 2)
    cos, sin = np.cos(angle), np.sin(angle)
    small = np.float32(0.7) + np.float32(0.9) * uniform(mix(signed, 2)) ** 2
    along = np.floor((blocks.dx_m * cos + blocks.dy_m * sin) / (190 * small)).astype(np.int64)
    across = np.floor((blocks.dy_m * cos - blocks.dx_m * sin) / (95 * small)).astype(np.int64)
    parcel = mix(signed, along, across)
    return _Parcels(
        blocks.block, parcel, uniform(mix(signed, 3)), uniform(mix(parcel.astype(np.int64), 3)), blocks.edge_m
    )


def _logistic(value: F32) -> F32:
    return (1 / (1 + np.exp(-value))).astype(np.float32)


def _farmland(
    frame: Frame, weather: Climate, warm: F32, slope: F32, density: F32, parcels: _Parcels, seed: int
) -> tuple[U8, U8]:
    agro = fbm(frame, seed, _AGRO, 4_500, 3)
    grassy = _logistic(5 * (weather.rain - 0.55) + 1.0 * agro + 14 * (slope - 0.06) + (8.5 - warm) / 3)
    special = fbm(frame, seed, _SPECIAL, 6_000, 3)
    zone = np.where(parcels.block_u < grassy, Zone.PASTURE, Zone.ARABLE).astype(np.uint8)
    village_rim = (density > -0.9) & (density <= SETTLED)
    zone[village_rim & (parcels.block_u < 0.55)] = Zone.COMPLEX
    zone[(special > 0.9) & (warm > 9) & (slope > 0.035)] = Zone.VINEYARD
    zone[(special < -1.5) & (warm > 7.5) & (parcels.block_u > 0.4)] = Zone.FRUIT
    zone[(special > 0.5) & (warm > 14.5) & (parcels.block_u > 0.3)] = Zone.OLIVE
    return _crops(zone, grassy, parcels), zone


# Shares of covers among the parcels of a zone: typical European mixtures, by order of Eurostat's crop statistics
# (apro_cpsh1, EU: cereals about half of arable land, green maize and roots a quarter, oilseeds a tenth).
_MIXTURES: dict[Zone, tuple[tuple[Cover, float], ...]] = {
    Zone.ARABLE: (
        (Cover.WINTER_CROP, 0.46), (Cover.SUMMER_CROP, 0.25), (Cover.RAPESEED, 0.10), (Cover.GRASS, 0.09),
        (Cover.FALLOW, 0.05), (Cover.BROADLEAF, 0.03), (Cover.CONIFER, 0.02),
    ),
    Zone.PASTURE: (
        (Cover.GRASS, 0.83), (Cover.SUMMER_CROP, 0.06), (Cover.WINTER_CROP, 0.04), (Cover.BROADLEAF, 0.05),
        (Cover.NATURAL_GRASS, 0.02),
    ),
    Zone.COMPLEX: (
        (Cover.WINTER_CROP, 0.24), (Cover.SUMMER_CROP, 0.17), (Cover.GRASS, 0.28), (Cover.ORCHARD, 0.10),
        (Cover.GARDEN, 0.09), (Cover.BROADLEAF, 0.06), (Cover.FALLOW, 0.06),
    ),
    Zone.VINEYARD: (
        (Cover.VINEYARD, 0.78), (Cover.GRASS, 0.08), (Cover.FALLOW, 0.06), (Cover.BROADLEAF, 0.04),
        (Cover.ORCHARD, 0.04),
    ),
    Zone.FRUIT: ((Cover.ORCHARD, 0.76), (Cover.GRASS, 0.12), (Cover.WINTER_CROP, 0.07), (Cover.FALLOW, 0.05)),
    Zone.OLIVE: ((Cover.OLIVE, 0.82), (Cover.FALLOW, 0.08), (Cover.GRASS, 0.06), (Cover.SCLEROPHYLL, 0.04)),
    Zone.AGRICULTURE_AND_NATURE: (
        (Cover.WINTER_CROP, 0.18), (Cover.GRASS, 0.28), (Cover.BROADLEAF, 0.22), (Cover.NATURAL_GRASS, 0.10),
        (Cover.YOUNG_WOOD, 0.09), (Cover.SUMMER_CROP, 0.08), (Cover.CONIFER, 0.05),
    ),
}  # fmt: skip
_SOLAR_SHARE = 0.004  # of arable parcels


def _crops(zone: U8, grassy: F32, parcels: _Parcels) -> U8:
    """Draw the cover of each parcel from its zone's mixture, and add hedges in wet country and farm tracks."""
    cover = np.zeros(zone.shape, np.uint8)
    for member in _MIXTURES:
        inside = zone == member
        cover[inside] = _draw_cover(member, parcels.parcel_u[inside])
    cover[(zone == Zone.ARABLE) & (parcels.parcel_u > 1 - _SOLAR_SHARE)] = Cover.SOLAR
    hedged = (uniform(mix(parcels.block.astype(np.int64), 5)) < 0.75 * grassy) & (parcels.edge_m < 7)
    cover[hedged & (parcels.edge_m > 2)] = Cover.BROADLEAF
    tracked = uniform(mix(parcels.block.astype(np.int64), 6)) < 0.45
    cover[tracked & ~hedged & (parcels.edge_m < 2.5)] = Cover.GRAVEL
    return cover


def _draw_cover(zone: Zone, draw: F32) -> U8:
    covers, shares = zip(*_MIXTURES[zone], strict=True)
    steps = np.cumsum(np.asarray(shares, np.float32))
    return np.asarray(covers, np.uint8)[np.searchsorted(steps[:-1], draw, side="right")]


def _wildland(
    frame: Frame,
    weather: Climate,
    warm: F32,
    slope: F32,
    ground: Terrain,
    parcels: _Parcels,
    cover: U8,
    zone: U8,
    seed: int,
) -> None:
    """Forest and open nature, where the land is steep, high, empty or simply so."""
    wild = fbm(frame, seed, _WILD, 7_000, 7, 0.56)
    wild += 6 * np.clip(slope - 0.08, -0.04, 0.25) + np.clip((ground.elevation_m - 500) / 500, 0, 2)
    wild += 1.1 * (0.55 - weather.people)
    edge = (wild > 0.12) & (wild <= 0.42)
    zone[edge] = Zone.AGRICULTURE_AND_NATURE
    cover[edge] = _draw_cover(Zone.AGRICULTURE_AND_NATURE, parcels.parcel_u[edge])
    forest = wild > 0.42
    _forest(frame, warm, parcels, forest, cover, zone, seed)
    gap = fbm(frame, seed, _OPEN, 4_200, 6, 0.6)
    bare_share = _logistic((-0.5 - warm) * 1.5 + gap)
    open_land = forest & (gap > 0.95 + 0.5 * (weather.rain - 0.5) - np.clip(3.5 - warm, 0, 4))
    _open_nature(warm, weather, gap, open_land, bare_share, parcels, cover, zone)


def _forest(frame: Frame, warm: F32, parcels: _Parcels, forest: Mask, cover: U8, zone: U8, seed: int) -> None:
    stand = fbm(frame, seed, _STAND, 1_700, 5, 0.55)
    conifer_share = _logistic(0.75 * (8.0 - warm) + 1.5 * stand)
    crown = _logistic(np.float32(1.7) * spline_noise(frame, seed, _CROWN, 45))
    is_conifer = crown < conifer_share
    kind = np.select([conifer_share > 0.75, conifer_share < 0.25], [Zone.CONIFER, Zone.BROADLEAF], Zone.MIXED)
    cover[forest] = np.where(is_conifer, Cover.CONIFER, Cover.BROADLEAF)[forest]
    zone[forest] = kind[forest]
    cut = fbm(frame, seed, _CUT, 2_400, 5, 0.6)
    young = forest & ((cut > 1.45) | (parcels.parcel_u < 0.03))
    cover[young] = np.where(crown < 0.72, Cover.YOUNG_WOOD, Cover.NATURAL_GRASS)[young]
    zone[forest & (cut > 1.45)] = Zone.TRANSITIONAL


def _open_nature(
    warm: F32, weather: Climate, gap: F32, where: Mask, bare_share: F32, parcels: _Parcels, cover: U8, zone: U8
) -> None:
    dry = (warm > 12.5) & (weather.rain < 0.55)
    moor = (warm < 9.5) & (parcels.block_u < weather.rain)
    kinds = (
        (bare_share > 0.7, Zone.ROCK),
        (bare_share > 0.35, Zone.SPARSE),
        (dry, Zone.SCLEROPHYLL),
        (moor, Zone.HEATH),
    )
    chosen = np.select([mask for mask, _ in kinds], [kind for _, kind in kinds], Zone.NATURAL_GRASS)
    zone[where] = chosen[where]
    reflects = {
        Zone.ROCK: Cover.ROCK, Zone.SPARSE: Cover.SPARSE, Zone.SCLEROPHYLL: Cover.SCLEROPHYLL, Zone.HEATH: Cover.HEATH,
        Zone.NATURAL_GRASS: Cover.NATURAL_GRASS,
    }  # fmt: skip
    for kind, member in reflects.items():
        cover[where & (chosen == kind)] = member
    patchy = where & (parcels.parcel_u < 0.16) & (bare_share < 0.35)
    cover[patchy] = np.where(parcels.parcel_u < 0.08, Cover.YOUNG_WOOD, Cover.NATURAL_GRASS)[patchy]


def _wetland(
    frame: Frame, weather: Climate, warm: F32, slope: F32, ground: Terrain, cover: U8, zone: U8, seed: int
) -> None:
    wet = fbm(frame, seed, _WET, 2_600, 6, 0.58)
    marsh = (wet - ground.shore_m / 420 + weather.rain > 0.65) & (slope < 0.05)
    bog = (wet > 2.3 - 1.1 * weather.rain) & (slope < 0.06) & (warm < 8.5)
    for where, member, kind in ((marsh, Cover.REED, Zone.MARSH), (bog, Cover.BOG, Zone.BOG)):
        cover[where] = member
        zone[where] = kind


def _built(
    frame: Frame, density: F32, industry: Mask, quarry: Mask, parcels: _Parcels, cover: U8, zone: U8, seed: int
) -> None:
    fine = spline_noise(frame, seed, _GREEN, 60)
    cover[quarry], zone[quarry] = Cover.GRAVEL, Zone.QUARRY
    yard = np.select([fine > 0.75, fine > -0.5], [Cover.GRASS, Cover.PAVED], Cover.GRAVEL)
    cover[industry], zone[industry] = yard[industry], Zone.INDUSTRIAL
    settled, core = density > SETTLED, density > CORE
    lawn = np.select([fine > 1.0, fine < -1.3], [Cover.BROADLEAF, Cover.GRASS], Cover.GARDEN)
    cover[settled] = lawn[settled]
    cover[core & (fine < 0.9)] = Cover.PAVED
    zone[settled] = np.where(core[settled], Zone.CONTINUOUS_URBAN, Zone.DISCONTINUOUS_URBAN)
    park = (density > SETTLED + 0.12) & (parcels.block_u < 0.07)
    cover[park] = np.where(fine > 0.35, Cover.BROADLEAF, Cover.GRASS)[park]
    zone[park] = Zone.URBAN_GREEN


def _departures(frame: Frame, weather: Climate, cover: U8, parcels: _Parcels, seed: int) -> tuple[F32, F32, F32]:
    """Vigour, tone and texture of every pixel, each of about unit variance."""
    signed = parcels.parcel.astype(np.int64)
    planted = np.isin(cover, PLANTED)
    smooth = fbm(frame, seed, _VIGOUR, 800, 4, 0.6)
    vigour = np.where(planted, np.float32(0.85) * gaussian(mix(signed, 7)) + np.float32(0.5) * smooth, smooth)
    soil = fbm(frame, seed, _TONE, 2_200, 5, 0.6)
    tone = 1.6 * (weather.soil - 0.5) + 0.6 * soil + np.where(planted, 0.45 * gaussian(mix(signed, 8)), 0)
    columns = np.floor(frame.x_m / 10).astype(np.int64)
    white = gaussian(mix(seed, _WHITE, frame.epsg, np.floor(frame.y_m / 10).astype(np.int64)[:, None], columns))
    texture = np.float32(0.8) * white + np.float32(0.6) * spline_noise(frame, seed, _FINE, 28)
    return vigour.astype(np.float32), tone.astype(np.float32), texture


def gaussian(hashed: U32) -> F32:
    """Nearly normal numbers from hashes: the sum of four bytes, unit variance (Irwin and Hall)."""
    total = np.zeros(hashed.shape, np.int16)
    for shift in (0, 8, 16, 24):
        total += ((hashed >> np.uint32(shift)) & np.uint32(255)).astype(np.int16)
    return (total - np.float32(510)) / np.float32(np.sqrt(4 * (256**2 - 1) / 12))
