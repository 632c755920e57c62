"""Fill shards: read candidates in order until a shard is full, label them, write it. Runs in worker processes."""

import contextlib
import dataclasses
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from catalog.errors import DeepSentinelError, OutputExistsError
from catalog.objects import objects_path
from catalog.patch import Patch, Scene, ScenePair
from catalog.physics import check_physics
from catalog.shard import write_shard
from ingest.arrange import Candidate, ShardJob, by_scene
from ingest.corine import open_corine
from ingest.errors import PlanError, ReadError, Refused, SourceError
from ingest.folder import disk_errors
from ingest.images import Access
from ingest.ledger import Row, write_rows
from ingest.osm import OsmFeatures
from ingest.osm_objects import write_objects
from ingest.ratelimit import RateLimit
from ingest.read import BANDS_AT_ONCE, SceneReader, ask_for_patch
from ingest.sources import source_of

_log = logging.getLogger(__name__)

LOW_S2_VALID = "low_s2_valid_share"
LOW_S1_VALID = "low_s1_valid_share"
CLOUDY_PATCH = "cloudy_patch"
PHYSICS = "physics"

PATCHES_AHEAD = 2  # on their way while one is computed: enough to keep every thread waiting for the network

ReadAll = Callable[[Iterable[Candidate]], Iterator[tuple[Candidate, Patch | Refused]]]

_COMMITTING = threading.Lock()  # writing changes the process's warning filters, which threads share
FAILED_BECAUSE = {ReadError: "image_out_of_reach", SourceError: "no_token", PlanError: "too_few_candidates"}
"""Reasons in the ledger of what a later run may cure."""


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
    """What to do with a patch whose values contradict its bands; what is kept names the rules in its provenance."""


@dataclass(frozen=True, slots=True)
class LabelSources:
    """Files that labels are drawn from; None where not wanted."""

    corine: str | None
    """Path or URL."""
    osm_features: Path | None
    """The folder of tables that `ingest.osm.extract` wrote."""
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
    patience_s: float = 120.0
    """How long to wait, in all, for one image of a provider that is busy or away."""
    requests_per_s: float = 0.0
    """Most requests a second to one host, over all workers; 0 for no limit."""

    def __call__(self, job: ShardJob) -> ShardOutcome:
        """Fill and commit one shard; its ledger is written first, so a committed shard always has one.

        Raises:
            ReadError: an image cannot be had now; nothing of the shard is kept.
            PlanError: too few candidates survived reading.
            WriteError: the disk is full.
        """
        started = time.monotonic()
        rows: dict[int, Row] = {}
        with disk_errors(self.root):
            try:
                patches = self._read(job, rows)
            except DeepSentinelError as error:
                _mark_failed(job, rows, error)
                self._write_ledger(job, rows)
                raise
            self._write_ledger(job, rows)
            shown = [(patch.patch_id, patch.provenance.grid) for patch in patches]
            write_objects(self.labels.osm_features, shown, objects_path(self.root, job.index))
            # Another worker that was thought lost may have committed the same bytes.
            with _COMMITTING, contextlib.suppress(OutputExistsError):
                write_shard(self.root, job.index, patches)
        return ShardOutcome(job.index, len(patches), time.monotonic() - started)

    def _read(self, job: ShardJob, rows: dict[int, Row]) -> list[Patch]:
        limit = RateLimit(self.root / ".requests", self.requests_per_s)
        access = Access(source_of(self.source), self.patience_s, limit)
        with ExitStack() as stack:
            reader = PatchReader(access, self.labels, self.limits, stack)
            patches = _first_survivors(job, reader.read_all, rows)
        if len(patches) < job.rows:
            raise PlanError(
                f"shard {job.index} holds {len(patches)} of {job.rows} patches after {len(job.candidates)} candidates "
                f"({_most_common(rows.values())}); draw a larger plan (sample --reserve) or loosen the limits"
            )
        return patches

    def _write_ledger(self, job: ShardJob, rows: Mapping[int, Row]) -> None:
        write_rows([rows[draw] for draw in sorted(rows)], self.root / f"ledger/{job.index:06d}.jsonl")


