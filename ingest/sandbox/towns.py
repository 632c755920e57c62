"""Where people live: towns and villages on hashed lattices, and how built-up a place is.

A town has the same place, size and direction whichever window asks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.sandbox.noise import F32, Frame, fbm, fbm_at, mix, uniform
from ingest.sandbox.terrain import people_at

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
REACH_M = 16_000.0  # a road is at most 14.5 km long, and what stands between its ends is nearer still
_TOWN_M, _VILLAGE_M, _QUARRY_M = 10_500.0, 3_100.0, 11_000.0  # lattice spacings
_TOWN, _VILLAGE, _QUARRY, _FRINGE = 31, 32, 33, 34
_FRINGE_SCALE_M, _FRINGE_OCTAVES = 900.0, 3
_FRINGE_DEPTH = np.float32(0.2)  # how far noise pushes a town's outline, in radii
SETTLED = 0.22
"""Density above which land is built on."""
CORE = 0.8
"""Density above which a town is continuous urban fabric."""


@dataclass(frozen=True, slots=True)
class Towns:
    """Discs of settlement; a big town is several, each with its own street grid."""

    x_m: F64
    y_m: F64
    radius_m: F64
    angle_rad: F64
    name: I64
    """Hash that names the disc."""

    def __len__(self) -> int:
        return len(self.x_m)

    def select(self, keep: NDArray[np.bool_]) -> "Towns":
        """The towns where `keep` is true."""
        return Towns(self.x_m[keep], self.y_m[keep], self.radius_m[keep], self.angle_rad[keep], self.name[keep])


def town_centres(frame: Frame, seed: int) -> Towns:
    """Towns of 450 to 2,600 m radius, more of them where more people live."""
    _, _, x_m, y_m, name = lattice(frame, _TOWN_M, seed, _TOWN)
    radius = np.clip(np.exp(6.75 + 0.45 * _normal(name, 3)), 450, 2600)
    towns = Towns(x_m, y_m, radius, draw(name, 4) * np.pi / 2, name)
    return towns.select(draw(name, 5) < 0.25 + 0.85 * people_at(frame.epsg, x_m, y_m, seed))


def villages(frame: Frame, seed: int, centres: Towns) -> Towns:
    """Villages of 130 to 390 m radius, outside the towns."""
    _, _, x_m, y_m, name = lattice(frame, _VILLAGE_M, seed, _VILLAGE)
    villages = Towns(x_m, y_m, 130 + 260 * draw(name, 3) ** 2, draw(name, 4) * np.pi / 2, name)
    keep = draw(name, 5) < 0.08 + 0.62 * people_at(frame.epsg, x_m, y_m, seed)
    for index in range(len(centres)):
        apart = np.hypot(x_m - centres.x_m[index], y_m - centres.y_m[index])
        keep &= apart > 1.7 * centres.radius_m[index] + 400
    return villages.select(keep)


def districts(centres: Towns) -> Towns:
    """Each centre and up to three districts around it."""
    parts = [centres]
    for number in range(1, 4):
        name = mix(centres.name, 50 + number).astype(np.int64)
        away, turn = centres.radius_m * (0.75 + 0.35 * draw(name, 1)), 2 * np.pi * draw(name, 2)
        part = Towns(
            centres.x_m + away * np.cos(turn),
            centres.y_m + away * np.sin(turn),
            centres.radius_m * (0.45 + 0.25 * draw(name, 3)),
            draw(name, 4) * np.pi / 2,
            name,
        )
        parts.append(part.select((centres.radius_m > 700) & (draw(name, 5) < 0.65)))
    return join(*parts)


def quarries(frame: Frame, seed: int) -> Towns:
    """Discs in which stone is dug."""
    _, _, x_m, y_m, name = lattice(frame, _QUARRY_M, seed, _QUARRY)
    discs = Towns(x_m, y_m, 150 + 330 * draw(name, 3), np.zeros(len(name)), name)
    return discs.select(draw(name, 4) < 0.4)


def density_at(epsg: int, x_m: F64, y_m: F64, towns: Towns, seed: int) -> tuple[F64, I64]:
    """How built-up single points are (about 1 in a centre, below 0 outside) and the town that makes them so."""
    best, owner = np.full(np.shape(x_m), -np.inf), np.full(np.shape(x_m), -1, np.int64)
    for index in range(len(towns)):
        distance = np.hypot(x_m - towns.x_m[index], y_m - towns.y_m[index])
        value = 1 - distance / towns.radius_m[index]
        owner = np.where(value > best, index, owner)
        best = np.maximum(best, value)
    return best + _FRINGE_DEPTH * fbm_at(epsg, x_m, y_m, seed, _FRINGE, _FRINGE_SCALE_M, _FRINGE_OCTAVES), owner


def town_density(frame: Frame, towns: Towns, seed: int) -> F32:
    """How built-up each pixel is: about 1 in a town's centre, 0 near its rim, below outside."""
    best = np.full(frame.shape, -2, np.float32)
    x_m, y_m = frame.x_m, frame.y_m
    for x, y, radius in zip(towns.x_m, towns.y_m, towns.radius_m, strict=True):
        columns = np.flatnonzero(np.abs(x_m - x) < 2.5 * radius)
        rows = np.flatnonzero(np.abs(y_m - y) < 2.5 * radius)
        if len(columns) and len(rows):
            part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            distance = np.hypot((x_m[part[1]] - x)[None, :], (y_m[part[0]] - y)[:, None])
            best[part] = np.maximum(best[part], (1 - distance / radius).astype(np.float32))
    return best + _FRINGE_DEPTH * fbm(frame, seed, _FRINGE, _FRINGE_SCALE_M, _FRINGE_OCTAVES)


