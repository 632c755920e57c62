"""CORINE Land Cover on the patch grid, from the raster or the vector edition, with a check that it covers a plan."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalog.grid import PatchGrid
from ingest.corine_raster import CorineRaster
from ingest.corine_vector import SUFFIXES, CorineVector
from ingest.errors import PlanError

_log = logging.getLogger(__name__)
_MIN_COVERED = 0.9  # share of a plan's places


Corine = CorineRaster | CorineVector


def open_corine(href: str) -> Corine:
    """Open either edition by the ending of its name.

    Raises:
        PlanError: the file is missing, unreadable, or not CORINE.
    """
    remote = "://" in href or href.startswith("/vsi")
    if not remote and not Path(href).exists():
        raise PlanError(f"there is no CORINE file {href}; docs/labels.md says where to download it")
    return CorineVector(Path(href)) if Path(href).suffix.lower() in SUFFIXES else CorineRaster(href)


def labels_and_unknown(corine: Corine, grid: PatchGrid) -> tuple[NDArray[np.uint8], dict[str, int]]:
    """Labels of a patch, and how often each value that is neither a class nor "no data" occurs in it.

    Such values are stored as unknown; pixels are counted for the raster edition, polygons for the vector edition.
    """
    before = corine.unknown.copy()
    codes = corine.labels(grid)
    return codes, {str(value): count for value, count in sorted((corine.unknown - before).items())}


def check_coverage(corine: Corine, grids: Sequence[PatchGrid]) -> None:
    """Warn where CORINE misses some of the places of a plan.

    Raises:
        PlanError: it misses many; says which share it covers.
    """
    share = corine.coverage(grids)
    message = f"{corine.href} has a class at {share:.1%} of the plan's places"
    if share < _MIN_COVERED:
        raise PlanError(
            f"{message} (limit {_MIN_COVERED:.0%}); take the file of all Europe, or sample a region inside it "
            "(CORINE covers the EEA's 38 members and cooperating countries and the United Kingdom)"
        )
    if share < 1:
        _log.warning("%s; pixels of the rest are stored as unknown", message)
