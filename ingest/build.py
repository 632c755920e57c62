"""Build a corpus from a plan: find scenes, pair them, read patches, label them, write shards.

Everything is decided before the first pixel is read, and a shard depends on its own candidates alone; so a build
can be stopped anywhere and run again, with any number of workers, and the corpus comes out the same to the byte.
"""

import dataclasses
import datetime as dt
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from catalog.errors import DeepSentinelError
from catalog.program import main
from catalog.schema import SHARD_ROWS, corpus_record
from catalog.shard import list_shards
from ingest.arrange import Candidate, ShardJob, arrange
from ingest.corine import check_coverage, open_corine
from ingest.errors import PlanError
from ingest.fill import Filling, LabelSources, Limits
from ingest.folder import build_folder
from ingest.ledger import BuildSummary, Row, read_rows, summarise, write_rows
from ingest.match import Matcher
from ingest.osm import extract
from ingest.pairing import Rules, Verdict
from ingest.sample import Plan, read_plan
from ingest.scenes import chunks_of, fetch_index, load_scenes
from ingest.sources import PLANETARY_COMPUTER, source_of
from ingest.workers import LOCAL, hire, terminable

_GIVE_UP_AFTER = 8  # shards in a row: then it is not the shards
_PLACES_LOOKED_AT = 1000  # to see whether labels cover a plan


@dataclass(frozen=True)
class Build:
    """Build a corpus from a plan; run the same command again to continue an interrupted build.

    Example: deepsentinel build plan.parquet --out corpus/unlabelled --workers 4
    """

    plan: Annotated[Path, tyro.conf.Positional]
    """A plan of `deepsentinel sample`."""
    out: Path
    """Folder of the corpus."""
    source: str = PLANETARY_COMPUTER
    """"planetary-computer", the http address of another STAC API, or the path of a static catalog.json."""
    index: Path | None = None
    """Folder of the scene index, which several builds may share; default OUT/index."""
    corine: str | None = None
    """CORINE raster or polygons, a path or URL; makes the corpus a labelled one."""
    osm: Path | None = None
    """OpenStreetMap extract (.osm.pbf); makes the corpus a labelled one."""
    max_gap_days: float = 3.0
    """Longest time between the two images of a patch."""
    scene_cloud_max: float = 60.0
    """Largest cloud cover of a Sentinel-2 scene, percent."""
    limits: Annotated[Limits, tyro.conf.arg(name="")] = field(default_factory=Limits)
    shard_rows: int = SHARD_ROWS
    """Patches a shard."""
    workers: int = 1
    """Processes or threads; each writes whole shards."""
    scheduler: str = LOCAL
    """"local" for processes, "threads", or the address of a Dask scheduler (tcp://host:8786) whose workers see OUT."""
    max_failed_share: float = 0.0
    """End with an error if more than this share of the patches failed; a later run tries them again."""
    patience_s: float = 120.0
    """How long to wait, in all, for one image of a provider that is busy or away."""
    requests_per_s: float = 0.0
    """Most requests a second to one host, over all workers; 0 for no limit."""


def run(options: Build) -> BuildSummary:
    """Build what is missing of a corpus.

    Raises:
        DeepSentinelError: the plan cannot be met, the source fails, or the folder belongs to another build.
    """
    started = time.monotonic()
    plan = read_plan(options.plan)
    with terminable(), build_folder(options.out, _record(options, plan)):
        labels = prepare_labels(options, plan)
        jobs = arrange(candidates_of(pair_places(options, plan)), plan.count, options.shard_rows)
        done = set(list_shards(options.out))
        failures = _fill([job for job in jobs if job.index not in done], options, labels)
        summary = dataclasses.replace(
            summarise(read_rows(options.out / "ledger")),
            seconds=time.monotonic() - started,
            nbytes=sum(path.stat().st_size for path in (options.out / "shards").rglob("*") if path.is_file()),
        )
    _report(summary, options.out)
    _judge(failures, summary, plan.count, options)
    return summary


def pair_places(options: Build, plan: Plan) -> list[Verdict]:
    """Find scenes for the plan's places and pair them; refusals go to the ledger.

    Raises:
        PlanError: no scenes at all for the plan's region and period.
    """
    source = source_of(options.source)
    rules = Rules(dt.timedelta(days=options.max_gap_days), options.scene_cloud_max)
    folder = options.index or options.out / "index"
    chunks = chunks_of(plan.places, source, rules.max_gap)
    fetch_index(chunks, source, folder)
    scenes = load_scenes(chunks, source, folder)
    s2 = [scene for scene in scenes if scene.collection == source.s2_collection]
    s1 = [scene for scene in scenes if scene.collection == source.s1_collection]
    if not s2 or not s1:
        raise PlanError(
            f"{source.name} has {len(s2)} Sentinel-2 and {len(s1)} Sentinel-1 scenes for the plan's region and period; "
            "choose a region and period that both satellites cover (Sentinel-1 from 2014-10, Sentinel-2 from 2015-07)"
        )
    verdicts = Matcher(s2, s1, rules).match(plan.places)
    refused = [_refused_row(verdict) for verdict in verdicts if verdict.pair is None]
    write_rows(refused, options.out / "ledger" / "pairing.jsonl")
    return verdicts


