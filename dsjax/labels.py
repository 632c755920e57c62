"""Classes of crops from CORINE pixels, and the split that keeps neighbours together."""

import hashlib
from itertools import repeat

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog.labels import CORINE_BY_GRID_CODE
from catalog.splits import TRAIN, VAL, Split

UNKNOWN = -1
SPLIT = "deepsentinel:split"
"""Column of a corpus table that states the split of a patch."""

FOLD, NEAR_FOLDS = "deepsentinel:fold", "deepsentinel:near_folds"

_VAL_FOLD = 0
_BLOCK_M = 10_000
_TEST_SHARE = 0.4
_VAL_SHARE = 0.2


def crop_classes(corine: NDArray[np.uint8], crop_px: int, min_share: float, level: int) -> NDArray[np.int64]:
    """The class that covers most of each crop: `patch row column`, CORINE codes of a level, UNKNOWN where none does.

    Args:
        corine: grid codes, `patch y x`, 0 unknown.
        min_share: share of a crop's pixels that its class must cover.
        level: 1 to 3 digits of the code.
    """
    codes = np.array([0, *(CORINE_BY_GRID_CODE[g].code // 10 ** (3 - level) for g in range(1, 45))])
    side = corine.shape[1] // crop_px
    crops = codes[corine][:, : side * crop_px, : side * crop_px].reshape(-1, side, crop_px, side, crop_px)
    classes = np.unique(codes[1:])
    shares = np.stack([(crops == code).mean(axis=(2, 4)) for code in classes], axis=-1)
    return np.where(shares.max(axis=-1) >= min_share, classes[shares.argmax(axis=-1)], UNKNOWN)


def given_splits(table: pa.Table) -> list[str | None]:
    """The split of every patch as the corpus states it; None where it states none."""
    return table[SPLIT].to_pylist() if SPLIT in table.column_names else [None] * table.num_rows


def splits_of(table: pa.Table) -> NDArray[np.str_]:
    """train, val or test of every patch: as the corpus states it for all, else by the block it lies in."""
    given = given_splits(table)
    if all(given):
        return _with_val(np.array(given), table)
    corners = zip(table["proj:code"].to_pylist(), table["proj:bbox"].to_pylist(), strict=True)
    return np.array([block_split(code, west_m, north_m) for code, (west_m, _, _, north_m) in corners])


def block_split(crs: str, west_m: float, north_m: float) -> str:
    """The split of a place, the same for a whole 10 km block, so that neighbours are seldom on two sides.

    Drawn by a hash: it never changes when a corpus grows.
    """
    block = f"{crs} {west_m // _BLOCK_M:.0f} {north_m // _BLOCK_M:.0f}"
    draw = int.from_bytes(hashlib.sha256(block.encode()).digest()[:4], "big") / 2**32
    return "test" if draw < _TEST_SHARE else "val" if draw < _TEST_SHARE + _VAL_SHARE else "train"


def _with_val(splits: NDArray[np.str_], table: pa.Table) -> NDArray[np.str_]:
    """Where there is no val, a fold of the corpus becomes it, and what lies near that fold trains no more.

    A corpus that states no folds, or lies in too few blocks for them, gives every fourth patch of train.
    """
    if "val" in splits:
        return splits
    if FOLD in table.column_names:
        folds = table[FOLD].to_pylist()
        near = table[NEAR_FOLDS].to_pylist() if NEAR_FOLDS in table.column_names else [None] * len(folds)
        stated = [Split(*split) for split in zip(splits.tolist(), repeat(None), folds, map(_tuple, near), strict=False)]
        held = np.array([split.in_fold(_VAL_FOLD) if split.name == TRAIN else split.name for split in stated])
        if np.count_nonzero(held == TRAIN) > np.count_nonzero(held == VAL) > 0:
            return held
    chosen = np.flatnonzero(splits == "train")[3::4]
    return np.where(np.isin(np.arange(len(splits)), chosen), "val", splits)


def _tuple(folds: list[int] | None) -> tuple[int, ...]:
    return tuple(folds or ())
