"""Patches of 256 px out of real sites of 224 px: windows on mosaics of four sites, turned and mirrored.

No pixel occurs twice in a patch and no noise is added, so codecs, which work patch by patch, meet real entropy. The
sites hold 12 Sentinel-2 L2A bands at 10 m (20 m bands repeated, which is undone here) and gamma0 of VV and VH in dB.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIDE_PX = 256
_SITE_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
_FINE = tuple(_SITE_BANDS.index(name) for name in ("B02", "B03", "B04", "B08"))
_COARSE = tuple(_SITE_BANDS.index(name) for name in ("B05", "B06", "B07", "B8A", "B11", "B12", "B01", "B09"))


@dataclass(frozen=True, slots=True)
class Pixels:
    """One patch as a corpus stores it."""

    s2_10m: NDArray[np.uint16]
    s2_20m: NDArray[np.uint16]
    s1: NDArray[np.int16]
    """dB x 100."""


def site_patches(folder: Path, count: int, seed: int) -> Iterator[Pixels]:
    """Patches cut from the sites in `folder`/S2L2A and `folder`/S1RTC.

    Args:
        folder: GeoTIFFs of equal names and sides in both subfolders; at least four sites.
    """
    import rasterio

    names = sorted(path.name for path in (folder / "S2L2A").glob("*.tif"))
    optical = [rasterio.open(folder / "S2L2A" / name).read().astype(np.uint16) for name in names]
    radar = [rasterio.open(folder / "S1RTC" / name).read() for name in names]
    rng = np.random.default_rng(seed)
    for _ in range(count):
        four = rng.permutation(len(names))[:4]
        room = 2 * optical[0].shape[-1] - SIDE_PX
        top, left = 2 * rng.integers(room // 2 + 1, size=2)  # even, so that no 20 m pixel is split
        turns, mirrored = rng.integers(4), bool(rng.integers(2))
        s2, s1 = (
            _turned(_mosaic([sites[i] for i in four])[:, top : top + SIDE_PX, left : left + SIDE_PX], turns, mirrored)
            for sites in (optical, radar)
        )
        decibels = np.rint(100 * s1).astype(np.int16)
        yield Pixels(s2[list(_FINE)], np.ascontiguousarray(s2[list(_COARSE), ::2, ::2]), decibels)


def _mosaic(four: list[NDArray]) -> NDArray:
    return np.concatenate([np.concatenate(four[:2], axis=2), np.concatenate(four[2:], axis=2)], axis=1)


def _turned(values: NDArray, turns: int, mirrored: bool) -> NDArray:
    turned = np.rot90(values, turns, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if mirrored else turned)
