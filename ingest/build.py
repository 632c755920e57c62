"""Build a corpus from a plan: find scenes, pair them, read patches, label them, write shards.

Everything is decided before the first pixel is read, and a shard depends on its own candidates alone and on what the
provider holds when it is read; so a build can be stopped anywhere and run again, with any number of workers, and the
corpus comes out the same to the byte. Where a scene is made again meanwhile, the shards still to come are read from its
newest processing, and their ledgers say so.
"""

import dataclasses
import datetime as dt
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from catalog.errors import DeepSentinelError
from catalog.program import main
from catalog.schema import SHARD_ROWS, corpus_record
from catalog.shard import list_shards
from ingest.arrange import Arrangement, arrange
from ingest.candidates import MAX_NEIGHBOURS, Paired, candidates_of, refusals_of
from ingest.chunks import chunks_of
from ingest.corine import check_coverage, open_corine
from ingest.display import shown
from ingest.errors import PlanError, WriteError
from ingest.estimate import Estimate, estimate_known, estimate_unknown, missing_chunks, show
from ingest.fill import Filling, LabelSources
from ingest.folder import build_folder
from ingest.ledger import BuildSummary, Row, iterate_rows, summarise, write_rows
from ingest.limits import Limits
from ingest.match import Matcher
from ingest.osm import extract
from ingest.pairing import Rules
from ingest.sample import Plan, read_plan
from ingest.scenes import Renewal, Way, find_scenes
from ingest.sources import PLANETARY_COMPUTER, source_of
from ingest.tally import Tally, forget_unfinished, read_tallies
from ingest.workers import LOCAL, hire, terminable
from ingest.worldcover import check_source, product_name

_GIVE_UP_AFTER = 8  # shards in a row: then it is not the shards
_PLACES_LOOKED_AT = 1000  # to see whether labels cover a plan


@dataclass(frozen=True)
class Choice:
    """Which scenes serve, and how many patches are made of them."""

    orbit: Literal["any", "ascending", "descending"] = "any"
    """Direction of Sentinel-1's flight."""
    months: tuple[int, ...] = ()
    """Months (1 to 12) of the optical image; all when not given."""
    pairs: int = 1
    """Most pairs of one place, on as many days."""
    neighbours: int = 0
    """Cells beside each patch, up to 8, read from the same two scenes."""


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
    worldcover: Literal[2020, 2021] | None = None
    """Year of ESA WorldCover, the label that covers all land, from the provider; makes the corpus a labelled one."""
    max_gap_days: float = 3.0
    """Longest time between the two images of a patch."""
    scene_cloud_max: float = 60.0
    """Largest cloud cover of a Sentinel-2 scene, percent."""
    choice: Annotated[Choice, tyro.conf.arg(name="")] = field(default_factory=Choice)
    scenes: tuple[Way, ...] = ("search",)
    """How to learn which scenes exist: by searches, or from the provider's snapshot; the second way for what the first
    cannot give."""
    refresh: bool = False
    """Ask again for scenes of all days; a build that has not begun asks for the latest days in any case."""
    dry_run: bool = False
    """Only say what the build would take; nothing is asked of the provider."""
    mb_per_s: float = 50.0
    """Rate of download that a dry run reckons with, over all workers."""
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
    if options.dry_run:
        show(estimate(options, plan), options.mb_per_s)
        return BuildSummary(planned=len(plan.places))
    with terminable(), build_folder(options.out, _record(options, plan)):
        labels = prepare_labels(options, plan)
        arranged = arrange(candidates_of(pair_places(options, plan)), plan.count, options.shard_rows)
        failures = _fill(arranged, options, labels)
        summary = dataclasses.replace(
            summarise(iterate_rows(options.out / "ledger")),
            seconds=time.monotonic() - started,
            fetched_bytes=sum(read_tallies(options.out).values(), Tally()).fetched_bytes,
            nbytes=sum(path.stat().st_size for path in (options.out / "shards").rglob("*") if path.is_file()),
        )
    _report(summary, options.out)
    _judge(failures, summary, plan.count, options)
    return summary


def estimate(options: Build, plan: Plan) -> Estimate:
    """What the build would take: exact scenes where the index is complete, a guess from the places where not."""
    source, rules = source_of(options.source), rules_of(options)
    folder = options.index or options.out / "index"
    missing = missing_chunks(chunks_of(plan.places, source, rules.max_gap), folder)
    if missing:
        return estimate_unknown(plan.places, plan.count, missing)
    return estimate_known(match_places(options, plan, renew="none"), plan.count)


def pair_places(options: Build, plan: Plan) -> Paired:
    """Find scenes for the plan's places and pair them; refusals go to the ledger.

    Raises:
        PlanError: no scenes at all for the plan's region and period.
    """
    begun = bool(list_shards(options.out))  # the shards to come must be dealt from the same scenes
    paired = match_places(options, plan, renew="all" if options.refresh else "none" if begun else "open")
    rows = (Row(draw, cell, "skipped", reason, detail) for draw, cell, reason, detail in refusals_of(paired))
    write_rows(rows, options.out / "ledger" / "pairing.jsonl")
    return paired


