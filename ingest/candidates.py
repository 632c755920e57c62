"""From matched places to candidates: each pair of a place, and cells beside it in the same two scenes.

A place with several pairs, or with neighbours, gives several candidates. They follow each other in the order of draws,
so a corpus of N patches holds whole groups, apart from members that reading refuses.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
from numpy.typing import NDArray

from catalog.patch import ScenePair
from ingest.arrange import Candidate
from ingest.match import REASONS, Matched, Matcher, Rows, contained, loaded
from ingest.pairing import PAIRED
from ingest.places import Places
from ingest.scene_table import Load

# East, south, west, north, then the corners: a neighbour shares a side where it can.
_BESIDE = np.array([(1, 0), (0, -1), (-1, 0), (0, 1), (1, -1), (-1, -1), (-1, 1), (1, 1)])
MAX_NEIGHBOURS = len(_BESIDE)
_DAY_US = 86_400_000_000
_EXPLAINED = 1000  # refused places that the ledger explains scene by scene; `Matcher.explain` does it for any other


@dataclass(frozen=True, eq=False)
class Paired:
    """Places and what the matcher found for them."""

    places: Places
    matcher: Matcher
    matched: Matched
    neighbours: int = 0
    """Wanted beside each pair."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Items of the index that are not among the matcher's scenes, by reason."""

    @property
    def group(self) -> int:
        """Most candidates a place: draws of candidates count places times this."""
        return self.matcher.rules.pairs * (1 + self.neighbours)


@dataclass(frozen=True, eq=False)
class Candidates(Sequence[Candidate]):
    """Candidates in order of draws, as columns; whole ones are made when they are asked for."""

    cells: Places
    """Their draws are the candidates'."""
    s2: Rows
    s1: Rows
    load_s2: Load
    load_s1: Load
    by_scene: Rows
    """Rows of the candidates sorted by tile, optical scene, radar scene and draw."""

    def take(self, rows: Rows) -> list[Candidate]:
        """Some of them, with the scenes that they need and no others."""
        s2, s1 = loaded(self.load_s2, self.s2[rows]), loaded(self.load_s1, self.s1[rows])
        chosen = zip(self.cells.take(rows), self.s2[rows].tolist(), self.s1[rows].tolist(), strict=True)
        return [Candidate(place.draw, ScenePair(place.grid, s1[b], s2[a])) for place, a, b in chosen]

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self[:])

    @overload
    def __getitem__(self, i: int) -> Candidate: ...
    @overload
    def __getitem__(self, i: slice) -> list[Candidate]: ...
    def __getitem__(self, i: int | slice) -> Candidate | list[Candidate]:
        rows = np.arange(len(self))
        return self.take(rows[i]) if isinstance(i, slice) else self.take(rows[[i]])[0]


def candidates_of(paired: Paired) -> Candidates:
    """Candidates in order of draws, each cell and day of Sentinel-2 once; they do not hold on to the matcher."""
    matched, matcher = paired.matched, paired.matcher
    first = np.searchsorted(matched.place, matched.place)
    draw = paired.places.draw[matched.place] * paired.group
    draw += (np.arange(len(first)) - first) * (1 + paired.neighbours)
    cells = replace(paired.places.take(matched.place), draw=draw)
    cells, couple = _with_neighbours(cells, paired)
    kept = _once(cells, matcher.s2.acquired_us[matched.s2[couple]])
    cells, couple = cells.take(kept), couple[kept]
    s2, s1 = matched.s2[couple], matched.s1[couple]
    order = np.lexsort((cells.draw, matcher.s1.ranks()[s1], matcher.s2.ranks()[s2], matcher.s2.tile[s2]))
    return Candidates(cells, s2, s1, matcher.s2.load, matcher.s1.load, order)


def refusals_of(paired: Paired) -> Iterator[tuple[int, str, str, str]]:
    """Draw, cell, reason and detail of each place without a pair; the first thousand tell their scenes."""
    rows = np.flatnonzero(paired.matched.reason != REASONS.index(PAIRED))
    for i, row in enumerate(rows.tolist()):
        place, reason = paired.places[row], REASONS[paired.matched.reason[row]]
        detail = ""
        if i < _EXPLAINED:
            refusals = paired.matcher.explain(place).refusals
            detail = "; ".join(f"{r.item_id}: {r.reason} ({r.detail})" for r in refusals[:3])
        yield place.draw * paired.group, place.grid.name, reason, detail


def _with_neighbours(cells: Places, paired: Paired) -> tuple[Places, Rows]:
    """Cells and after them their neighbours, with the row of the couple of scenes of each."""
    couple = np.arange(len(cells))
    if not paired.neighbours:
        return cells, couple
    fitting = [_beside(cells, step, paired) for step in _BESIDE]
    found = np.cumsum([fits for _, fits in fitting], axis=0)
    parts, couples = [cells], [couple]
    for (beside, fits), number in zip(fitting, found, strict=True):
        taken = np.flatnonzero(fits & (number <= paired.neighbours))
        parts.append(replace(beside.take(taken), draw=cells.draw[taken] + number[taken]))
        couples.append(taken)
    return Places.join(parts), np.concatenate(couples)


def _beside(cells: Places, step: NDArray[np.int64], paired: Paired) -> tuple[Places, NDArray[np.bool_]]:
    """The cells one step away, and which of them lie in the same tile and both scenes."""
    east_m, north_m = (step * cells.side_m).tolist()
    beside = replace(cells, west_m=cells.west_m + east_m, north_m=cells.north_m + north_m)
    outlines = beside.inner_outlines()
    fits = beside.tiles() == cells.tiles()
    rows = np.arange(len(cells))
    for table, scenes in ((paired.matcher.s2, paired.matched.s2), (paired.matcher.s1, paired.matched.s1)):
        inside = np.flatnonzero(fits)
        fits[inside] = contained(table.footprint, scenes[inside], outlines, rows[inside])
    return beside, fits


def _once(cells: Places, acquired_us: NDArray[np.int64]) -> Rows:
    """Rows in order of draws, of each cell and day the first; places drawn come before neighbours."""
    keys = np.stack([cells.epsg, cells.west_m, cells.north_m, acquired_us // _DAY_US], axis=1)
    first: Rows = np.unique(keys, axis=0, return_index=True)[1]  # drawn places stand first in the columns
    return first[np.argsort(cells.draw[first], kind="stable")]