class PatchReader:
    """Reads and labels patch after patch, keeping the images of the present pair of scenes open."""

    def __init__(self, access: Access, labels: LabelSources, limits: Limits, stack: ExitStack) -> None:
        self._access = access
        self._limits = limits
        stack.callback(self._close_all)
        self._threads = ThreadPoolExecutor(BANDS_AT_ONCE, thread_name_prefix="band")
        stack.callback(self._threads.shutdown, cancel_futures=True)  # of patches nobody waits for after an error
        self._names = dict(labels.names)
        self._corine = open_corine(labels.corine) if labels.corine else None
        if self._corine is not None:
            stack.push(self._corine)
        self._osm = OsmFeatures(labels.osm_features) if labels.osm_features else None
        self._scenes: dict[str, SceneReader] = {}

    def read_all(self, candidates: Iterable[Candidate]) -> Iterator[tuple[Candidate, Patch | Refused]]:
        """Each candidate's patch, or why it is not fit for the corpus, in order.

        While one patch is computed the images of the next are on their way, in the same few threads.

        Raises:
            ReadError: an image cannot be had now.
        """
        waiting = iter(candidates)
        asked = deque((one, self._ask(one.pair)) for one in itertools.islice(waiting, PATCHES_AHEAD))
        while asked:
            asked.extend((one, self._ask(one.pair)) for one in itertools.islice(waiting, 1))
            candidate, patch = asked.popleft()
            try:
                yield candidate, self._finish(patch(), candidate.pair)
            except Refused as refused:
                yield candidate, refused
            self._close_all(but={id_ for one, _ in (*asked, (candidate, patch)) for id_ in _scene_ids(one.pair)})

    def _ask(self, pair: ScenePair) -> Callable[[], Patch]:
        return ask_for_patch(pair, self._reader(pair.s2), self._reader(pair.s1), self._threads)

    def _finish(self, patch: Patch, pair: ScenePair) -> Patch:
        broken = _check_limits(patch, self._limits)
        made: dict[str, Any] = {}
        if self._corine is not None:
            made["corine"] = self._corine.labels(pair.grid)
        if self._osm is not None:
            made["osm"] = self._osm.labels(pair.grid)
        extra = ({"labels": self._names} if made else {}) | ({"physics": broken} if broken else {})
        provenance = dataclasses.replace(patch.provenance, extra=extra)
        return dataclasses.replace(patch, labels=made, provenance=provenance)

    def _reader(self, scene: Scene) -> SceneReader:
        if scene.item_id not in self._scenes:
            self._scenes[scene.item_id] = SceneReader(scene, self._access)
        return self._scenes[scene.item_id]

    def _close_all(self, but: Container[str] = ()) -> None:
        for item_id in [one for one in self._scenes if one not in but]:
            self._scenes.pop(item_id).close()


def _scene_ids(pair: ScenePair) -> tuple[str, str]:
    return pair.s2.item_id, pair.s1.item_id


def _first_survivors(job: ShardJob, read_all: ReadAll, rows: dict[int, Row]) -> list[Patch]:
    """The first `rows` candidates, in order of draws, that can be read; with a ledger row by draw for each one tried.

    Candidates are tried in groups as large as what is still missing, each group by scene, so which ones survive
    does not depend on the order of reading.
    """
    waiting = deque(job.candidates)
    taken: dict[int, Patch] = {}
    while waiting and len(taken) < job.rows:
        group = [waiting.popleft() for _ in range(min(job.rows - len(taken), len(waiting)))]
        for candidate, outcome in read_all(by_scene(group)):
            cell = candidate.pair.grid.name
            if isinstance(outcome, Refused):
                _log.info("%s: %s", cell, outcome)
                rows[candidate.draw] = Row(candidate.draw, cell, "skipped", outcome.reason, outcome.detail)
            else:
                taken[candidate.draw] = outcome
                rows[candidate.draw] = Row(candidate.draw, cell, "written", patch_id=outcome.patch_id)
    return [taken[draw] for draw in sorted(taken)]


def _mark_failed(job: ShardJob, rows: dict[int, Row], error: DeepSentinelError) -> None:
    """Give the patches that a shard could have had the error's reason, instead of "written"."""
    kept = [c for c in job.candidates if c.draw not in rows or rows[c.draw].status != "skipped"]
    for candidate in kept[: job.rows]:
        reason = FAILED_BECAUSE.get(type(error), type(error).__name__)
        rows[candidate.draw] = Row(candidate.draw, candidate.pair.grid.name, "failed", reason, str(error))
    for candidate in kept[job.rows :]:
        rows.pop(candidate.draw, None)


def _check_limits(patch: Patch, limits: Limits) -> list[str]:
    """Refuse a patch outside the limits; the physics rules that it breaks where that is only warned of."""
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
    findings = check_physics(patch)
    if findings:
        evidence = "; ".join(f"{finding.rule}: {finding.evidence}" for finding in findings)
        if limits.physics == "refuse":
            raise Refused(PHYSICS, evidence)
        _log.warning("%s contradicts its bands: %s", patch.patch_id, evidence)
    return [finding.rule for finding in findings]


def _most_common(rows: Iterable[Row]) -> str:
    reasons = [row.reason for row in rows if row.status == "skipped"]
    return f"mostly {max(set(reasons), key=reasons.count)}" if reasons else "none was refused"