def match_places(options: Build, plan: Plan, renew: Renewal) -> Paired:
    """Find scenes for the plan's places and match them.

    Args:
        renew: which parts of the scene index are asked for again.

    Raises:
        PlanError: no scenes at all for the plan's region and period.
    """
    source, rules = source_of(options.source), rules_of(options)
    folder = options.index or options.out / "index"
    found = find_scenes(plan.places, source, folder, rules.max_gap, options.scenes, renew=renew)
    if not len(found.s2) or not len(found.s1):
        raise PlanError(
            f"{source.name} has {len(found.s2)} Sentinel-2 and {len(found.s1)} Sentinel-1 scenes for the plan's region "
            "and period; choose a region and period that both satellites cover (Sentinel-1 from 2014-10, "
            "Sentinel-2 from 2015-07)"
        )
    matcher = Matcher(found.s2, found.s1, rules)
    return Paired(plan.places, matcher, matcher.match_rows(plan.places), options.choice.neighbours, found.dropped)


def rules_of(options: Build) -> Rules:
    """What makes two scenes a pair in this build.

    Raises:
        PlanError: options out of range.
    """
    choice = options.choice
    if choice.pairs < 1 or not 0 <= choice.neighbours <= MAX_NEIGHBOURS or not set(choice.months) <= set(range(1, 13)):
        raise PlanError(
            f"pairs is {choice.pairs}, neighbours {choice.neighbours} and months {choice.months}; they must be at "
            f"least 1, from 0 to {MAX_NEIGHBOURS}, and from 1 to 12"
        )
    gap = dt.timedelta(days=options.max_gap_days)
    return Rules(gap, options.scene_cloud_max, choice.orbit, choice.months, choice.pairs)


def prepare_labels(options: Build, plan: Plan) -> LabelSources:
    """Check the label sources against the plan, and turn an OpenStreetMap extract into a table that workers share.

    Raises:
        PlanError: a label source is missing, unreadable, or does not cover the plan.
    """
    if options.corine is not None:
        with open_corine(options.corine) as corine:
            step = len(plan.places) // _PLACES_LOOKED_AT + 1
            check_coverage(corine, [plan.places[i].grid for i in range(0, len(plan.places), step)])
    if options.worldcover is not None:
        check_source(source_of(options.source))
    names = tuple(label_files(options).items())
    if options.osm is None:
        return LabelSources(options.corine, None, options.worldcover, names)
    features = options.out / "osm"
    extract(options.osm, features)
    return LabelSources(options.corine, features.absolute(), options.worldcover, names)


def label_files(options: Build) -> dict[str, str]:
    """Name of the file that each label comes from."""
    world = None if options.worldcover is None else product_name(options.worldcover)
    sources = {"corine": options.corine, "osm": options.osm, "worldcover": world}
    return {name: PurePosixPath(str(path)).name for name, path in sources.items() if path is not None}


def _fill(arranged: Arrangement, options: Build, labels: LabelSources) -> list[DeepSentinelError]:
    """Fill the shards that are missing, one after the other failing or not; gives up when many in a row fail.

    Raises:
        DeepSentinelError: the error of shards in a row.
    """
    filling = Filling(
        options.out.absolute(), options.source, labels, options.limits, options.patience_s, options.requests_per_s
    )
    failures: list[DeepSentinelError] = []
    in_a_row = 0
    present = frozenset(list_shards(options.out))
    forget_unfinished(options.out, present)
    missing = [index for index in range(arranged.shards) if index not in present]
    wanted = sum(arranged.rows(index) for index in missing)
    with shown(options.out, wanted, present), hire(options.scheduler, options.workers) as crew:
        for outcome in crew.run(filling, map(arranged.job, missing)):
            if isinstance(outcome, WriteError):
                raise outcome  # every other shard would meet the same full disk
            if isinstance(outcome, DeepSentinelError):
                failures.append(outcome)
                in_a_row += 1
                if in_a_row >= _GIVE_UP_AFTER:
                    break
            else:
                in_a_row = 0
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
    labelled = bool(label_files(options))
    return corpus_record(
        "labelled" if labelled else "unlabelled",
        plan.places[0].grid.side_px,
        plan={"sha256": hashlib.sha256(options.plan.read_bytes()).hexdigest(), "count": plan.count, **plan.about},
        source=options.source,
        labels=list(label_files(options).values()),
        rules={
            "max_gap_days": options.max_gap_days,
            "scene_cloud_max": options.scene_cloud_max,
            **dataclasses.asdict(options.choice),
            "months": list(options.choice.months),
        },
        limits=dataclasses.asdict(options.limits),
        shard_rows=options.shard_rows,
    )


def _report(summary: BuildSummary, out: Path) -> None:
    table = Table(title=f"{out}", title_justify="left", show_header=False)
    table.add_row("patches written", f"{summary.written}")
    for reason, count in summary.skipped.most_common():
        table.add_row(f"skipped: {reason}", f"{count}")
    for reason, count in summary.failed.most_common():
        table.add_row(f"failed: {reason}", f"{count}")
    table.add_row("fetched", f"{summary.fetched_bytes / 1e6:,.1f} MB in headers and blocks, over all runs")
    table.add_row("stored", f"{summary.nbytes / 1e6:.1f} MB")
    table.add_row("time", f"{summary.seconds:.1f} s ({summary.written / max(summary.seconds, 1e-9):.1f} patches/s)")
    Console().print(table)


if __name__ == "__main__":
    main(Build, run)