def join(*parts: Towns) -> Towns:
    """Several sets of towns as one."""
    return Towns(*(np.concatenate([getattr(part, field) for part in parts]) for field in Towns.__slots__))


def rivals(towns: Towns, index: int) -> Towns:
    """A town (first) and those whose discs touch its own."""
    apart = np.hypot(towns.x_m - towns.x_m[index], towns.y_m - towns.y_m[index])
    touching = apart < 1.5 * (towns.radius_m + towns.radius_m[index])
    touching[index] = False
    mine = np.arange(len(towns)) == index
    return join(towns.select(mine), towns.select(touching))


def lattice(frame: Frame, spacing_m: float, seed: int, channel: int) -> tuple[I64, I64, F64, F64, I64]:
    """Jittered sites within reach of a frame: lattice column and row, x, y, name."""
    west, south, east, north = frame.bounds_m
    columns = np.arange((west - REACH_M) // spacing_m, (east + REACH_M) // spacing_m + 1).astype(np.int64)
    rows = np.arange((south - REACH_M) // spacing_m, (north + REACH_M) // spacing_m + 1).astype(np.int64)
    column, row = (grid.ravel() for grid in np.meshgrid(columns, rows))
    name = mix(seed, channel, frame.epsg, row, column).astype(np.int64)
    x_m = (column + 0.15 + 0.7 * draw(name, 1)) * spacing_m
    y_m = (row + 0.15 + 0.7 * draw(name, 2)) * spacing_m
    return column, row, x_m, y_m, name


def near(frame: Frame, x_m: F64, y_m: F64, margin_m: float) -> NDArray[np.bool_]:
    """Which points lie inside a frame or at most a margin outside."""
    west, south, east, north = frame.bounds_m
    inside = (x_m > west - margin_m) & (x_m < east + margin_m) & (y_m > south - margin_m) & (y_m < north + margin_m)
    return np.asarray(inside)


def draw(name: I64, salt: int) -> F64:
    """A uniform number for each name."""
    return uniform(mix(name, salt)).astype(np.float64)


def _normal(name: I64, salt: int) -> F64:
    """Box and Muller's normal number for each name."""
    radius = np.sqrt(-2 * np.log(1 - draw(name, salt)))
    return np.asarray(radius * np.cos(2 * np.pi * draw(name, salt + 100)))
