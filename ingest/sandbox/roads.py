"""Roads, streets, railways and power lines."""

from dataclasses import dataclass

import numpy as np

from ingest.sandbox.buildings import LOT_U_M, LOT_V_M, LOTS_A_BLOCK, STREET_M, Boxes, grid_points
from ingest.sandbox.noise import Frame, fbm_at
from ingest.sandbox.towns import F64, SETTLED, Towns, density_at, draw, join, near, rivals

_BEND = 35


@dataclass(frozen=True, slots=True)
class Line:
    """A road or a power line."""

    points_m: F64
    """Axes `vertex xy`."""
    width_m: float
    kind: str
    """A value of OSM's `highway`, "rail" or "power"."""


def roads(frame: Frame, centres: Towns, villages: Towns, seed: int) -> list[Line]:
    """Roads and railways between towns, and a finer net that ties in the villages."""
    lines: list[Line] = []
    for first, second in _neighbours(centres, 14_500):
        big = min(centres.radius_m[first], centres.radius_m[second]) > 950
        lines.append(
            _road(frame, centres, (first, second), 14.0 if big else 9.0, "primary" if big else "secondary", seed)
        )
        if big:
            lines.append(_road(frame, centres, (first, second), 6.0, "rail", seed + 1))
    places = join(centres, villages)
    for first, second in _neighbours(places, 6_500):
        joins_town = min(first, second) < len(centres)
        if joins_town or float(draw(places.name[[first]] ^ places.name[[second]], 9)[0]) < 0.7:
            kind = "tertiary" if joins_town else "unclassified"
            lines.append(_road(frame, places, (first, second), 7.0 if joins_town else 6.0, kind, seed))
    return [line for line in lines if touches(frame, line.points_m)]


def streets(frame: Frame, towns: Towns, index: int, seed: int) -> list[Line]:
    """The streets between the lots, one short piece a block."""
    reach = 1.5 * towns.radius_m[index]
    pitch_u = LOTS_A_BLOCK * LOT_U_M + STREET_M
    pitch_v = 2 * LOT_V_M + STREET_M
    columns, rows = int(reach // pitch_u) + 1, int(reach // pitch_v) + 1
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(-columns, columns + 1), np.arange(-rows, rows + 1)))
    u = np.asarray(i * pitch_u - (LOT_U_M + STREET_M) / 2, np.float64)
    v = np.asarray(j * pitch_v - (LOT_V_M + STREET_M) / 2, np.float64)
    lines: list[Line] = []
    for du, dv in ((pitch_u, 0.0), (0.0, pitch_v)):
        start, stop = grid_points(towns, index, u, v), grid_points(towns, index, u + du, v + dv)
        middle_x, middle_y = (start[0] + stop[0]) / 2, (start[1] + stop[1]) / 2
        density, owner = density_at(frame.epsg, middle_x, middle_y, rivals(towns, index), seed)
        keep = (owner == 0) & (density > SETTLED) & near(frame, middle_x, middle_y, 200)
        ends = np.stack([np.stack(start, -1), np.stack(stop, -1)], axis=1)[keep]
        lines += [Line(points, 7.0, "residential") for points in ends]
    return lines


def power_lines(frame: Frame, substations: Boxes, centres: Towns) -> list[Line]:
    """Straight lines between the substations of neighbouring towns."""
    served = centres.select(np.isin(centres.name, substations.name))
    lines = []
    for first, second in _neighbours(served, 15_000):
        ends = [[substations.x_m[k], substations.y_m[k]] for k in (first, second)]
        line = Line(np.array(ends), 0.0, "power")
        if touches(frame, line.points_m):
            lines.append(line)
    return lines


def towers(points_m: F64) -> F64:
    """A pylon every 320 m or so."""
    count = max(int(np.hypot(*(points_m[1] - points_m[0])) // 320), 1)
    t = np.linspace(0, 1, count + 1)[:, None]
    return np.asarray(points_m[0] + t * (points_m[1] - points_m[0]))


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
        [fbm_at(frame.epsg, points[:, 0], points[:, 1], seed, _BEND + salt, 3_500, 2) for salt in (0, 1)], axis=1
    )
    points = points + bend * 260 * np.sin(np.pi * t) * min(1.0, length / 6000)
    return Line(points, width_m, kind)


def touches(frame: Frame, points_m: F64) -> bool:
    """Whether the bounding box of a line, 50 m wider, meets a frame."""
    west, south, east, north = frame.bounds_m
    (left, low), (right, high) = points_m.min(axis=0), points_m.max(axis=0)
    return bool(left < east + 50 and right > west - 50 and low < north + 50 and high > south - 50)
