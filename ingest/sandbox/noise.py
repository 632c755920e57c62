"""Coherent noise over absolute UTM coordinates: the one source of randomness of the simulated ground.

Every value is a function of (seed, channel, integer lattice node), so whichever window asks for a point gets the
same answer, bit for bit: only element-wise float operations are used, never a matrix product, whose rounding
depends on the shape.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U32 = NDArray[np.uint32]
_SPLINE_STD = float(np.sqrt((151 / 315) ** 2 / 3))  # of cubic B-spline noise with nodes uniform in -1..1


@dataclass(frozen=True, slots=True)
class Frame:
    """A north-up block of 10 m pixels in one UTM zone."""

    epsg: int
    west_m: int
    north_m: int
    rows: int
    cols: int
    gsd_m: int = 10

    @property
    def x_m(self) -> NDArray[np.float64]:
        """Pixel centres from west to east."""
        return np.asarray(self.west_m + (np.arange(self.cols) + 0.5) * self.gsd_m, np.float64)

    @property
    def y_m(self) -> NDArray[np.float64]:
        """Pixel centres from north to south."""
        return np.asarray(self.north_m - (np.arange(self.rows) + 0.5) * self.gsd_m, np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.rows, self.cols

    @property
    def bounds_m(self) -> tuple[int, int, int, int]:
        """West, south, east, north."""
        return self.west_m, self.north_m - self.rows * self.gsd_m, self.west_m + self.cols * self.gsd_m, self.north_m

    def padded(self, margin_px: int) -> "Frame":
        """The frame grown by a margin on every side."""
        step = margin_px * self.gsd_m
        return Frame(
            self.epsg,
            self.west_m - step,
            self.north_m + step,
            self.rows + 2 * margin_px,
            self.cols + 2 * margin_px,
            self.gsd_m,
        )

    def strip(self, first_row: int, rows: int) -> "Frame":
        """Some rows of the frame, at its full width."""
        return Frame(self.epsg, self.west_m, self.north_m - first_row * self.gsd_m, rows, self.cols, self.gsd_m)

    def strips(self, rows: int) -> Iterator[tuple[slice, "Frame"]]:
        """The frame cut into strips of at most `rows` rows, with the rows each one covers."""
        for first in range(0, self.rows, rows):
            last = min(first + rows, self.rows)
            yield slice(first, last), self.strip(first, last - first)


def mix(*parts: NDArray[np.integer] | int) -> U32:
    """Hash integers to 32 bits, element-wise with broadcasting (the finaliser of MurmurHash3, public domain)."""
    state = np.full(1, 0x9E3779B9, np.uint32)
    for part in parts:
        word = np.asarray(part).astype(np.int64, copy=False).view(np.uint64) if np.ndim(part) else _word(int(part))
        state = _avalanche(state ^ (word & np.uint64(0xFFFFFFFF)).astype(np.uint32)) + np.uint32(0x9E3779B9)
    return _avalanche(state)


def _word(value: int) -> NDArray[np.uint64]:
    return np.array([value & 0xFFFFFFFF], np.uint64)


def _avalanche(state: U32) -> U32:
    state = (state ^ (state >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    state = (state ^ (state >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return state ^ (state >> np.uint32(16))


def uniform(hashed: U32) -> F32:
    """Hashes as numbers in [0, 1)."""
    return (hashed >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def fbm(frame: Frame, seed: int, channel: int, scale_m: float, octaves: int, gain: float = 0.5) -> F32:
    """Fractal noise of unit variance and zero mean; `scale_m` is the lattice of the coarsest octave."""
    total = np.zeros(frame.shape, np.float32)
    for octave in range(octaves):
        total += np.float32(gain**octave) * spline_noise(frame, seed, channel + 1000 * octave, scale_m / 2**octave)
    return total / np.float32(np.sqrt(sum(gain ** (2 * octave) for octave in range(octaves))))


def spline_noise(frame: Frame, seed: int, channel: int, scale_m: float) -> F32:
    """One octave of cubic B-spline noise, unit variance."""
    columns, weights_x = _taps(frame.x_m / scale_m)
    rows, weights_y = _taps(frame.y_m / scale_m)
    lattice_rows = np.arange(rows.min() - 1, rows.max() + 3)
    lattice_columns = np.arange(columns.min() - 1, columns.max() + 3)
    nodes = _nodes(seed, channel, frame.epsg, lattice_rows[:, None], lattice_columns[None, :])
    offset = columns - lattice_columns[0] - 1
    along = sum(weights_x[k] * nodes[:, offset + k] for k in range(4))
    return _blend_rows(np.asarray(along), rows - lattice_rows[0] - 1, weights_y)


def _blend_rows(along: F32, first: NDArray[np.int64], weights: F32) -> F32:
    """Second half of the separable interpolation, one lattice row of pixels at a time to stay in cache."""
    out = np.empty((len(first), along.shape[1]), np.float32)
    starts = np.flatnonzero(np.diff(first, prepend=first[0] - 1))
    for start, stop in zip(starts, [*starts[1:], len(first)], strict=True):
        node, weight = int(first[start]), weights[:, start:stop, None]
        block = weight[0] * along[node]
        for tap in (1, 2, 3):
            block += weight[tap] * along[node + tap]
        out[start:stop] = block
    return out


def fbm_at(
    epsg: int, x_m: NDArray[np.float64], y_m: NDArray[np.float64], seed: int, channel: int, scale_m: float, octaves: int
) -> F32:
    """`fbm` with gain 0.5 at single points: equal to it up to float32 rounding."""
    total = np.zeros(np.shape(x_m), np.float32)
    for octave in range(octaves):
        step = scale_m / 2**octave
        columns, weights_x = _taps(x_m / step)
        rows, weights_y = _taps(y_m / step)
        for j in range(4):
            for i in range(4):
                nodes = _nodes(seed, channel + 1000 * octave, epsg, rows + j - 1, columns + i - 1)
                total += np.float32(0.5**octave) * weights_x[i] * weights_y[j] * nodes
    return total / np.float32(np.sqrt(sum(0.25**octave for octave in range(octaves))))


def _nodes(seed: int, channel: int, epsg: int, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> F32:
    values = uniform(mix(seed, channel, epsg, rows, columns)) * np.float32(2) - np.float32(1)
    return values / np.float32(_SPLINE_STD)


def _taps(position: NDArray[np.float64]) -> tuple[NDArray[np.int64], F32]:
    """The lattice cell of each position and its four cubic B-spline weights."""
    cell = np.floor(position).astype(np.int64)
    t = (position - cell).astype(np.float32)
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (t + t**2 - t**3) + 1, t**3]) / np.float32(6)
    return cell, weights.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Mosaic:
    """A Voronoi mosaic evaluated on a frame."""

    block: U32
    """Hash that names the block of each pixel."""
    dx_m: F32
    """East of the block's site."""
    dy_m: F32
    """North of the block's site."""
    edge_m: F32
    """Distance to the nearest block border, from above: half the difference of the two nearest sites' distances."""


