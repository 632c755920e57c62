"""Publish builds as one self-contained STAC catalog.

    python -m catalog.publish BUILD [BUILD ...] DEST

Each build becomes DEST/unlabelled or DEST/labelled: collection.json, items.parquet (the index), statistics.json,
shards/ (hard links, or copies on another disk), shard-NNNNNN/ (one JSON item a patch) and previews/. Publishing
again after more shards were built does the work of the new shards only; the files that readers start from are
replaced last, each in one step, so a reader sees the old state or the new one.
"""

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from catalog import preview, schema, split_items
from catalog.assets import EXTENSIONS, STAC_VERSION, ZARR_TYPE
from catalog.collections import CorpusRecord, Summary, build_collection, build_root, link
from catalog.documents import read_document
from catalog.errors import CorpusError, OutputExistsError
from catalog.index import write_index
from catalog.items import build_item, preview_hrefs, rebase, shard_folder, with_split
from catalog.objects import NAME as OBJECTS
from catalog.objects import merge_objects, objects_path
from catalog.patches import ShardPatches
from catalog.program import main
from catalog.shard import ShardRef, list_shards, shard_path, shard_ref
from catalog.splits import DEFAULT_HELD_OUT, SplitRules
from catalog.stats import BandStatistics, merge_all

_ITEMS_VERSION = 1  # raise it when items or previews change, so that published shards are made again
_SHA256_MULTIHASH = "1220"  # multihash code of sha2-256 and its length, as file:checksum wants


@dataclass(frozen=True)
class Publish:
    """Publish builds as one self-contained STAC catalog; run it again after more shards were built."""

    builds: tyro.conf.Positional[tuple[Path, ...]]
    """Folders that ingest.build has written."""
    dest: tyro.conf.Positional[Path]
    """Folder of the catalog."""
    workers: int = 0
    """Threads that read patches and draw previews; 0 is one a core."""
    split_block_deg: float = 0.5
    """Side of the blocks that train or test as a whole, degrees; only labelled patches are split."""
    split_buffer_m: int = 2560
    """Training patches stay so far from testing ones."""
    held_out: tuple[str, ...] = DEFAULT_HELD_OUT
    """Classes that no training patch may show: CORINE codes and names of OpenStreetMap classes."""


@dataclass(frozen=True, slots=True)
class PublishedShard:
    """What publishing one shard found out, kept beside its items so that it is done once."""

    record: CorpusRecord
    ref: ShardRef
    arrays: tuple[str, ...]
    summary: Summary
    statistics: BandStatistics

    def to_json(self) -> str:
        """Equal shards give equal bytes."""
        fields = {
            "items_version": _ITEMS_VERSION,
            "record": asdict(self.record),
            "ref": asdict(self.ref),
            "arrays": list(self.arrays),
            "summary": self.summary.to_dict(),
            "statistics": json.loads(self.statistics.to_json()),
        }
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "PublishedShard | None":
        """Read what `to_json` wrote; None when other software wrote it, or it is damaged: it can be made again."""
        try:
            raw = json.loads(text)
            if raw["items_version"] != _ITEMS_VERSION:
                return None
            return cls(
                CorpusRecord(**raw["record"]),
                ShardRef(**raw["ref"]),
                tuple(raw["arrays"]),
                Summary.from_dict(raw["summary"]),
                BandStatistics.from_json(json.dumps(raw["statistics"])),
            )
        except (ValueError, KeyError, TypeError):
            return None


