"""What a worker has done so far, told through small files in the build's folder, whatever runs the workers.

They are for people who wait: no decision and no byte of the corpus depends on them.
"""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = ".progress"
_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of a shard, or of many."""

    read: int = 0
    """Patches read and found fit."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Candidates refused, by reason."""
    fetched_bytes: int = 0
    seconds: float = 0.0
    """Of work, over all workers."""

    def __add__(self, other: "Tally") -> "Tally":
        """The sum of two parts."""
        return Tally(
            self.read + other.read, self.skipped + other.skipped, self.fetched_bytes + other.fetched_bytes,
            self.seconds + other.seconds,
        )  # fmt: skip


class Teller:
    """Keeps the file of one shard; about once a second, for a file system may be slow."""

    def __init__(self, root: Path, index: int) -> None:
        self._path = path_of(root, index)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._started = time.monotonic()
        self._told = 0.0

    def tell(self, read: int, skipped: Counter[str], fetched_bytes: int, *, at_once: bool = False) -> None:
        """Say how far the shard is."""
        now = time.monotonic()
        if now - self._told < _EVERY_S and not at_once:
            return
        self._told = now
        seconds = round(now - self._started, 3)
        aside = self._path.with_suffix(".part")
        with contextlib.suppress(OSError):  # a full disk stops the build where something is lost by it
            aside.write_text(json.dumps([read, skipped, fetched_bytes, seconds]))
            aside.replace(self._path)


def path_of(root: Path, index: int) -> Path:
    """Where a shard's tally is told."""
    return root / FOLDER / f"{index:06d}.json"


def read_tallies(root: Path, but: Collection[int] = ()) -> dict[int, Tally]:
    """What was told, by shard."""
    found = {}
    for path in sorted((root / FOLDER).glob("*.json")):
        if (index := int(path.stem)) not in but:
            read, skipped, fetched_bytes, seconds = json.loads(path.read_text())
            found[index] = Tally(read, Counter(skipped), fetched_bytes, seconds)
    return found


def forget_unfinished(root: Path, shards: Collection[int]) -> None:
    """Drop what was told of shards that were not committed: they begin anew."""
    for path in (root / FOLDER).glob("*.json"):
        if int(path.stem) not in shards:
            path.unlink()
