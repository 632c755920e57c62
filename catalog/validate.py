"""Check a published catalog: structure, checksums, STAC, items against shards both ways, statistics, physics.

    python -m catalog.validate CATALOG

Nothing is asked of the network: STAC objects are checked against the core schemas that come with pystac; every
extension's schema is checked in the tests of this project.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from catalog import checks, embeddings, models, split_items
from catalog.collections import read_collection
from catalog.errors import CorpusError, SchemaError
from catalog.index import read_index
from catalog.items import shard_folder
from catalog.patches import ShardPatches
from catalog.physics import Finding, check_physics
from catalog.program import main
from catalog.shard import shard_path, shard_ref
from catalog.stats import BandStatistics, merge_all

EXIT_FINDINGS = 1
_SHOWN = 20
_SHARD_HREF = re.compile(r"\./shard-(\d{6})/catalog\.json")


@dataclass(frozen=True)
class Validate:
    """Check a published catalog; the exit status is 1 where something is wrong."""

    href: tyro.conf.Positional[Path]
    """The folder that catalog.publish wrote, one of its collections, or the JSON file of either."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, and what is wrong."""

    checked: Mapping[str, int]
    """Things looked at, by kind."""
    wrong: Mapping[str, int]
    """Findings, by the same kinds."""
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class _Tally:
    """What the checks have counted and found so far."""

    progress: Progress
    checked: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def add(self, kind: str, findings: Iterable[Finding], count: int = 1) -> None:
        found = list(findings)
        self.checked[kind] += count
        self.wrong[kind] += len(found)
        self.findings += found


def validate(href: Path, *, show_progress: bool = False) -> Report:
    """Check a published catalog or one of its collections.

    Raises:
        CorpusError: nothing is published there.
    """
    documents = _documents(href)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not show_progress) as progress:
        tally = _Tally(progress)
        for document in documents:
            tally.add("STAC documents", checks.check_stac(document))
            if document.name == "collection.json":
                _check_collection(document.parent, tally)
    return Report(dict(tally.checked), dict(tally.wrong), tuple(tally.findings))


def _documents(href: Path) -> list[Path]:
    """The root catalog and its collections, or one collection."""
    folder = href.parent if href.suffix == ".json" else href
    if (folder / "catalog.json").is_file():
        return [folder / "catalog.json", *sorted(folder.glob("*/collection.json"))]
    if (folder / "collection.json").is_file():
        return [folder / "collection.json"]
    raise CorpusError(f"there is no catalog.json or collection.json in {folder}; publish one with catalog.publish")


def _check_collection(folder: Path, tally: _Tally) -> None:
    if folder.name in (models.FOLDER, embeddings.FOLDER):
        for href in checks.item_hrefs(folder / "collection.json"):
            tally.add("STAC documents", checks.check_stac(folder / href))
            tally.add("files", checks.check_files(folder / href))
        return
    try:
        collection, table = read_collection(folder), read_index(folder / "items.parquet", ["id"])
    except CorpusError as error:
        tally.add("collections", [Finding("readable", str(folder), str(error))])
        return
    children = [link["href"] for link in collection["links"] if link["rel"] == "child"]
    numbered = [(href, _SHARD_HREF.fullmatch(href)) for href in children]
    odd = [Finding("shard-listed", str(folder), f"child {href} is no shard's") for href, match in numbered if not match]
    tally.add("collections", odd, 0)
    linked = [int(match[1]) for _, match in numbered if match]
    tally.add("index rows", checks.check_index(folder, table, linked), table.num_rows)
    if version := collection.get(split_items.VERSION):
        splits = read_index(folder / "items.parquet", split_items.COLUMNS)
        tally.add("splits", split_items.check_splits(splits, version), splits.num_rows)
    task = tally.progress.add_task(f"validate {folder.name}, patches", total=table.num_rows)
    digests: list[str] = []
    statistics: list[BandStatistics] = []
    for shard in linked:
        if not shard_path(folder, shard).is_dir():
            continue  # checks.check_index has said so
        ids = table.filter(pc.equal(table["deepsentinel:shard"], shard))["id"].to_pylist()
        digests.append(_check_shard(folder, shard, ids, collection, statistics, tally))
        tally.progress.advance(task, len(ids))
    tally.add(
        "collections", checks.check_sums(folder, collection, digests, statistics, intact=len(statistics) == len(linked))
    )


def _check_shard(
    folder: Path,
    shard: int,
    ids: Sequence[str],
    collection: Mapping[str, Any],
    statistics: list[BandStatistics],
    tally: _Tally,
) -> str:
    """Check one shard and its items; its SHA-256, or "". Pixels of a damaged shard are not judged, only located."""
    path = shard_path(folder, shard)
    try:
        ref = shard_ref(folder, shard)
    except SchemaError as error:
        tally.add("shards", [Finding("readable", str(path), str(error))])
        return ""
    tally.add("STAC documents", checks.check_items(folder, shard, ids), len(ids) + 1)
    stated = [link.get("file:checksum") for link in checks.links_of(folder / shard_folder(shard), "store")]
    if stated != ["1220" + ref.sha256]:
        evidence = f"multihash of its bytes is 1220{ref.sha256}, its catalog says {', '.join(map(str, stated))}"
        tally.add("shards", [Finding("checksum", str(path), evidence), *checks.damaged_rows(path, ids, collection)])
        return ref.sha256
    structure = list(checks.check_structure(path, len(ids), collection))
    tally.add("shards", structure)
    if not structure:
        patches = ShardPatches(folder, shard)
        tally.add("shards", checks.check_rows(path, [source.patch_id for source in patches.provenance], ids), 0)
        statistics.append(_check_patches(patches, tally))
    return ref.sha256


def _check_patches(patches: ShardPatches, tally: _Tally) -> BandStatistics:
    parts = []
    for patch in patches:
        tally.add("patches", check_physics(patch))
        parts.append(BandStatistics.of(patch))
    return merge_all(parts)


def run(options: Validate) -> None:
    """Check, print a table and the first findings, and end with status 1 where something is wrong."""
    report, console = validate(options.href, show_progress=True), Console()
    table = Table("what", "looked at", "wrong")
    for kind, count in report.checked.items():
        table.add_row(kind, f"{count:,}", f"{report.wrong[kind]:,}")
    console.print(table)
    for finding in report.findings[:_SHOWN]:
        console.print(str(finding), markup=False, highlight=False, soft_wrap=True)
    if len(report.findings) > _SHOWN:
        console.print(f"and {len(report.findings) - _SHOWN} more")
    if report.findings:
        raise SystemExit(EXIT_FINDINGS)


if __name__ == "__main__":
    main(Validate, run)
