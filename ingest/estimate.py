"""What a build will take: requests, bytes and hours, known before the first pixel is read."""

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from catalog.bands import S1, S2
from ingest.candidates import Paired
from ingest.chunks import Chunk
from ingest.match import Matched
from ingest.places import Places

# About 10 MB a patch at a random place and half of that on the lattice, where a patch touches one block of an image;
# block sizes from the files of real scenes (2.3 to 3.3 bytes a radar pixel, compression 0.6 for Sentinel-2).
MB_PER_PATCH = 5.0
HEADER_MB = 0.131  # GDAL_INGESTED_BYTES_AT_OPEN: the header of a real image comes in one request of this size
SEARCH_MB = 5.0  # a page of about 400 items of 12 KB
SEARCH_S = 2.0  # a busy API with a limit of 30 s a search; searches go one after the other
S2_IMAGES, S1_IMAGES = len(S2) + 1, len(S1)  # the scene classification is an image too


@dataclass(frozen=True, slots=True)
class Estimate:
    """Numbers of a build that has not begun."""

    places: int
    patches: int
    """That can be written: no more than wanted."""
    s2_scenes: int
    s1_scenes: int
    searches: int
    """Chunks of the scene index that are not on disk."""
    known: bool
    """True where the index is complete, so that scenes were matched; else they are guessed from tiles and strata."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Places by reason, where known."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Items of the index that cannot serve, by reason."""

    @property
    def requests(self) -> int:
        """One for each header of a scene's image, one for the block of each image of a patch, one a search."""
        opens = S2_IMAGES * self.s2_scenes + S1_IMAGES * self.s1_scenes
        return self.searches + opens + (S2_IMAGES + S1_IMAGES) * self.patches

    @property
    def terabytes(self) -> float:
        """Bytes from the provider, 10^12."""
        opens = S2_IMAGES * self.s2_scenes + S1_IMAGES * self.s1_scenes
        return (self.patches * MB_PER_PATCH + opens * HEADER_MB + self.searches * SEARCH_MB) / 1e6

    def hours(self, mb_per_s: float) -> float:
        """Time at a rate of download, over all workers, with the searches before it."""
        return (self.terabytes * 1e6 / mb_per_s + self.searches * SEARCH_S) / 3600


def missing_chunks(chunks: list[Chunk], folder: Path) -> int:
    """Chunks that have still to be asked for."""
    return sum(not chunk.path(folder).exists() for chunk in chunks)


def estimate_known(paired: Paired, count: int) -> Estimate:
    """From matched places: the scenes of the first `count` patches, in order of draws."""
    matched: Matched = paired.matched
    taken = slice(0, -(-count // (1 + paired.neighbours)))
    s2, s1 = (len(np.unique(rows[taken])) for rows in (matched.s2, matched.s1))
    patches = min(count, len(matched.place) * (1 + paired.neighbours))
    reasons, dropped = matched.reasons(), paired.dropped
    return Estimate(len(paired.places), patches, s2, s1, 0, known=True, reasons=reasons, dropped=dropped)


def estimate_unknown(places: Places, count: int, searches: int) -> Estimate:
    """From places alone: one scene of each sensor for each tile and stratum, and a pair for every place."""
    wanted = places[:count]
    tile = np.unique(wanted.tiles(), return_inverse=True)[1]
    scenes = len(np.unique(np.stack([tile, wanted.start_us]), axis=1).T)
    return Estimate(len(places), len(wanted), scenes, scenes, searches, known=False)


def show(estimate: Estimate, mb_per_s: float) -> None:
    """Print an estimate as a table."""
    guess = "" if estimate.known else " (guessed: the scene index is not complete)"
    table = Table(title="Estimate", title_justify="left", show_header=False)
    table.add_row("places", f"{estimate.places:,}")
    for reason, count in estimate.reasons.most_common():
        table.add_row(f"  {reason}", f"{count:,}")
    table.add_row("patches", f"{estimate.patches:,}")
    table.add_row("Sentinel-2 scenes", f"{estimate.s2_scenes:,}{guess}")
    table.add_row("Sentinel-1 scenes", f"{estimate.s1_scenes:,}{guess}")
    for reason, number in estimate.dropped.most_common():
        table.add_row(f"  items left out: {reason}", f"{number:,}")
    table.add_row("searches to come", f"{estimate.searches:,}")
    table.add_row("requests", f"{estimate.requests:,}")
    table.add_row("download", f"{estimate.terabytes:.3f} TB")
    time = dt.timedelta(hours=estimate.hours(mb_per_s))
    table.add_row("time", f"{time / dt.timedelta(hours=1):.1f} h at {mb_per_s:g} MB/s")
    Console().print(table)
