"""Fill shards: read candidates in order until a shard is full, label them, write it. Runs in worker processes."""

import contextlib
import dataclasses
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.errors import DeepSentinelError, OutputExistsError
from catalog.objects import objects_path
from catalog.patch import Patch, ScenePair, describe_scene
from catalog.shard import write_shard
from ingest.arrange import Candidate, ShardJob, by_scene
from ingest.corine import labels_and_unknown, open_corine
from ingest.errors import PlanError, ReadError, Refused, SourceError
from ingest.folder import disk_errors
from ingest.images import Access
from ingest.ledger import Row, write_rows
from ingest.limits import Limits, check_limits
from ingest.osm import OsmFeatures
from ingest.osm_objects import write_objects
from ingest.pair_reader import PairReader
from ingest.ratelimit import RateLimit
from ingest.redaction import hide_tokens
from ingest.sources import source_of
from ingest.tally import Teller
from ingest.worldcover import WorldCover, Year

_log = logging.getLogger(__name__)

Outcome = tuple[Candidate, Patch | Refused]

_COMMITTING = threading.Lock()  # writing changes the process's warning filters, which threads share
FAILED_BECAUSE = {ReadError: "image_out_of_reach", SourceError: "no_token", PlanError: "too_few_candidates"}
"""Reasons in the ledger of what a later run may cure."""


@dataclass(frozen=True, slots=True)
class LabelSources:
    """Files that labels are drawn from; None where not wanted."""

    corine: str | None
    """Path or URL."""
    osm_features: Path | None
    """The folder of tables that `ingest.osm.extract` wrote."""
    worldcover: Year | None = None
    """Year of ESA WorldCover."""
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
        hide_tokens()
        rows: dict[int, Row] = {}
        with disk_errors(self.root):
            teller = Teller(self.root, job.index)
            try:
                patches = self._read(job, rows, teller)
            except DeepSentinelError as error:
                _mark_failed(job, rows, error)
                teller.tell(0, Counter(), 0, at_once=True)
                self._write_ledger(job, rows)
                raise
            self._write_ledger(job, rows)
            shown = [(patch.patch_id, patch.provenance.grid) for patch in patches]
            write_objects(self.labels.osm_features, shown, objects_path(self.root, job.index))
            # Another worker that was thought lost may have committed the same bytes.
            with _COMMITTING, contextlib.suppress(OutputExistsError):
                write_shard(self.root, job.index, patches)
        return ShardOutcome(job.index, len(patches), time.monotonic() - started)

    def _read(self, job: ShardJob, rows: dict[int, Row], teller: Teller) -> list[Patch]:
        limit = RateLimit(self.root / ".requests", self.requests_per_s)
        access = Access(source_of(self.source), self.patience_s, limit)
        with ExitStack() as stack:
            reader = PatchReader(access, self.labels, self.limits, stack)

            def told(candidates: Sequence[Candidate]) -> Iterator[Outcome]:
                for outcome in reader.read_all(candidates):
                    yield outcome
                    teller.tell(*_counts(rows.values()), access.meter.nbytes)

            patches = _first_survivors(job, told, rows)
        teller.tell(*_counts(rows.values()), access.meter.nbytes, at_once=True)
        if len(patches) < job.rows:
            raise PlanError(
                f"shard {job.index} holds {len(patches)} of {job.rows} patches after {len(job.candidates)} candidates "
                f"({_most_common(rows.values())}); draw a larger plan (sample --reserve) or loosen the limits"
            )
        return patches

    def _write_ledger(self, job: ShardJob, rows: Mapping[int, Row]) -> None:
        write_rows([rows[draw] for draw in sorted(rows)], self.root / f"ledger/{job.index:06d}.jsonl")


class PatchReader:
    """Reads, checks and labels patch after patch."""

    def __init__(self, access: Access, labels: LabelSources, limits: Limits, stack: ExitStack) -> None:
        self._pairs = PairReader(access, stack)
        self._limits = limits
        self._names = dict(labels.names)
        self._corine = open_corine(labels.corine) if labels.corine else None
        if self._corine is not None:
            stack.push(self._corine)
        self._osm = OsmFeatures(labels.osm_features) if labels.osm_features else None
        self._worldcover = stack.enter_context(WorldCover(labels.worldcover, access)) if labels.worldcover else None

    def read_all(self, candidates: Sequence[Candidate]) -> Iterator[Outcome]:
        """Each candidate's patch, or why it is not fit for the corpus, in order.

        Raises:
            ReadError: an image cannot be had now.
        """
        outcomes = self._pairs.read_all(candidate.pair for candidate in candidates)
        for candidate, outcome in zip(candidates, outcomes, strict=True):
            try:
                yield candidate, outcome if isinstance(outcome, Refused) else self._finish(outcome)
            except Refused as refused:
                yield candidate, refused

    def _finish(self, patch: Patch) -> Patch:
        broken = check_limits(patch, self._limits)
        grid = patch.provenance.grid
        made: dict[str, Any] = {}
        unknown: dict[str, int] = {}
        if self._corine is not None:
            made["corine"], unknown = labels_and_unknown(self._corine, grid)
        if self._osm is not None:
            made["osm"] = self._osm.labels(grid)
        if self._worldcover is not None:
            made["worldcover"] = self._worldcover.labels(grid)
        extra: dict[str, Any] = ({"labels": self._names} if made else {}) | ({"physics": broken} if broken else {})
        extra |= {"corine_unknown": unknown} if unknown else {}
        provenance = dataclasses.replace(patch.provenance, extra=extra)
        return dataclasses.replace(patch, labels=made, provenance=provenance)


def _first_survivors(
    job: ShardJob, read_all: Callable[[Sequence[Candidate]], Iterator[Outcome]], rows: dict[int, Row]
) -> list[Patch]:
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
                detail = _replacements(candidate.pair, outcome)
                rows[candidate.draw] = Row(candidate.draw, cell, "written", "", detail, outcome.patch_id)
    return [taken[draw] for draw in sorted(taken)]


def _replacements(planned: ScenePair, patch: Patch) -> str:
    """Which planned scenes the patch is not from; mostly none."""
    pairs = (planned.s2, patch.provenance.s2), (planned.s1, patch.provenance.s1)
    return "; ".join(
        f"{old.item_id} was made again: {new['item_id']}" for old, new in pairs if describe_scene(old) != new
    )


def _mark_failed(job: ShardJob, rows: dict[int, Row], error: DeepSentinelError) -> None:
    """Give the patches that a shard could have had the error's reason, instead of "written"."""
    kept = [c for c in job.candidates if c.draw not in rows or rows[c.draw].status != "skipped"]
    for candidate in kept[: job.rows]:
        reason = FAILED_BECAUSE.get(type(error), type(error).__name__)
        rows[candidate.draw] = Row(candidate.draw, candidate.pair.grid.name, "failed", reason, str(error))
    for candidate in kept[job.rows :]:
        rows.pop(candidate.draw, None)


def _counts(rows: Iterable[Row]) -> tuple[int, Counter[str]]:
    """How many are fit, and refusals by reason."""
    counts = Counter(row.reason for row in rows)
    read = counts.pop("", 0)
    return read, counts


def _most_common(rows: Iterable[Row]) -> str:
    reasons = [row.reason for row in rows if row.status == "skipped"]
    return f"mostly {max(set(reasons), key=reasons.count)}" if reasons else "none was refused"
