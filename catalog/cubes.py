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
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="cubes")
        self._fine = _Line.of(statistics, S2_10M, S2_SCALE)
        self._coarse = _Line.of(statistics, S2_20M, S2_SCALE)
        self._s1 = _Line.of(statistics, S1, S1_SCALE_DB)

    def read(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Cubes:
        """The cubes of these rows.

        Raises:
            CorpusError: an unknown row.
            ChecksumError: stored bytes are damaged.
        """
        side = self._corpus.side_px
        cubes = Cubes(*(POOL.empty((len(rows), len(bands), side, side), np.float32) for bands in (S2, S1)))
        for _ in self._threads.map(self._fill, rows, cubes.s2, cubes.s1):
            pass
        return cubes

    def _fill(self, row: int, s2: NDArray[np.float32], s1: NDArray[np.float32]) -> None:
        """One patch from shard to floats, a band at a time: the cubes are written once, from the processor's cache."""
        stored = self._corpus.read([row], _NAMES)
        fine, side = len(S2_10M), self._corpus.side_px
        self._fine.apply(stored["s2_10m"][0], s2[:fine])
        self._s1.apply(stored["s1"][0], s1)
        coarse = self._coarse.apply(stored["s2_20m"][0], np.empty((len(S2_20M), side // 2, side // 2), np.float32))
        wide = np.empty((side // 2, side), np.float32)
        for band, pairs in zip(coarse, s2[fine:].reshape(-1, side // 2, 2, side), strict=True):
            wide[:, 0::2] = wide[:, 1::2] = band
            pairs[:, 0] = pairs[:, 1] = wide


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

    def apply(self, stored: NDArray[Any], out: NDArray[np.float32]) -> NDArray[np.float32]:
        for band, slope, start, to in zip(stored, self.slope, self.start, out, strict=True):
            values = band.astype(np.float32)
            values *= slope
            np.add(values, start, out=to)
            missing = band == self.nodata
            if missing.any():
                to[missing] = 0.0
        return out
