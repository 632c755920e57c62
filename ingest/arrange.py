"""Which pairs go into which shard: a fixed answer, so that any number of workers builds the same corpus."""

from collections.abc import Sequence
from dataclasses import dataclass

from catalog.patch import ScenePair
from ingest.errors import PlanError


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


def arrange(candidates: Sequence[Candidate], count: int, shard_rows: int) -> list[ShardJob]:
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
    shards = -(-count // shard_rows)
    ordered = sorted(candidates, key=_locality)
    return [
        ShardJob(
            index,
            rows=_part(count, shards, index + 1) - _part(count, shards, index),
            candidates=tuple(
                sorted(
                    ordered[_part(len(ordered), shards, index) : _part(len(ordered), shards, index + 1)],
                    key=lambda candidate: candidate.draw,
                )
            ),
        )
        for index in range(shards)
    ]


def by_scene(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The same candidates, those of one pair of scenes one after the other."""
    return sorted(candidates, key=_locality)


def _locality(candidate: Candidate) -> tuple[str, str, str, int]:
    pair = candidate.pair
    return pair.s2.tile or "", pair.s2.item_id, pair.s1.item_id, candidate.draw


def _part(total: int, parts: int, i: int) -> int:
    return total * i // parts
