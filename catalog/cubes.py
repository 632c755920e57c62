"""Float batches made on the host, for trainers that take arrays as they are, such as PyTorch's.

`dsjax` sends stored integers to the device and prepares them there, at native resolution: a third of the work.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from catalog.bands import S1, S1_SCALE_DB, S2, S2_10M, S2_20M, S2_SCALE, Band
from catalog.buffers import POOL
from catalog.corpus import Corpus
from catalog.stats import BandStatistics

_NAMES = ("s2_10m", "s2_20m", "s1")
_TWICE = np.uint64(1 << 32 | 1)  # times 32 bits: the same bits twice, side by side
_MIN_STD = 1e-6  # a band that never changes is centred and not divided by nothing


class Cubes(NamedTuple):
    """Standardised pixels at 10 m, `patch band y x`: 0 where nothing was measured, and so is a band's mean."""

    s2: NDArray[np.float32]
    """In the order of `catalog.bands.S2`; coarser bands are repeated, not interpolated."""
    s1: NDArray[np.float32]
    """VV, VH; of decibels."""


class CubeReader:
    """Reads batches of cubes, the patches of one in several threads, so that one batch at a time is in memory."""

    def __init__(self, corpus: Corpus, statistics: BandStatistics, threads: int = 2) -> None:
        """Standardise by these statistics, such as `corpus.statistics`."""
        self._corpus = corpus
        self._threads, self._pool = threads, ThreadPoolExecutor(threads, thread_name_prefix="cubes")
        self._fine = _Line.of(statistics, S2_10M, S2_SCALE)
        self._coarse = _Line.of(statistics, S2_20M, S2_SCALE)
        self._s1 = _Line.of(statistics, S1, S1_SCALE_DB)

    def read(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Cubes:
        """The cubes of these rows.

        Raises:
            CorpusError: an unknown row.
            ChecksumError: stored bytes are damaged.
        """
        side, shares = self._corpus.side_px, min(self._threads, max(1, len(rows)))
        cubes = Cubes(*(POOL.empty((len(rows), len(bands), side, side), np.float32) for bands in (S2, S1)))
        parts = (np.array_split(np.asarray(values), shares) for values in (rows, *cubes))
        for _ in self._pool.map(self._fill, *parts):
            pass
        return cubes

    def _fill(self, rows: NDArray[np.integer[Any]], s2: NDArray[np.float32], s1: NDArray[np.float32]) -> None:
        """One patch after the other and one band of it after the other, so that both stay in the processor's cache."""
        stored: dict[str, NDArray[Any]] | None = None
        for row, fine, radar in zip(rows, s2, s1, strict=True):
            stored = self._corpus.read([row], _NAMES, stored)
            self._fine.fill(stored["s2_10m"][0], fine[: len(S2_10M)])
            self._coarse.fill_twice(stored["s2_20m"][0], fine[len(S2_10M) :])
            self._s1.fill(stored["s1"][0], radar)


@dataclass(frozen=True, slots=True)
class _Line:
    """Stored numbers to standardised ones, for each band: times `slope` plus `start`."""

    slope: NDArray[np.float32]
    start: NDArray[np.float32]
    nodata: int

    @classmethod
    def of(cls, statistics: BandStatistics, bands: Sequence[Band], scale: float) -> "_Line":
        names = [band.name for band in bands]
        std = np.maximum(statistics.std(names), _MIN_STD)
        slope, start = (values.astype(np.float32) for values in (scale / std, -statistics.mean(names) / std))
        return cls(slope, start, bands[0].nodata)

    def fill(self, stored: NDArray[Any], out: NDArray[np.float32]) -> None:
        """Fill `band y x` from as many stored pixels."""
        for band, slope, start, to in zip(stored, self.slope, self.start, out, strict=True):
            self._fill_band(band, slope, start, to)

    def fill_twice(self, stored: NDArray[Any], out: NDArray[np.float32]) -> None:
        """Fill `band 2y 2x`, every stored pixel repeated both ways."""
        bands, height, width = stored.shape
        values, pairs = np.empty((height, width), np.float32), np.empty((height, width), np.uint64)
        rows_twice = out.reshape(bands, height, 2, 2 * width)
        for band, slope, start, to in zip(stored, self.slope, self.start, rows_twice, strict=True):
            self._fill_band(band, slope, start, values)
            np.multiply(values.view(np.uint32), _TWICE, out=pairs, dtype=np.uint64)
            to[...] = pairs.view(np.float32)[:, None]

    def _fill_band(self, band: NDArray[Any], slope: np.float32, start: np.float32, out: NDArray[np.float32]) -> None:
        out[...] = band
        out *= slope
        out += start
        if band.min() == self.nodata:  # the least value of its type: found without an array of truths
            out[band == self.nodata] = 0.0
