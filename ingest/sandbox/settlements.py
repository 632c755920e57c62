"""What people built: towns, streets, buildings, industrial estates, quarries, roads and power lines, as vectors.

Everything hangs on hashed lattices, so a town has the same houses whichever window asks. Objects are drawn into
pixels by area (`drawing`) and written to OpenStreetMap (`osmdata`) from the same coordinates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.sandbox.noise import F32, Frame, fbm_at, mix, uniform
from ingest.sandbox.terrain import people_at

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
REACH_M = 16_000.0  # a road is at most 14.5 km long, and what stands between its ends is nearer still
_TOWN_M, _VILLAGE_M, _QUARRY_M = 10_500.0, 3_100.0, 11_000.0  # lattice spacings
_TOWN, _VILLAGE, _QUARRY, _FRINGE, _ROAD = 31, 32, 33, 34, 35
_LOT_U_M, _LOT_V_M, _STREET_M = 24.0, 32.0, 12.0
_LOTS_A_BLOCK = 6
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


@dataclass(frozen=True, slots=True)
class Boxes:
    """Oriented rectangles."""

    x_m: F64
    y_m: F64
    length_m: F64
    width_m: F64
    angle_rad: F64
    name: I64

    def __len__(self) -> int:
        return len(self.x_m)

    def select(self, keep: NDArray[np.bool_]) -> "Boxes":
        """The boxes where `keep` is true."""
        return Boxes(*(getattr(self, field)[keep] for field in self.__slots__))

    def corners(self) -> F64:
        """Corner coordinates, axes `box corner xy`, counter-clockwise."""
        u, v = np.array([-0.5, 0.5, 0.5, -0.5]), np.array([-0.5, -0.5, 0.5, 0.5])
        along, across = self.length_m[:, None] * u, self.width_m[:, None] * v
        cos, sin = np.cos(self.angle_rad)[:, None], np.sin(self.angle_rad)[:, None]
        return np.stack(
            [self.x_m[:, None] + along * cos - across * sin, self.y_m[:, None] + along * sin + across * cos], axis=-1
        )


@dataclass(frozen=True, slots=True)
class Line:
    """A road or a power line."""

    points_m: F64
    """Axes `vertex xy`."""
    width_m: float
    kind: str
    """A value of OSM's `highway`, "rail" or "power"."""


@dataclass(frozen=True, slots=True)
class Works:
    """Everything built that may touch a frame."""

    towns: Towns
    houses: Boxes
    halls: Boxes
    estates: Boxes
    """Industrial areas."""
    substations: Boxes
    quarries: Towns
    """Discs; `angle_rad` is not used."""
    roads: Sequence[Line]
    power_lines: Sequence[Line]
    towers: F64
    """Pylons of the power lines, axes `tower xy`."""


def works(frame: Frame, seed: int) -> Works:
    """All that was built in and around a frame, in an order that does not depend on the frame."""
    centres = _town_centres(frame, seed)
    villages = _villages(frame, seed, centres)
    towns = _join(_districts(centres), villages)
    estates = _estates(centres)
    substations = _substations(centres)
    near = towns.select(_near(frame, towns.x_m, towns.y_m, 4_000))
    parts = [_houses(frame, near, index, seed) for index in range(len(near))]
    streets = [street for index in range(len(near)) for street in _streets(frame, near, index, seed)]
    power_lines = _power_lines(frame, substations, centres)
    return Works(
        towns=near,
        houses=_concatenate(parts),
        halls=_halls(estates),
        estates=estates,
        substations=substations,
        quarries=_quarries(frame, seed),
        roads=[*_roads(frame, centres, villages, seed), *streets],
        power_lines=power_lines,
        towers=np.concatenate([_towers(line.points_m) for line in power_lines] or [np.empty((0, 2))]),
    )


def density_at(epsg: int, x_m: F64, y_m: F64, towns: Towns, seed: int) -> tuple[F64, I64]:
    """How built-up single points are (about 1 in a centre, below 0 outside) and the town that makes them so."""
    best, owner = np.full(np.shape(x_m), -np.inf), np.full(np.shape(x_m), -1, np.int64)
    for index in range(len(towns)):
        distance = np.hypot(x_m - towns.x_m[index], y_m - towns.y_m[index])
        value = 1 - distance / towns.radius_m[index]
        owner = np.where(value > best, index, owner)
        best = np.maximum(best, value)
    return best + fringe(fbm_at(epsg, x_m, y_m, seed, _FRINGE, 900, 3)), owner


def fringe(noise: F32) -> F32:
    """How far noise pushes a town's outline."""
    return np.float32(0.2) * noise


FRINGE_CHANNEL, FRINGE_SCALE_M, FRINGE_OCTAVES = _FRINGE, 900.0, 3