def publish(
    builds: Sequence[Path],
    dest: Path,
    *,
    workers: int = 0,
    show_progress: bool = False,
    split_rules: SplitRules | None = None,
) -> None:
    """Publish builds under `dest`.

    Raises:
        CorpusError: a build is missing, empty, or two builds are one collection.
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
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool, progress:
        for build, record in records.items():
            published = _publish_shards(build, dest / record.name, record, pool, progress)
            _finish_collection(build, dest / record.name, published, split_rules or SplitRules())
    _publish_root(dest)


def _remove_leftovers(dest: Path, collections: Sequence[str]) -> None:
    """Remove what a killed publishing was writing aside."""
    for folder in (dest, *(dest / name for name in collections)):
        for pattern in (".*", "shards/.*", "shard-*/.*"):
            for leftover in folder.glob(pattern):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _publish_shards(
    build: Path, folder: Path, record: CorpusRecord, pool: Executor, progress: Progress
) -> dict[int, PublishedShard]:
    """Every shard of a build, published, by its number."""
    shards = list_shards(build)
    if not shards:
        raise CorpusError(f"{build} holds no committed shard; run the build first")
    task = progress.add_task(f"publish {record.name}, shards", total=len(shards))
    published = {}
    for shard in shards:
        _link_shard(build, folder, shard)
        published[shard] = _published(folder, shard, record) or _publish_shard(folder, shard, record, pool)
        progress.advance(task)
    if len({part.arrays for part in published.values()}) > 1:
        raise CorpusError(f"shards of {build} hold different arrays; build labelled and unlabelled corpora apart")
    return published


def _finish_collection(build: Path, folder: Path, published: Mapping[int, PublishedShard], rules: SplitRules) -> None:
    """Replace what readers start from, collection.json last."""
    shards, parts = list(published), list(published.values())
    statistics = merge_all(part.statistics for part in parts)
    labelled = any(schema.BY_NAME[name].is_label for name in parts[0].arrays)
    collection = build_collection(
        parts[0].record,
        parts[0].arrays,
        shards,
        Summary.merge(part.summary for part in parts),
        statistics,
        hashlib.sha256("".join(part.ref.sha256 for part in parts).encode()).hexdigest(),
        splits=_split_items(folder, shards, rules) if labelled else None,
        objects=_publish_objects(build, folder, shards),
    )
    _replace(folder / "statistics.json", statistics.to_json())
    write_index(folder / "items.parquet", _read_items(folder, shards), collection)
    _replace(folder / "collection.json", json.dumps(collection, indent=2) + "\n")


def _split_items(folder: Path, shards: Sequence[int], rules: SplitRules) -> dict[str, Any] | None:
    """State the split of every item; what the collection says about it, or None where there is none to state."""
    paths = [path for shard in shards for path in _item_paths(folder / shard_folder(shard))]
    places = [split_items.Place.of(_read_item(path)["properties"]) for path in paths]
    before = folder / "collection.json"
    version = (
        read_document(before, "remove it and publish again").get(split_items.VERSION) if before.is_file() else None
    )
    found = split_items.assign(places, rules, version)
    stated = [split_items.properties_of(split, found[0]) for split in found[1]] if found else [{}] * len(paths)
    for path, properties in zip(paths, stated, strict=True):
        item = _read_item(path)
        made = with_split(item, properties)
        if made != item:
            _replace(path, json.dumps(made, separators=(",", ":")))
    return None if found is None else split_items.summary_of(places, *found)


def _publish_objects(build: Path, folder: Path, shards: Sequence[int]) -> int | None:
    """Join the objects of all shards; their number, or None where a build has none."""
    paths = [objects_path(build, shard) for shard in shards]
    return merge_objects(paths, folder / OBJECTS) if all(path.is_file() for path in paths) else None


def _publish_root(dest: Path) -> None:
    collections = {path: read_document(path, "publish it again", ("title",)) for path in dest.glob("*/collection.json")}
    titles = {path.parent.name: collection["title"] for path, collection in collections.items()}
    _replace(dest / "catalog.json", json.dumps(build_root(titles), indent=2) + "\n")


def _published(folder: Path, shard: int, record: CorpusRecord) -> PublishedShard | None:
    """What is already published of a shard; None where its items must be made (again).

    Shards are written once, so equal size is enough here; `catalog.validate` compares checksums.
    """
    path = folder / shard_folder(shard) / "shard.json"
    found = PublishedShard.from_json(path.read_text()) if path.is_file() else None
    if found is None or found.record != record or found.ref.nbytes != _nbytes(shard_path(folder, shard)):
        return None
    return found


def _publish_shard(folder: Path, shard: int, record: CorpusRecord, pool: Executor) -> PublishedShard:
    """Write previews and items of a shard; shard.json last, as the mark that all of it is there."""
    ref, patches = shard_ref(folder, shard), ShardPatches(folder, shard)
    (folder / shard_folder(shard) / "shard.json").unlink(missing_ok=True)  # first: without the mark all is made again
    for place in (folder / shard_folder(shard), folder / "previews" / f"{shard:06d}"):
        shutil.rmtree(place, ignore_errors=True)  # whatever another shard of this number, or a crash, left
        place.mkdir(parents=True)
    publish_patch = functools.partial(_publish_patch, patches, folder, shard, record)
    items, statistics = zip(*pool.map(publish_patch, range(len(patches))), strict=True)
    published = PublishedShard(
        record, ref, patches.arrays, Summary.merge(map(Summary.of, items)), merge_all(statistics)
    )
    subcatalog = _build_subcatalog(shard, ref, record, items)
    _replace(folder / shard_folder(shard) / "catalog.json", json.dumps(subcatalog, indent=2) + "\n")
    _replace(folder / shard_folder(shard) / "shard.json", published.to_json())
    return published


def _publish_patch(
    patches: ShardPatches, folder: Path, shard: int, record: CorpusRecord, row: int
) -> tuple[dict[str, Any], BandStatistics]:
    patch = patches[row]
    statistics = BandStatistics.of(patch)
    item = build_item(patch.provenance, record, shard, row, statistics)
    hrefs = preview_hrefs(patch.patch_id, shard)
    (folder / hrefs["thumbnail"]).write_bytes(preview.encode_webp(preview.rgb(patch)))
    (folder / hrefs["overview"]).write_bytes(preview.encode_webp(preview.sar(patch)))
    (folder / shard_folder(shard) / f"{patch.patch_id}.json").write_text(json.dumps(item, separators=(",", ":")))
    return item, statistics


def _build_subcatalog(
    shard: int, ref: ShardRef, record: CorpusRecord, items: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    checksum = {"file:checksum": _SHA256_MULTIHASH + ref.sha256, "file:size": ref.nbytes}
    return {
        "type": "Catalog",
        "id": f"{record.collection_id}-{shard_folder(shard)}",
        "stac_version": STAC_VERSION,
        "stac_extensions": [EXTENSIONS["file"]],
        "title": f"Shard {shard:06d}",
        "description": f"The {len(items)} patches of one Zarr group. Its checksum is the SHA-256 over path, size and "
        "bytes of its files in sorted order.",
        "links": [
            link("root", "../../catalog.json", "DeepSentinel"),
            link("parent", "../collection.json", record.title),
            link("store", f"../shards/{shard:06d}.zarr", "Zarr store", ZARR_TYPE) | checksum,
            *(
                link("item", f"./{item['id']}.json", item["properties"]["title"], "application/geo+json")
                for item in items
            ),
        ],
    }


def _read_items(folder: Path, shards: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Published items in the order of shards and rows, hrefs relative to the collection."""
    for shard in shards:
        for path in _item_paths(folder / shard_folder(shard)):
            yield rebase(_read_item(path), path.parent.name)