def candidates_of(verdicts: Sequence[Verdict]) -> list[Candidate]:
    """Paired places in order of draws."""
    return [Candidate(verdict.place.draw, verdict.pair) for verdict in verdicts if verdict.pair is not None]


def prepare_labels(options: Build, plan: Plan) -> LabelSources:
    """Check the label sources against the plan, and turn an OpenStreetMap extract into a table that workers share.

    Raises:
        PlanError: a label source is missing, unreadable, or does not cover the plan.
    """
    if options.corine is not None:
        with open_corine(options.corine) as corine:
            step = len(plan.places) // _PLACES_LOOKED_AT + 1
            check_coverage(corine, [plan.places[i].grid for i in range(0, len(plan.places), step)])
    names = tuple(label_files(options).items())
    if options.osm is None:
        return LabelSources(options.corine, None, names)
    features = options.out / "osm"
    extract(options.osm, features)
    return LabelSources(options.corine, features.absolute(), names)


def label_files(options: Build) -> dict[str, str]:
    """Name of the file that each label comes from."""
    sources = {"corine": options.corine, "osm": options.osm}
    return {name: PurePosixPath(str(path)).name for name, path in sources.items() if path is not None}


def _fill(jobs: Sequence[ShardJob], options: Build, labels: LabelSources) -> list[DeepSentinelError]:
    """Fill shards, one after the other failing or not; gives up when many in a row fail.

    Raises:
        DeepSentinelError: the error of shards in a row.
    """
    filling = Filling(
        options.out.absolute(), options.source, labels, options.limits, options.patience_s, options.requests_per_s
    )
    columns = TextColumn("Reading patches"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    failures: list[DeepSentinelError] = []
    in_a_row = 0
    with Progress(*columns) as progress, hire(options.scheduler, options.workers) as crew:
        task = progress.add_task("", total=sum(job.rows for job in jobs))
        for outcome in crew.run(filling, jobs):
            if isinstance(outcome, DeepSentinelError):
                failures.append(outcome)
                in_a_row += 1
                if in_a_row >= _GIVE_UP_AFTER:
                    break
            else:
                in_a_row = 0
                progress.advance(task, outcome.written)
    return failures


def _judge(failures: Sequence[DeepSentinelError], summary: BuildSummary, count: int, options: Build) -> None:
    """Raise the first error if too much failed."""
    missing = count - summary.written
    if not failures or missing <= options.max_failed_share * count:
        return
    raise type(failures[0])(
        f"{failures[0]}; {missing} of {count} patches failed (--max-failed-share {options.max_failed_share:g}), "
        f"{summary.written} were written and are kept"
    ) from failures[0]


def _record(options: Build, plan: Plan) -> dict[str, Any]:
    """What decides the bytes of a build, and so which builds are the same."""
    labelled = options.corine is not None or options.osm is not None
    return corpus_record(
        "labelled" if labelled else "unlabelled",
        plan.places[0].grid.side_px,
        plan={"sha256": hashlib.sha256(options.plan.read_bytes()).hexdigest(), "count": plan.count, **plan.about},
        source=options.source,
        labels=list(label_files(options).values()),
        rules={"max_gap_days": options.max_gap_days, "scene_cloud_max": options.scene_cloud_max},
        limits=dataclasses.asdict(options.limits),
        shard_rows=options.shard_rows,
    )


def _refused_row(verdict: Verdict) -> Row:
    detail = "; ".join(f"{r.item_id}: {r.reason} ({r.detail})" for r in verdict.refusals[:3])
    return Row(verdict.place.draw, verdict.place.grid.name, "skipped", verdict.reason, detail)


def _report(summary: BuildSummary, out: Path) -> None:
    table = Table(title=f"{out}", title_justify="left", show_header=False)
    table.add_row("patches written", f"{summary.written}")
    for reason, count in summary.skipped.most_common():
        table.add_row(f"skipped: {reason}", f"{count}")
    for reason, count in summary.failed.most_common():
        table.add_row(f"failed: {reason}", f"{count}")
    table.add_row("stored", f"{summary.nbytes / 1e6:.1f} MB")
    table.add_row("time", f"{summary.seconds:.1f} s ({summary.written / max(summary.seconds, 1e-9):.1f} patches/s)")
    Console().print(table)


if __name__ == "__main__":
    main(Build, run)