def mosaic(frame: Frame, seed: int, channel: int, scale_m: float) -> Mosaic:
    """Voronoi blocks of one jittered site a lattice cell, about `scale_m` across."""
    x_m, y_m = frame.x_m, frame.y_m
    cell_x, cell_y = np.floor(x_m / scale_m).astype(np.int64), np.floor(y_m / scale_m).astype(np.int64)
    out = Mosaic(np.empty(frame.shape, np.uint32), *(np.empty(frame.shape, np.float32) for _ in range(3)))
    starts = np.flatnonzero(np.diff(cell_y, prepend=cell_y[0] + 1))
    for start, stop in zip(starts, [*starts[1:], frame.rows], strict=True):
        rows = slice(int(start), int(stop))
        _mosaic_rows(out, rows, seed, channel, scale_m, (frame.epsg, int(cell_y[start])), cell_x, x_m, y_m[rows])
    return out


def _mosaic_rows(
    out: Mosaic,
    rows: slice,
    seed: int,
    channel: int,
    scale_m: float,
    line: tuple[int, int],
    cell_x: NDArray[np.int64],
    x_m: NDArray[np.float64],
    y_m: NDArray[np.float64],
) -> None:
    shape = (len(y_m), len(x_m))
    nearest, second = np.full(shape, np.inf, np.float32), np.full(shape, np.inf, np.float32)
    for dj in (-1, 0, 1):
        for di in (-1, 0, 1):
            name = mix(seed, channel, line[0], line[1] + dj, cell_x + di)
            site_x = (cell_x + di + 0.1 + 0.8 * uniform(name)) * scale_m
            site_y = (line[1] + dj + 0.1 + 0.8 * uniform(mix(name.astype(np.int64), 1))) * scale_m
            dx, dy = (x_m - site_x).astype(np.float32), (y_m[:, None] - site_y).astype(np.float32)
            distance = dx * dx + dy * dy
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            nearest = np.where(closer, distance, nearest)
            for target, value in ((out.block, name), (out.dx_m, dx), (out.dy_m, dy)):
                np.copyto(target[rows], value, where=closer)
    out.edge_m[rows] = (np.sqrt(second) - np.sqrt(nearest)) / 2
