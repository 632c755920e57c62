"""Which pairs go into which shard: a fixed answer, so that any number of workers builds the same corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from catalog.patch import ScenePair
from ingest.errors import PlanError

if TYPE_CHECKING:
    from ingest.candidates import Candidates


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair that may become a patch, and its place in the order of draws."""

    draw: int
    pair: ScenePair


@dataclass(frozen=True, slots=True)
class ShardJob:
    """One shard to fill: the first `rows` candidates, in order of draws, that survive reading."""

    index: int
    rows: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Which candidates go into which shard; a job is made when it is wanted, for the scenes of all fill the memory."""

    candidates: "Candidates"
    count: int
    """Patches wanted."""
    shards: int
    order: NDArray[np.int64]
    """Rows of the candidates, those of one shard one after the other."""

    def rows(self, index: int) -> int:
        """Patches of a shard."""
        return _part(self.count, self.shards, index + 1) - _part(self.count, self.shards, index)

    def job(self, index: int) -> ShardJob:
        """What a worker needs to fill a shard."""
        first, last = (_part(len(self.order), self.shards, i) for i in (index, index + 1))
        members = np.sort(self.order[first:last])  # candidates stand in the order of draws
        return ShardJob(index, self.rows(index), tuple(self.candidates.take(members)))


def arrange(candidates: "Candidates", count: int, shard_rows: int) -> Arrangement:
    """Deal candidates into shards of neighbours.

    Candidates of one scene go to one shard as far as possible, so that one open image serves many patches. Each
    shard gets an equal part of the reserve.

    Raises:
        PlanError: there are fewer candidates than patches wanted.
    """
    if len(candidates) < count:
        raise PlanError(
            f"only {len(candidates)} places can be paired and {count} patches are wanted; draw a larger plan "
            "(sample --reserve), or loosen --max-gap-days or --scene-cloud-max"
        )
    return Arrangement(candidates, count, -(-count // shard_rows), candidates.by_scene)


def by_scene(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The same candidates, those of one pair of scenes one after the other."""
    return sorted(candidates, key=_locality)


def _locality(candidate: Candidate) -> tuple[str, str, str, int]:
    pair = candidate.pair
    return pair.s2.tile or "", pair.s2.item_id, pair.s1.item_id, candidate.draw


def _part(total: int, parts: int, i: int) -> int:
    return total * i // parts
