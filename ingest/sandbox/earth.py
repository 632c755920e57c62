"""The simulated ground: everything about a window that does not change from scene to scene.

A point's ground is a function of (seed, UTM zone, coordinates) alone, so two windows agree exactly where they
overlap, and every scene of a place looks at the same fields, houses and trees. UTM zones are separate worlds: the
seam between two is not simulated.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.sandbox.drawing import box_angle, boxes_share, lines_share, points_mask
from ingest.sandbox.landcover import land_cover
from ingest.sandbox.noise import F32, Frame, fbm
from ingest.sandbox.settlements import Works, works
from ingest.sandbox.terrain import climate, terrain
from ingest.sandbox.towns import Towns, town_density

_STRIP_ROWS = 384
_STEPS = 32.0  # departures are kept in steps of 1/32
_PIT = 61


@dataclass(frozen=True, slots=True)
class Ground:
    """The ground of one frame; every array has axes `y x`."""

    cover: NDArray[np.uint8]
    """`landcover.Cover`."""
    zone: NDArray[np.uint8]
    """`landcover.Zone`: CORINE grid codes before generalisation."""
    vigour: NDArray[np.int8]
    """Departure of greenness, x 32."""
    tone: NDArray[np.int8]
    """Departure of brightness, x 32."""
    texture: NDArray[np.int8]
    """Departure from pixel to pixel, x 32."""
    house: NDArray[np.uint8]
    """Share under small roofs, x 255."""
    hall: NDArray[np.uint8]
    """Share under large flat roofs, x 255."""
    road: NDArray[np.uint8]
    """Share under asphalt, x 255."""
    wall_angle: NDArray[np.uint8]
    """Direction of the walls: angle modulo 90 degrees as 0..254; 255 where no building is."""
    tower: NDArray[np.bool_]
    """Pixels with a pylon."""
    elevation_m: NDArray[np.int16]
    dzdx: NDArray[np.float16]
    dzdy: NDArray[np.float16]

    def window(self, rows: slice, columns: slice) -> "Ground":
        """A view of some rows and columns."""
        return Ground(*(getattr(self, field.name)[rows, columns] for field in fields(self)))

    def rows(self, rows: slice) -> "Ground":
        """A view of some rows."""
        return self.window(rows, slice(None))

    def save(self, folder: Path) -> None:
        """Write one .npy an array, for `load` to map into memory."""
        folder.mkdir(parents=True, exist_ok=True)
        for field in fields(self):
            np.save(folder / f"{field.name}.npy", getattr(self, field.name))

    @classmethod
    def load(cls, folder: Path) -> "Ground":
        """Map what `save` wrote."""
        return cls(*(np.load(folder / f"{field.name}.npy", mmap_mode="r") for field in fields(cls)))


def departure(stored: NDArray[np.int8]) -> F32:
    """A stored departure as a number of about unit variance."""
    return stored * np.float32(1 / _STEPS)


def ground(frame: Frame, seed: int, built: Works | None = None) -> Ground:
    """The ground of a frame, made strip by strip so that memory stays small."""
    built = works(frame, seed) if built is None else built
    parts = [_strip(strip, built, seed) for _, strip in frame.strips(_STRIP_ROWS)]
    return Ground(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Ground)))


def _strip(frame: Frame, built: Works, seed: int) -> Ground:
    weather = climate(frame, seed)
    land = terrain(frame, weather, seed)
    density = town_density(frame, built.towns, seed)
    industry = boxes_share(frame, built.estates)
    cover = land_cover(frame, weather, land, density, industry, _quarry(frame, built.quarries, seed), seed)
    dry = cover.cover != 0
    small = built.houses.length_m * built.houses.width_m < _LARGE_M2
    house = boxes_share(frame, built.houses, only=small) * dry
    hall = np.maximum(boxes_share(frame, built.halls), boxes_share(frame, built.houses, only=~small)) * dry
    angle = np.minimum(box_angle(frame, built.houses), box_angle(frame, built.halls))
    station = boxes_share(frame, built.substations) > 127
    return Ground(
        cover=np.where(station & dry, np.uint8(_STATION_COVER), cover.cover),
        zone=cover.zone,
        vigour=_store(cover.vigour),
        tone=_store(cover.tone),
        texture=_store(cover.texture),
        house=house,
        hall=np.minimum(hall, 255 - house),
        road=np.minimum(lines_share(frame, built.roads), 255 - np.minimum(hall, 255 - house) - house),
        wall_angle=np.where(dry, angle, np.uint8(255)),
        tower=points_mask(frame, built.towers) & dry,
        elevation_m=np.round(land.elevation_m).astype(np.int16),
        dzdx=land.dzdx.astype(np.float16),
        dzdy=land.dzdy.astype(np.float16),
    )


_LARGE_M2 = 330.0  # a town building larger than this has a flat roof
_STATION_COVER = 19  # gravel under the switchgear of a substation


def _quarry(frame: Frame, quarries: Towns, seed: int) -> NDArray[np.bool_]:
    return town_density(frame, quarries, seed) + 0.1 * fbm(frame, seed, _PIT, 350, 3) > 0.1


def _store(value: F32) -> NDArray[np.int8]:
    return np.clip(np.round(value * np.float32(_STEPS)), -127, 127).astype(np.int8)
