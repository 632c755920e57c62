"""Publish builds as one self-contained STAC catalog.

    python -m catalog.publish BUILD [BUILD ...] DEST

Each build becomes DEST/unlabelled or DEST/labelled: collection.json, items.parquet (the index), statistics.json,
classes.csv, CHANGELOG.md, shards/ (hard links, or copies on another disk), shard-NNNNNN/ (one JSON item a patch),
previews/ and objects/. All links are relative: the folder can lie on a disk, a web server or in a bucket.

Publishing again after more shards were built does the work of the new shards only. Files are replaced in one step
each, a link only after what it leads to, and collection.json last, so a reader sees the old state or the new one, also
when publishing is killed; running it again then ends where an undisturbed run would have. Items of new shards are kept
in shard-NNNNNN/unsettled.jsonl until all shards are there and with them every split.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from catalog import changes, class_table, preview, schema, split_items, split_statistics
from catalog.collections import CorpusRecord, build_collection, build_root
from catalog.density import density_map
from catalog.documents import rarely_collected, read_document, replace_file
from catalog.errors import CorpusError
from catalog.items import objects_href
from catalog.objects import NAME as OBJECTS
from catalog.objects import merge_objects
from catalog.program import main
from catalog.settle import settle_items
from catalog.shard import list_shards
from catalog.shard_items import (
    ITEMS_VERSION,
    PublishedShard,
    publish_shard,
    published,
    read_moments,
    remove_strays,
)
from catalog.splits import DEFAULT_HELD_OUT, SplitRules
from catalog.stats import merge_all
from catalog.summary import Summary
from catalog.transfer import bring_objects, bring_shard

_ASIDE = re.compile(r"\..+\.\d+(\.\d+)?")  # .NAME.PROCESS or .NAME.PROCESS.THREAD: what is being written aside


@dataclass(frozen=True)
class Publish:
    """Publish builds as one self-contained STAC catalog; run it again after more shards were built.

    For example:
        publish runs/labelled runs/unlabelled catalog      # both corpora as two collections of one catalog
        publish runs/labelled catalog --verify             # also compare the checksum of every shard
    """

    folders: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="BUILD [BUILD ...] CATALOG")]]
    """Folders that ingest.build has written, and last the folder of the catalog."""
    workers: int = 0
    """Threads that read patches and draw previews; 0 is one a core."""
    verify: bool = False
    """Read every shard and compare its checksum with the published one, instead of sizes and times alone."""
    split_block_deg: float = 0.5
    """Side of the blocks that train or test as a whole, degrees; only labelled patches are split."""
    split_buffer_m: int = 2560
    """Training patches stay so far from testing ones."""
    held_out: tuple[str, ...] = DEFAULT_HELD_OUT
    """Classes that no training patch may show: CORINE codes and names of OpenStreetMap classes."""


def publish(
    builds: Sequence[Path],
    dest: Path,
    *,
    workers: int = 0,
    show_progress: bool = False,
    split_rules: SplitRules | None = None,
    verify: bool = False,
) -> None:
    """Publish builds under `dest`.

    Args:
        verify: compare the checksum of every shard with the published one; by default a shard is read again only
            where its size or time says that it may have changed.

    Raises:
        CorpusError: a build is missing, empty, or two builds are one collection.
        ChecksumError: a shard of a build is damaged.
        OutputExistsError: `dest` holds another shard of the same number.
    """
    if not builds:
        raise CorpusError("name at least one build and then the folder to publish to")
    records = {build: CorpusRecord.read(build) for build in builds}
    if len({record.name for record in records.values()}) < len(builds):
        raise CorpusError(f"builds {', '.join(map(str, builds))} hold one collection twice; publish one of each kind")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), disable=not show_progress)
    _remove_leftovers(dest, [record.name for record in records.values()])
    with rarely_collected(), ThreadPoolExecutor(workers or os.cpu_count()) as pool, progress:
        for build, record in records.items():
            parts = _publish_shards(build, dest / record.name, record, pool, progress, verify=verify)
            finish_collection(dest / record.name, parts, split_rules or SplitRules(), progress)
    publish_root(dest)


def finish_collection(folder: Path, parts: Mapping[int, PublishedShard], rules: SplitRules, progress: Progress) -> None:
    """Replace what readers start from, collection.json last, once every shard's own files are there.

    Args:
        folder: the collection's.
        parts: its shards by number.
    """
    first = next(iter(parts.values()))
    statistics = merge_all(part.statistics for part in parts.values())
    labelled = any(schema.BY_NAME[name].is_label for name in first.arrays)
    path = folder / "collection.json"
    before = read_document(path, "remove it and publish again") if path.is_file() else None
    splits, stated = _split(parts, rules, before) if labelled else (None, None)
    summary = Summary.merge(part.summary for part in parts.values())
    fingerprint = hashlib.sha256("".join(part.ref.sha256 for part in parts.values()).encode()).hexdigest()
    split_version = None if splits is None else splits[split_items.VERSION]
    state = changes.State(first.record.version, fingerprint, ITEMS_VERSION, split_version, summary.patches, len(parts))
    history = changes.history_of(before, state)
    collection = build_collection(
        first.record, first.arrays, list(parts), summary, statistics, fingerprint,
        splits=splits, objects=_join_objects(folder, parts), history=history,
    )  # fmt: skip
    replace_file(folder / "statistics.json", statistics.to_json())
    _write_split_statistics(folder, fingerprint, parts, stated)
    replace_file(folder / "CHANGELOG.md", changes.changelog(first.record.title, history))
    if labelled:
        replace_file(folder / class_table.NAME, class_table.class_table(statistics))
    replace_file(folder / "thumbnail.png", _map_of(parts, collection))
    settle_items(folder, parts, stated, before, collection, progress)
    replace_file(path, json.dumps(collection, indent=2) + "\n")
    for shard, part in parts.items():
        remove_strays(folder, shard, part.rows)


def _map_of(parts: Mapping[int, PublishedShard], collection: Mapping[str, Any]) -> bytes:
    """The picture of the collection."""
    rows = [row for part in parts.values() for row in part.rows]
    bbox = collection["extent"]["spatial"]["bbox"][0]
    return preview.encode_png(density_map([row.lon_deg for row in rows], [row.lat_deg for row in rows], bbox))


def _write_split_statistics(
    folder: Path, fingerprint: str, parts: Mapping[int, PublishedShard], stated: Sequence[Mapping[str, Any]] | None
) -> None:
    """What normalises training; removed where no patch has a split."""
    path = folder / split_statistics.NAME
    if stated is None:
        path.unlink(missing_ok=True)
        return
    splits = [properties.get("deepsentinel:split") for properties in stated]
    moments = (one for shard in parts for one in read_moments(folder, shard))
    found = split_statistics.by_split(zip(splits, moments, strict=True))
    replace_file(path, split_statistics.to_document(fingerprint, found))


def publish_root(dest: Path) -> None:
    """Replace the root catalog: it links every collection that stands under `dest`."""
    collections = {path: read_document(path, "publish it again", ("title",)) for path in dest.glob("*/collection.json")}
    titles = {path.parent.name: collection["title"] for path, collection in collections.items()}
    replace_file(dest / "catalog.json", json.dumps(build_root(titles), indent=2) + "\n")


def _remove_leftovers(dest: Path, collections: Sequence[str]) -> None:
    """Remove what a killed publishing was writing aside."""
    for folder in (dest, *(dest / name for name in collections)):
        for pattern in (".*", "shards/.*", "objects/.*", "shard-*/.*", "previews/*/.*"):
            for leftover in filter(lambda path: _ASIDE.fullmatch(path.name), folder.glob(pattern)):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _publish_shards(
    build: Path, folder: Path, record: CorpusRecord, pool: Executor, progress: Progress, *, verify: bool
) -> dict[int, PublishedShard]:
    """Every shard of a build, published, by its number."""
    shards = list_shards(build)
    if not shards:
        raise CorpusError(f"{build} holds no committed shard; run the build first")
    task = progress.add_task(f"publish {record.name}, shards", total=len(shards))
    found = {}
    for shard in shards:
        bring_shard(build, folder, shard, verify=verify)
        objects = bring_objects(build, folder, shard)
        found[shard] = published(folder, shard, record, objects, verify=verify) or publish_shard(
            folder, shard, record, objects, pool
        )
        progress.advance(task)
    if len({part.arrays for part in found.values()}) > 1:
        raise CorpusError(f"shards of {build} hold different arrays; build labelled and unlabelled corpora apart")
    return found


def _split(
    parts: Mapping[int, PublishedShard], rules: SplitRules, before: Mapping[str, Any] | None
) -> tuple[dict[str, Any] | None, list[dict[str, Any]] | None]:
    """What the collection and each item, in the order of shards and rows, say about splits; None: nothing."""
    places = [row.place(part.record.side_px) for part in parts.values() for row in part.rows]
    found = split_items.assign(places, rules, (before or {}).get(split_items.VERSION))
    if found is None:
        return None, None
    rules, splits = found
    stated = {split: split_items.properties_of(split, rules) for split in set(splits)}
    return split_items.summary_of(places, rules, splits), [stated[split] for split in splits]


def _join_objects(folder: Path, parts: Mapping[int, PublishedShard]) -> int | None:
    """Join the objects of all shards; their number, or None where there are none."""
    if not all(part.objects for part in parts.values()):
        return None
    return merge_objects([folder / objects_href(shard) for shard in parts], folder / OBJECTS)


def run(options: Publish) -> None:
    """Publish, with a progress bar."""
    rules = SplitRules(options.split_block_deg, options.split_buffer_m, held_out=options.held_out)
    if not options.folders:
        raise CorpusError("no folder was given; name the builds to publish and last the folder of the catalog")
    *builds, dest = options.folders
    publish(
        builds, dest, workers=options.workers, show_progress=True, split_rules=rules,
        verify=options.verify,
    )  # fmt: skip
    Console(stderr=True).print(f"published {dest / 'catalog.json'}", soft_wrap=True)


if __name__ == "__main__":
    main(Publish, run)
