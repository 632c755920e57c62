"""Vectors into pixels by area: what share of each 10 m pixel a rectangle or a line covers.

A shape is filled with sample points at most 1.25 m apart, each carrying its part of the area, so a house
smaller than a pixel makes a mixed pixel, as it does in nature. The samples of a shape do not depend on the frame.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.sandbox.buildings import Boxes
from ingest.sandbox.noise import Frame
from ingest.sandbox.roads import Line, touches
from ingest.sandbox.towns import near

F64 = NDArray[np.float64]
_STEP_M = 1.25  # eight samples along a pixel: its share is right to an eighth in each direction
_LARGEST_M = 1_500.0  # no box reaches further from its centre
SHARES = 255  # shares are kept as 0..255


def boxes_share(frame: Frame, boxes: Boxes, *, only: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Share of each pixel covered by rectangles, x 255."""
    total = np.zeros(frame.rows * frame.cols)
    chosen = boxes if only is None else boxes.select(only)
    chosen = chosen.select(near(frame, chosen.x_m, chosen.y_m, _LARGEST_M))
    for group, count_u, count_v in _by_size(chosen):
        x_m, y_m = _fill(group, count_u, count_v)
        area = group.length_m * group.width_m / (count_u * count_v)
        _add(total, frame, x_m, y_m, np.repeat(area, count_u * count_v))
    return _as_share(total, frame)


def box_angle(frame: Frame, boxes: Boxes) -> NDArray[np.uint8]:
    """Direction of the walls in each pixel: angle modulo 90 degrees, 0..254; 255 where no box is."""
    out = np.full(frame.rows * frame.cols, 255, np.uint8)
    boxes = boxes.select(near(frame, boxes.x_m, boxes.y_m, _LARGEST_M))
    quarter = np.mod(boxes.angle_rad, np.pi / 2) / (np.pi / 2)
    for group, count_u, count_v in _by_size(
        Boxes(boxes.x_m, boxes.y_m, boxes.length_m, boxes.width_m, boxes.angle_rad, (quarter * 254).astype(np.int64))
    ):
        index, inside = _pixel(frame, *_fill(group, count_u, count_v))
        out[index[inside]] = np.repeat(group.name, count_u * count_v)[inside].astype(np.uint8)
    return out.reshape(frame.shape)


def lines_share(frame: Frame, lines: Sequence[Line]) -> NDArray[np.uint8]:
    """Share of each pixel covered by lines of their own width, x 255."""
    total = np.zeros(frame.rows * frame.cols)
    for line in lines:
        if touches(frame, line.points_m):
            _add(total, frame, *_along(line))
    return _as_share(total, frame)


def points_mask(frame: Frame, points_m: F64) -> NDArray[np.bool_]:
    """Pixels that hold a point."""
    index, inside = _pixel(frame, points_m[:, 0], points_m[:, 1])
    mask = np.zeros(frame.rows * frame.cols, bool)
    mask[index[inside]] = True
    return mask.reshape(frame.shape)


def _by_size(boxes: Boxes) -> list[tuple[Boxes, int, int]]:
    """Boxes in groups that take the same number of samples along and across."""
    count_u = np.ceil(boxes.length_m / _STEP_M).astype(int)
    count_v = np.ceil(boxes.width_m / _STEP_M).astype(int)
    sizes = sorted(set(zip(count_u.tolist(), count_v.tolist(), strict=True)))
    return [(boxes.select((count_u == u) & (count_v == v)), u, v) for u, v in sizes]


def _fill(boxes: Boxes, count_u: int, count_v: int) -> tuple[F64, F64]:
    u = ((np.arange(count_u) + 0.5) / count_u - 0.5)[None, :, None] * boxes.length_m[:, None, None]
    v = ((np.arange(count_v) + 0.5) / count_v - 0.5)[None, None, :] * boxes.width_m[:, None, None]
    cos, sin = np.cos(boxes.angle_rad)[:, None, None], np.sin(boxes.angle_rad)[:, None, None]
    x_m = boxes.x_m[:, None, None] + u * cos - v * sin
    y_m = boxes.y_m[:, None, None] + u * sin + v * cos
    return x_m.ravel(), y_m.ravel()


def _along(line: Line) -> tuple[F64, F64, F64]:
    """Samples along and across a line, and the area each stands for."""
    start, stop = line.points_m[:-1], line.points_m[1:]
    length = np.hypot(*(stop - start).T)
    count = np.maximum(np.ceil(length / _STEP_M), 1).astype(int)
    piece = np.repeat(np.arange(len(count)), count)
    t = (np.arange(len(piece)) - np.repeat(np.cumsum(count) - count, count) + 0.5) / count[piece]
    middle = start[piece] + t[:, None] * (stop - start)[piece]
    across = np.stack([-(stop - start)[:, 1], (stop - start)[:, 0]], axis=1)[piece] / length[piece, None]
    lanes = max(round(line.width_m / _STEP_M), 1)
    offset = ((np.arange(lanes) + 0.5) / lanes - 0.5) * line.width_m
    points = middle[:, None, :] + offset[None, :, None] * across[:, None, :]
    area = np.repeat(length[piece] / count[piece] * line.width_m / lanes, lanes)
    return points[..., 0].ravel(), points[..., 1].ravel(), area


def _pixel(frame: Frame, x_m: F64, y_m: F64) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    column = np.floor((x_m - frame.west_m) / frame.gsd_m).astype(np.int64)
    row = np.floor((frame.north_m - y_m) / frame.gsd_m).astype(np.int64)
    inside = (column >= 0) & (column < frame.cols) & (row >= 0) & (row < frame.rows)
    return row * frame.cols + column, inside


def _add(total: F64, frame: Frame, x_m: F64, y_m: F64, area_m2: F64) -> None:
    index, inside = _pixel(frame, x_m, y_m)
    np.add.at(total, index[inside], area_m2[inside])


def _as_share(total: F64, frame: Frame) -> NDArray[np.uint8]:
    """Areas as shares; rounded to a tenth of a square metre first, so the order of adding cannot show."""
    share = np.round(total, 1) / frame.gsd_m**2
    return np.round(np.minimum(share, 1) * SHARES).astype(np.uint8).reshape(frame.shape)