def _item_paths(place: Path) -> Iterator[Path]:
    """Items of a shard in the order of rows."""
    for entry in read_document(place / "catalog.json", f"remove {place} and publish again", ("links",))["links"]:
        if entry["rel"] == "item":
            yield place / entry["href"]


def _read_item(path: Path) -> dict[str, Any]:
    return read_document(path, f"remove {path.parent} and publish again", ("properties", "links", "assets"))


def _link_shard(build: Path, folder: Path, shard: int) -> None:
    """Bring a shard to where it is published: by hard links, or by copies on another disk."""
    source, final = shard_path(build, shard), shard_path(folder, shard)
    if final.exists():
        if _nbytes(final) != _nbytes(source):
            raise OutputExistsError(f"{final} is another shard than {source}; publish to a new folder")
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    aside = final.with_name(f".{final.name}.{os.getpid()}")
    try:
        shutil.copytree(source, aside, copy_function=_link_or_copy)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without hard links
        shutil.copy2(source, target)


def _nbytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _replace(path: Path, text: str) -> None:
    """Write a text file in one step for its readers."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text)
    aside.replace(path)


def run(options: Publish) -> None:
    """Publish, with a progress bar."""
    rules = SplitRules(options.split_block_deg, options.split_buffer_m, held_out=options.held_out)
    publish(options.builds, options.dest, workers=options.workers, show_progress=True, split_rules=rules)
    Console(stderr=True).print(f"published {options.dest / 'catalog.json'}", soft_wrap=True)


if __name__ == "__main__":
    main(Publish, run)
