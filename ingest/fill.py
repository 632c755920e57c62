"""Fill shards: read candidates in order until a shard is full, label them, write it. Runs in worker processes."""

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from catalog.errors import DeepSentinelError
from catalog.patch import Patch
from catalog.physics import check_physics
from catalog.shard import write_shard
from ingest.arrange import Candidate, ShardJob, by_scene
from ingest.corine import CorineRaster
from ingest.errors import PlanError, Refused
from ingest.ledger import Row, write_rows
from ingest.osm import OsmFeatures
from ingest.read import SceneReader, gdal_settings, read_patch
from ingest.sources import Source, source_of

_log = logging.getLogger(__name__)

LOW_S2_VALID = "low_s2_valid_share"
LOW_S1_VALID = "low_s1_valid_share"
CLOUDY_PATCH = "cloudy_patch"
PHYSICS = "physics"


@dataclass(frozen=True)
class Limits:
    """What a patch must be to enter the corpus, after it was read."""

    s2_valid_min: float = 1.0
    """Smallest share of pixels valid in every Sentinel-2 band."""
    s1_valid_min: float = 0.99
    """Smallest share of pixels valid in both Sentinel-1 polarisations."""
    patch_cloud_max: float = 0.5
    """Largest share of cloudy pixels (scene classification 8, 9, 10)."""
    physics: Literal["refuse", "warn"] = "refuse"
    """What to do with a patch whose values contradict its bands."""


@dataclass(frozen=True, slots=True)
class LabelSources:
    """Files that labels are drawn from; None where not wanted."""

    corine: Path | None
    osm_features: Path | None
    """The table that `ingest.osm.extract` wrote."""
    names: tuple[tuple[str, str], ...] = ()
    """Label name and source file, for provenance."""


@dataclass(frozen=True, slots=True)
class ShardOutcome:
    """One shard done."""

    index: int
    written: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Filling:
    """What every worker needs to fill shards."""

    root: Path
    source: str
    labels: LabelSources
    limits: Limits

    def __call__(self, job: ShardJob) -> ShardOutcome:
        """Fill and commit one shard; its ledger is written first, so a committed shard always has one.

        Raises:
            ReadError: an image cannot be had now; nothing of the shard is kept.
            PlanError: too few candidates survived reading.
        """
        started = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(gdal_settings())
            reader = PatchReader(source_of(self.source), self.labels, self.limits, stack)
            patches, rows = _first_survivors(job, reader.read)
        if len(patches) < job.rows:
            raise PlanError(
                f"shard {job.index} holds {len(patches)} of {job.rows} patches after {len(job.candidates)} candidates "
                f"({_most_common(rows)}); draw a larger plan (sample --reserve) or loosen the limits"
            )
        write_rows(rows, self.root / f"ledger/{job.index:06d}.jsonl")
        write_shard(self.root, job.index, patches)
        return ShardOutcome(job.index, len(patches), time.monotonic() - started)


class PatchReader:
    """Reads and labels patch after patch, keeping the images of the present pair of scenes open."""

    def __init__(self, source: Source, labels: LabelSources, limits: Limits, stack: ExitStack) -> None:
        self._source = source
        self._limits = limits
        self._names = dict(labels.names)
        self._corine = stack.enter_context(CorineRaster(labels.corine)) if labels.corine else None
        self._osm = OsmFeatures(labels.osm_features) if labels.osm_features else None
        self._scenes: dict[str, SceneReader] = {}
        stack.callback(self._close_all)

    def read(self, candidate: Candidate) -> Patch:
        """Read one patch.

        Raises:
            Refused: the patch is not fit for the corpus.
            ReadError: an image cannot be had now.
        """
        pair = candidate.pair
        patch = read_patch(pair, self._reader(pair.s2), self._reader(pair.s1))
        _check_limits(patch, self._limits)
        made: dict[str, Any] = {}
        if self._corine is not None:
            made["corine"] = self._corine.labels(pair.grid)
        if self._osm is not None:
            made["osm"] = self._osm.labels(pair.grid)
        provenance = dataclasses.replace(patch.provenance, extra={"labels": self._names} if made else {})
        return dataclasses.replace(patch, labels=made, provenance=provenance)

    def _reader(self, scene: Any) -> SceneReader:
        for kept in [k for k, r in self._scenes.items() if r.scene.sensor == scene.sensor and k != scene.item_id]:
            self._scenes.pop(kept).close()
        return self._scenes.setdefault(scene.item_id, SceneReader(scene, self._source))

    def _close_all(self) -> None:
        for reader in self._scenes.values():
            reader.close()


def fill_all(jobs: Sequence[ShardJob], filling: Filling, workers: int) -> Iterator[ShardOutcome | DeepSentinelError]:
    """Fill shards in worker processes; yields outcomes, and expected errors, as they come."""
    if workers == 1 or len(jobs) <= 1:
        for job in jobs:
            yield _outcome(lambda job=job: filling(job))  # type: ignore[misc]
        return
    # spawn: a forked copy of GDAL's network threads and locks would hang
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures: list[Future[ShardOutcome]] = [pool.submit(filling, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield _outcome(future.result)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _outcome(work: Callable[[], ShardOutcome]) -> ShardOutcome | DeepSentinelError:
    try:
        return work()
    except DeepSentinelError as error:
        return error


def _first_survivors(job: ShardJob, read: Callable[[Candidate], Patch]) -> tuple[list[Patch], list[Row]]:
    """The first `rows` candidates, in order of draws, that can be read; with a ledger row for each one tried.

    Candidates are tried in groups as large as what is still missing, each group by scene, so which ones survive
    does not depend on the order of reading.
    """
    waiting = deque(job.candidates)
    taken: dict[int, Patch] = {}
    rows: dict[int, Row] = {}
    while waiting and len(taken) < job.rows:
        group = [waiting.popleft() for _ in range(min(job.rows - len(taken), len(waiting)))]
        for candidate in by_scene(group):
            cell = candidate.pair.grid.name
            try:
                patch = read(candidate)
            except Refused as refused:
                _log.info("%s: %s", cell, refused)
                rows[candidate.draw] = Row(candidate.draw, cell, "skipped", refused.reason, refused.detail)
            else:
                taken[candidate.draw] = patch
                rows[candidate.draw] = Row(candidate.draw, cell, "written", patch_id=patch.patch_id)
    return [taken[draw] for draw in sorted(taken)], [rows[draw] for draw in sorted(rows)]


def _check_limits(patch: Patch, limits: Limits) -> None:
    quality = patch.provenance.quality
    for reason, share, limit in (
        (LOW_S2_VALID, quality.s2_valid_share, limits.s2_valid_min),
        (LOW_S1_VALID, quality.s1_valid_share, limits.s1_valid_min),
    ):
        if share < limit:
            raise Refused(reason, f"{share:.4f} of the pixels are valid (limit {limit:g})")
    if quality.cloud_share > limits.patch_cloud_max:
        raise Refused(
            CLOUDY_PATCH, f"{quality.cloud_share:.3f} of the pixels are cloudy (limit {limits.patch_cloud_max:g})"
        )
    if findings := check_physics(patch):
        evidence = "; ".join(f"{finding.rule}: {finding.evidence}" for finding in findings)
        if limits.physics == "refuse":
            raise Refused(PHYSICS, evidence)
        _log.warning("%s contradicts its bands: %s", patch.patch_id, evidence)


def _most_common(rows: Sequence[Row]) -> str:
    reasons = [row.reason for row in rows if row.status == "skipped"]
    return f"mostly {max(set(reasons), key=reasons.count)}" if reasons else "none was refused"