def _lattice(frame: Frame, spacing_m: float, seed: int, channel: int) -> tuple[I64, I64, F64, F64, I64]:
    """Jittered sites within reach of a frame: lattice column and row, x, y, name."""
    west, south, east, north = frame.bounds_m
    columns = np.arange((west - REACH_M) // spacing_m, (east + REACH_M) // spacing_m + 1).astype(np.int64)
    rows = np.arange((south - REACH_M) // spacing_m, (north + REACH_M) // spacing_m + 1).astype(np.int64)
    column, row = (grid.ravel() for grid in np.meshgrid(columns, rows))
    name = mix(seed, channel, frame.epsg, row, column).astype(np.int64)
    x_m = (column + 0.15 + 0.7 * _draw(name, 1)) * spacing_m
    y_m = (row + 0.15 + 0.7 * _draw(name, 2)) * spacing_m
    return column, row, x_m, y_m, name


def _draw(name: I64, salt: int) -> F64:
    """A uniform number for each name."""
    return uniform(mix(name, salt)).astype(np.float64)


def _normal(name: I64, salt: int) -> F64:
    """Box and Muller's normal number for each name."""
    radius = np.sqrt(-2 * np.log(1 - _draw(name, salt)))
    return np.asarray(radius * np.cos(2 * np.pi * _draw(name, salt + 100)))


def _town_centres(frame: Frame, seed: int) -> Towns:
    _, _, x_m, y_m, name = _lattice(frame, _TOWN_M, seed, _TOWN)
    radius = np.clip(np.exp(6.75 + 0.45 * _normal(name, 3)), 450, 2600)
    towns = Towns(x_m, y_m, radius, _draw(name, 4) * np.pi / 2, name)
    return towns.select(_draw(name, 5) < 0.25 + 0.85 * people_at(frame.epsg, x_m, y_m, seed))


def _villages(frame: Frame, seed: int, centres: Towns) -> Towns:
    _, _, x_m, y_m, name = _lattice(frame, _VILLAGE_M, seed, _VILLAGE)
    villages = Towns(x_m, y_m, 130 + 260 * _draw(name, 3) ** 2, _draw(name, 4) * np.pi / 2, name)
    keep = _draw(name, 5) < 0.08 + 0.62 * people_at(frame.epsg, x_m, y_m, seed)
    for index in range(len(centres)):
        apart = np.hypot(x_m - centres.x_m[index], y_m - centres.y_m[index])
        keep &= apart > 1.7 * centres.radius_m[index] + 400
    return villages.select(keep)


def _districts(centres: Towns) -> Towns:
    """Each centre and up to three districts around it."""
    parts = [centres]
    for number in range(1, 4):
        name = mix(centres.name, 50 + number).astype(np.int64)
        away, turn = centres.radius_m * (0.75 + 0.35 * _draw(name, 1)), 2 * np.pi * _draw(name, 2)
        part = Towns(
            centres.x_m + away * np.cos(turn),
            centres.y_m + away * np.sin(turn),
            centres.radius_m * (0.45 + 0.25 * _draw(name, 3)),
            _draw(name, 4) * np.pi / 2,
            name,
        )
        parts.append(part.select((centres.radius_m > 700) & (_draw(name, 5) < 0.65)))
    return _join(*parts)


def _join(*parts: Towns) -> Towns:
    return Towns(*(np.concatenate([getattr(part, field) for part in parts]) for field in Towns.__slots__))


def _concatenate(parts: Sequence[Boxes]) -> Boxes:
    empty = Boxes(*(np.empty(0) for _ in range(5)), np.empty(0, np.int64))
    return Boxes(*(np.concatenate([getattr(part, field) for part in (*parts, empty)]) for field in Boxes.__slots__))


def _near(frame: Frame, x_m: F64, y_m: F64, margin_m: float) -> NDArray[np.bool_]:
    west, south, east, north = frame.bounds_m
    inside = (x_m > west - margin_m) & (x_m < east + margin_m) & (y_m > south - margin_m) & (y_m < north + margin_m)
    return np.asarray(inside)


def _rivals(towns: Towns, index: int) -> Towns:
    """A town (first) and those whose discs touch its own."""
    apart = np.hypot(towns.x_m - towns.x_m[index], towns.y_m - towns.y_m[index])
    touching = apart < 1.5 * (towns.radius_m + towns.radius_m[index])
    touching[index] = False
    mine = np.arange(len(towns)) == index
    return _join(towns.select(mine), towns.select(touching))


def _grid_points(towns: Towns, index: int, u_m: F64, v_m: F64) -> tuple[F64, F64]:
    cos, sin = np.cos(towns.angle_rad[index]), np.sin(towns.angle_rad[index])
    return towns.x_m[index] + u_m * cos - v_m * sin, towns.y_m[index] + u_m * sin + v_m * cos


def _houses(frame: Frame, towns: Towns, index: int, seed: int) -> Boxes:
    """Houses on the lots of one town's street grid: two rows of lots between streets."""
    reach = 1.5 * towns.radius_m[index]
    count_u, count_v = int(reach // _LOT_U_M), int(reach // _LOT_V_M)
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(-count_u, count_u + 1), np.arange(-count_v, count_v + 1)))
    name = mix(int(towns.name[index]), j, i).astype(np.int64)
    u = i * _LOT_U_M + (i // _LOTS_A_BLOCK) * _STREET_M
    v = j * _LOT_V_M + (j // 2) * _STREET_M
    set_back = np.where(j % 2 == 0, -4.0, 4.0) + 4 * (_draw(name, 1) - 0.5)
    x_m, y_m = _grid_points(towns, index, u + 4 * (_draw(name, 2) - 0.5), v + set_back)
    density, owner = density_at(frame.epsg, x_m, y_m, _rivals(towns, index), seed)
    core = np.clip((density - 0.55) / 0.3, 0, 1)
    length = 9 + 6 * _draw(name, 3) + 8 * core
    width = 8 + 4 * _draw(name, 4) + 9 * core
    houses = Boxes(x_m, y_m, length, width, np.full(len(i), towns.angle_rad[index]), name)
    keep = (owner == 0) & (density > SETTLED + 0.02) & (_draw(name, 5) < 0.72 + 0.25 * core)
    return houses.select(keep & _near(frame, x_m, y_m, 60))


def _streets(frame: Frame, towns: Towns, index: int, seed: int) -> list[Line]:
    """The streets between the lots, one short piece a block."""
    reach = 1.5 * towns.radius_m[index]
    pitch_u = _LOTS_A_BLOCK * _LOT_U_M + _STREET_M
    pitch_v = 2 * _LOT_V_M + _STREET_M
    columns, rows = int(reach // pitch_u) + 1, int(reach // pitch_v) + 1
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(-columns, columns + 1), np.arange(-rows, rows + 1)))
    u = i * pitch_u - (_LOT_U_M + _STREET_M) / 2
    v = j * pitch_v - (_LOT_V_M + _STREET_M) / 2
    lines: list[Line] = []
    for du, dv in ((pitch_u, 0.0), (0.0, pitch_v)):
        start, stop = _grid_points(towns, index, u, v), _grid_points(towns, index, u + du, v + dv)
        middle_x, middle_y = (start[0] + stop[0]) / 2, (start[1] + stop[1]) / 2
        density, owner = density_at(frame.epsg, middle_x, middle_y, _rivals(towns, index), seed)
        keep = (owner == 0) & (density > SETTLED) & _near(frame, middle_x, middle_y, 200)
        ends = np.stack([np.stack(start, -1), np.stack(stop, -1)], axis=1)[keep]
        lines += [Line(points, 7.0, "residential") for points in ends]
    return lines


def _estates(centres: Towns) -> Boxes:
    parts = []
    for number in range(3):
        name = mix(centres.name, 70 + number).astype(np.int64)
        away, turn = centres.radius_m * (0.85 + 0.4 * _draw(name, 1)), 2 * np.pi * _draw(name, 2)
        length, width = 300 + 650 * _draw(name, 3), 220 + 380 * _draw(name, 4)
        box = Boxes(
            centres.x_m + away * np.cos(turn), centres.y_m + away * np.sin(turn), length, width,
            _draw(name, 5) * np.pi, name,
        )  # fmt: skip
        parts.append(box.select(_draw(name, 6) < centres.radius_m / 1500))
    return _concatenate(parts)


def _halls(estates: Boxes) -> Boxes:
    """Halls on a grid of plots in each industrial estate."""
    parts = []
    for index in range(len(estates)):
        name = int(estates.name[index])
        plot_u, plot_v = 95 + 70 * float(_draw(np.array([name]), 7)[0]), 75 + 40 * float(_draw(np.array([name]), 8)[0])
        columns, rows = int(estates.length_m[index] // plot_u), int(estates.width_m[index] // plot_v)
        i, j = (grid.ravel() for grid in np.meshgrid(np.arange(columns), np.arange(rows)))
        u, v = (i - (columns - 1) / 2) * plot_u, (j - (rows - 1) / 2) * plot_v
        cos, sin = np.cos(estates.angle_rad[index]), np.sin(estates.angle_rad[index])
        hall = mix(name, j, i).astype(np.int64)
        boxes = Boxes(
            estates.x_m[index] + u * cos - v * sin,
            estates.y_m[index] + u * sin + v * cos,
            plot_u * (0.45 + 0.35 * _draw(hall, 1)),
            plot_v * (0.4 + 0.35 * _draw(hall, 2)),
            np.full(len(i), estates.angle_rad[index]),
            hall,
        )
        parts.append(boxes.select(_draw(hall, 3) < 0.82))
    return _concatenate(parts)


def _substations(centres: Towns) -> Boxes:
    turn = 2 * np.pi * _draw(centres.name, 21)
    boxes = Boxes(
        centres.x_m + 1.45 * centres.radius_m * np.cos(turn),
        centres.y_m + 1.45 * centres.radius_m * np.sin(turn),
        90 + 60 * _draw(centres.name, 22),
        70 + 30 * _draw(centres.name, 23),
        _draw(centres.name, 24) * np.pi,
        centres.name,
    )
    return boxes.select(centres.radius_m > 600)


def _quarries(frame: Frame, seed: int) -> Towns:
    _, _, x_m, y_m, name = _lattice(frame, _QUARRY_M, seed, _QUARRY)
    discs = Towns(x_m, y_m, 150 + 330 * _draw(name, 3), np.zeros(len(name)), name)
    return discs.select(_draw(name, 4) < 0.4)


def _roads(frame: Frame, centres: Towns, villages: Towns, seed: int) -> list[Line]:
    """Roads and railways between towns, and a finer net that ties in the villages."""
    lines: list[Line] = []
    for first, second in _neighbours(centres, 14_500):
        big = min(centres.radius_m[first], centres.radius_m[second]) > 950
        lines.append(
            _road(frame, centres, (first, second), 14.0 if big else 9.0, "primary" if big else "secondary", seed)
        )
        if big:
            lines.append(_road(frame, centres, (first, second), 6.0, "rail", seed + 1))
    places = _join(centres, villages)
    for first, second in _neighbours(places, 6_500):
        joins_town = min(first, second) < len(centres)
        if joins_town or float(_draw(places.name[[first]] ^ places.name[[second]], 9)[0]) < 0.7:
            kind = "tertiary" if joins_town else "unclassified"
            lines.append(_road(frame, places, (first, second), 7.0 if joins_town else 6.0, kind, seed))
    return [line for line in lines if _touches(frame, line.points_m)]


def _neighbours(towns: Towns, within_m: float) -> list[tuple[int, int]]:
    """Pairs that no third town lies between (Gabriel's graph): the roads that people build."""
    dx, dy = towns.x_m[:, None] - towns.x_m, towns.y_m[:, None] - towns.y_m
    squared = dx**2 + dy**2
    first, second = np.nonzero(np.triu(squared < within_m**2, 1))
    between = squared[first] + squared[second]
    between[np.arange(len(first)), first] = between[np.arange(len(first)), second] = np.inf
    keep = between.min(axis=1, initial=np.inf) > squared[first, second]
    return list(zip(first[keep].tolist(), second[keep].tolist(), strict=True))


def _road(frame: Frame, places: Towns, ends: tuple[int, int], width_m: float, kind: str, seed: int) -> Line:
    """A road that bends with smooth noise and meets both places."""
    start, stop = (np.array([places.x_m[end], places.y_m[end]]) for end in ends)
    length = float(np.hypot(*(stop - start)))
    t = np.linspace(0, 1, max(int(length // 120), 2) + 1)[:, None]
    points = start + t * (stop - start)
    bend = np.stack(
        [fbm_at(frame.epsg, points[:, 0], points[:, 1], seed, _ROAD + salt, 3_500, 2) for salt in (0, 1)], axis=1
    )
    points = points + bend * 260 * np.sin(np.pi * t) * min(1.0, length / 6000)
    return Line(points, width_m, kind)


def _touches(frame: Frame, points_m: F64) -> bool:
    west, south, east, north = frame.bounds_m
    (left, low), (right, high) = points_m.min(axis=0), points_m.max(axis=0)
    return bool(left < east + 50 and right > west - 50 and low < north + 50 and high > south - 50)


def _power_lines(frame: Frame, substations: Boxes, centres: Towns) -> list[Line]:
    served = centres.select(np.isin(centres.name, substations.name))
    lines = []
    for first, second in _neighbours(served, 15_000):
        ends = [[substations.x_m[k], substations.y_m[k]] for k in (first, second)]
        line = Line(np.array(ends), 0.0, "power")
        if _touches(frame, line.points_m):
            lines.append(line)
    return lines


def _towers(points_m: F64) -> F64:
    """A pylon every 320 m or so."""
    count = max(int(np.hypot(*(points_m[1] - points_m[0])) // 320), 1)
    t = np.linspace(0, 1, count + 1)[:, None]
    return np.asarray(points_m[0] + t * (points_m[1] - points_m[0]))
