"""Buildings, industrial estates and substations, as oriented rectangles on the lots of each town's street grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.sandbox.noise import Frame, mix
from ingest.sandbox.towns import F64, I64, SETTLED, Towns, density_at, draw, near, rivals

LOT_U_M, LOT_V_M, STREET_M = 24.0, 32.0, 12.0
"""Width and depth of a lot, and the room that a street takes."""
LOTS_A_BLOCK = 6


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


def houses(frame: Frame, towns: Towns, index: int, seed: int) -> Boxes:
    """Houses on the lots of one town's street grid: two rows of lots between streets."""
    reach = 1.5 * towns.radius_m[index]
    count_u, count_v = int(reach // LOT_U_M), int(reach // LOT_V_M)
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(-count_u, count_u + 1), np.arange(-count_v, count_v + 1)))
    name = mix(int(towns.name[index]), j, i).astype(np.int64)
    u = i * LOT_U_M + (i // LOTS_A_BLOCK) * STREET_M
    v = j * LOT_V_M + (j // 2) * STREET_M
    set_back = np.where(j % 2 == 0, -4.0, 4.0) + 4 * (draw(name, 1) - 0.5)
    x_m, y_m = grid_points(towns, index, u + 4 * (draw(name, 2) - 0.5), v + set_back)
    density, owner = density_at(frame.epsg, x_m, y_m, rivals(towns, index), seed)
    core = np.clip((density - 0.55) / 0.3, 0, 1)
    length = 9 + 6 * draw(name, 3) + 8 * core
    width = 8 + 4 * draw(name, 4) + 9 * core
    houses = Boxes(x_m, y_m, length, width, np.full(len(i), towns.angle_rad[index]), name)
    keep = (owner == 0) & (density > SETTLED + 0.02) & (draw(name, 5) < 0.72 + 0.25 * core)
    return houses.select(keep & near(frame, x_m, y_m, 60))


def estates(centres: Towns) -> Boxes:
    """Up to three industrial estates at the rim of each town."""
    parts = []
    for number in range(3):
        name = mix(centres.name, 70 + number).astype(np.int64)
        away, turn = centres.radius_m * (0.85 + 0.4 * draw(name, 1)), 2 * np.pi * draw(name, 2)
        length, width = 300 + 650 * draw(name, 3), 220 + 380 * draw(name, 4)
        box = Boxes(
            centres.x_m + away * np.cos(turn), centres.y_m + away * np.sin(turn), length, width,
            draw(name, 5) * np.pi, name,
        )  # fmt: skip
        parts.append(box.select(draw(name, 6) < centres.radius_m / 1500))
    return concatenate(parts)


def halls(estates: Boxes) -> Boxes:
    """Halls on a grid of plots in each industrial estate."""
    parts = []
    for index in range(len(estates)):
        name = int(estates.name[index])
        plot_u, plot_v = 95 + 70 * float(draw(np.array([name]), 7)[0]), 75 + 40 * float(draw(np.array([name]), 8)[0])
        columns, rows = int(estates.length_m[index] // plot_u), int(estates.width_m[index] // plot_v)
        i, j = (grid.ravel() for grid in np.meshgrid(np.arange(columns), np.arange(rows)))
        u, v = (i - (columns - 1) / 2) * plot_u, (j - (rows - 1) / 2) * plot_v
        cos, sin = np.cos(estates.angle_rad[index]), np.sin(estates.angle_rad[index])
        hall = mix(name, j, i).astype(np.int64)
        boxes = Boxes(
            estates.x_m[index] + u * cos - v * sin,
            estates.y_m[index] + u * sin + v * cos,
            plot_u * (0.45 + 0.35 * draw(hall, 1)),
            plot_v * (0.4 + 0.35 * draw(hall, 2)),
            np.full(len(i), estates.angle_rad[index]),
            hall,
        )
        parts.append(boxes.select(draw(hall, 3) < 0.82))
    return concatenate(parts)


def substations(centres: Towns) -> Boxes:
    """One substation outside each larger town."""
    turn = 2 * np.pi * draw(centres.name, 21)
    boxes = Boxes(
        centres.x_m + 1.45 * centres.radius_m * np.cos(turn),
        centres.y_m + 1.45 * centres.radius_m * np.sin(turn),
        90 + 60 * draw(centres.name, 22),
        70 + 30 * draw(centres.name, 23),
        draw(centres.name, 24) * np.pi,
        centres.name,
    )
    return boxes.select(centres.radius_m > 600)


def concatenate(parts: Sequence[Boxes]) -> Boxes:
    """Several sets of boxes as one."""
    none = np.empty(0)
    empty = Boxes(none, none, none, none, none, none.astype(np.int64))
    return Boxes(*(np.concatenate([getattr(part, field) for part in (*parts, empty)]) for field in Boxes.__slots__))


def grid_points(towns: Towns, index: int, u_m: F64, v_m: F64) -> tuple[F64, F64]:
    """Points given along (u) and across (v) a town's street grid, in UTM."""
    cos, sin = np.cos(towns.angle_rad[index]), np.sin(towns.angle_rad[index])
    return towns.x_m[index] + u_m * cos - v_m * sin, towns.y_m[index] + u_m * sin + v_m * cos
