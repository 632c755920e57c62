"""Publish one shard: pictures, items and their sub-catalog, and what was found out on the way, kept for next time.

Every file is replaced in one step, and the sub-catalog after all that it links, so that a reader of a shard that is
published anew meets old files or new ones and no gap. `remove_strays` clears what no longer belongs, at the very end.
"""

import functools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from catalog import preview, split_items, unsettled
from catalog.assets import EXTENSIONS, STAC_VERSION, ZARR_TYPE, checksum, describe_file
from catalog.collections import CorpusRecord, link
from catalog.documents import read_document, replace_file
from catalog.errors import CorpusError
from catalog.grid import PatchGrid
from catalog.items import build_item, picture_href, shard_folder
from catalog.patches import ShardPatches
from catalog.shard import ShardRef, shard_path, shard_ref
from catalog.split_statistics import pack, unpack
from catalog.splits import classes_of
from catalog.stats import BandStatistics, Moments, merge_all
from catalog.summary import Summary
from catalog.transfer import nbytes_of, newest_ns
from catalog.unsettled import unsettled_path, write_unsettled

ITEMS_VERSION = 3  # raise it when items or pictures change, so that published shards are made again
_MARK = "shard.json"


@dataclass(frozen=True, slots=True)
class Row:
    """Of one patch, what decides where it stands in the index and in which split."""

    patch_id: str
    epsg: int
    west_m: int
    north_m: int
    lon_deg: float
    """Middle of its bbox."""
    lat_deg: float
    classes: tuple[str, ...]

    @classmethod
    def of(cls, item: Mapping[str, Any], grid: PatchGrid) -> "Row":
        """From a patch's item."""
        west, south, east, north = item["bbox"]
        lon = (west + east) / 2 if west <= east else -180.0
        classes = tuple(classes_of(item["properties"]))
        return cls(
            item["id"], grid.epsg, grid.west_m, grid.north_m, round(lon, 7), round((south + north) / 2, 7), classes
        )

    def to_list(self) -> list[Any]:
        """Its fields in their order; `from_list` reads them."""
        return [getattr(self, name) for name in self.__slots__]

    @classmethod
    def from_list(
        cls, patch_id: str, epsg: int, west_m: int, north_m: int, lon_deg: float, lat_deg: float, classes: list[str]
    ) -> "Row":
        """From its fields in their order, as JSON keeps them."""
        return cls(patch_id, epsg, west_m, north_m, lon_deg, lat_deg, tuple(map(sys.intern, classes)))

    def place(self, side_px: int) -> split_items.Place:
        """All that decides the split."""
        return split_items.Place(PatchGrid(self.epsg, self.west_m, self.north_m, side_px), self.classes)


@dataclass(frozen=True, slots=True)
class MadeItem:
    """What is kept of one item until its shard is published; the item itself would take 60 kB."""

    text: bytes
    """As JSON, its split not yet stated."""
    row: Row
    title: str
    summary: Summary
    statistics: BandStatistics

    @classmethod
    def of(cls, item: Mapping[str, Any], grid: PatchGrid, statistics: BandStatistics) -> "MadeItem":
        """From a patch's item."""
        return cls(orjson.dumps(item), Row.of(item, grid), item["properties"]["title"], Summary.of(item), statistics)


@dataclass(frozen=True, slots=True)
class PublishedShard:
    """What publishing one shard found out, kept beside its items so that it is done once."""

    record: CorpusRecord
    ref: ShardRef
    arrays: tuple[str, ...]
    objects: bool
    """Whether there is a table of objects."""
    summary: Summary
    statistics: BandStatistics
    rows: tuple[Row, ...]

    def to_json(self, moments: Iterable[Mapping[str, Moments]]) -> str:
        """Equal shards give equal bytes.

        Args:
            moments: of the bands of each row; `read_moments` gives them back.
        """
        fields = {
            "items_version": ITEMS_VERSION,
            "record": asdict(self.record),
            "ref": asdict(self.ref),
            "arrays": list(self.arrays),
            "objects": self.objects,
            "summary": self.summary.to_dict(),
            "statistics": json.loads(self.statistics.to_json()),
            "rows": [row.to_list() for row in self.rows],
            "moments": [pack(one) for one in moments],
        }
        return json.dumps(fields, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "PublishedShard | None":
        """Read what `to_json` wrote; None when other software wrote it, or it is damaged: it can be made again."""
        try:
            raw = json.loads(text)
            if raw["items_version"] != ITEMS_VERSION:
                return None
            return cls(
                CorpusRecord(**raw["record"]),
                ShardRef(**raw["ref"]),
                tuple(raw["arrays"]),
                raw["objects"],
                Summary.from_dict(raw["summary"]),
                BandStatistics.from_json(json.dumps(raw["statistics"])),
                tuple(Row.from_list(*row) for row in raw["rows"]),
            )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, CorpusError):
            return None


def published(
    folder: Path, shard: int, record: CorpusRecord, objects: Path | None, *, verify: bool = False
) -> PublishedShard | None:
    """What is already published of a shard; None where its items must be made (again).

    A shard is read through only where its size, or the time it was written, says that it may have changed.

    Args:
        verify: compare its checksum in any case.
    """
    path = folder / shard_folder(shard) / _MARK
    found = PublishedShard.from_json(path.read_text()) if path.is_file() else None
    if found is None or found.record != record or found.objects != (objects is not None):
        return None
    wanted, there = {f"{row.patch_id}.json" for row in found.rows}, {entry.name for entry in path.parent.iterdir()}
    if "catalog.json" not in there or not (wanted <= there or unsettled.NAME in there):
        return None  # killed between an item's end and its replacement
    read_document(path.parent / "catalog.json", "remove it and publish again", ("links",))
    store = shard_path(folder, shard)
    unchanged = found.ref.nbytes == nbytes_of(store) and newest_ns(store) <= path.stat().st_mtime_ns
    if unchanged and not verify:
        return found
    return found if found.ref == shard_ref(folder, shard) else None


def publish_shard(
    folder: Path, shard: int, record: CorpusRecord, objects: Path | None, pool: Executor
) -> PublishedShard:
    """Write pictures and items of a shard, its sub-catalog after them, and last the mark that all of it is there.

    Items of a new shard are kept in one file, from which `catalog.settle` writes each when its split is known. The pool
    reads and draws, which lets go of the interpreter's lock; items are made here, since threads would only wait for it.

    Args:
        folder: the collection's, where the shard stands already.
        objects: the shard's objects, published, if it has any.
    """
    ref, patches = shard_ref(folder, shard), ShardPatches(folder, shard)
    fresh = make_room(folder, shard)
    known = {} if objects is None else {"objects": describe_file(objects.read_bytes())}
    drawn = pool.map(functools.partial(_draw_patch, patches, folder, shard, fresh), range(len(patches)))
    made = []
    for row, (provenance, (statistics, files)) in enumerate(zip(patches.provenance, drawn, strict=True)):
        item = build_item(provenance, record, shard, row, statistics, {**files, **known})
        made.append(MadeItem.of(item, provenance.grid, statistics))
        if not fresh:
            replace_file(item_path(folder, shard, provenance.patch_id), made[-1].text)
    return settle_shard(folder, shard, record, ref, patches.arrays, made, objects=objects is not None, fresh=fresh)


def make_room(folder: Path, shard: int) -> bool:
    """Make the folders of a shard's items and pictures; those that stand there are no longer trusted to be whole.

    Returns:
        Whether nothing leads to them yet.
    """
    place = folder / shard_folder(shard)
    (place / _MARK).unlink(missing_ok=True)  # without the mark all is made again
    unsettled_path(folder, shard).unlink(missing_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    (folder / "previews" / f"{shard:06d}").mkdir(parents=True, exist_ok=True)
    return not (place / "catalog.json").exists()


def settle_shard(
    folder: Path,
    shard: int,
    record: CorpusRecord,
    ref: ShardRef,
    arrays: tuple[str, ...],
    made: Iterable[MadeItem],
    *,
    objects: bool,
    fresh: bool,
) -> PublishedShard:
    """Keep the items of a shard or, where they are written, write what leads to them; last the mark that all is there.

    Args:
        made: its items, in the order of rows.
        objects: whether it has a table of objects.
        fresh: nothing leads to its items yet, and they are not written.
    """
    made, place = list(made), folder / shard_folder(shard)
    if fresh:
        write_unsettled(folder, shard, (one.text for one in made))
    summary, statistics = Summary.merge(one.summary for one in made), merge_all(one.statistics for one in made)
    found = PublishedShard(record, ref, arrays, objects, summary, statistics, tuple(one.row for one in made))
    subcatalog = build_subcatalog(shard, ref, record, {one.row.patch_id: one.title for one in made})
    replace_file(place / "catalog.json", json.dumps(subcatalog, indent=2) + "\n")
    replace_file(place / _MARK, found.to_json(one.statistics.bands for one in made))
    return found


def read_moments(folder: Path, shard: int) -> list[Mapping[str, Moments]]:
    """Moments of the bands of every row of a published shard. Read when wanted: all shards' would fill the memory."""
    path = folder / shard_folder(shard) / _MARK
    stated = read_document(path, "remove it and publish again", ("moments",))
    return [unpack(one) for one in stated["moments"]]


def item_path(folder: Path, shard: int, patch_id: str) -> Path:
    """Where the item of a patch stands."""
    return folder / shard_folder(shard) / f"{patch_id}.json"


def remove_strays(folder: Path, shard: int, rows: Sequence[Row]) -> None:
    """Remove items and pictures of patches that the shard no longer holds, and what was kept to write items from."""
    ids = {row.patch_id for row in rows}
    for path in (folder / shard_folder(shard)).iterdir():
        if path.stem not in ids and path.name not in ("catalog.json", _MARK):
            path.unlink()
    for path in (folder / "previews" / f"{shard:06d}").iterdir():
        if path.name.rpartition("-")[0] not in ids:
            path.unlink()


def build_subcatalog(shard: int, ref: ShardRef, record: CorpusRecord, titles: Mapping[str, str]) -> dict[str, Any]:
    """The catalog of one shard.

    Args:
        titles: of its items, by id, in the order of rows.
    """
    return {
        "type": "Catalog",
        "id": f"{record.collection_id}-{shard_folder(shard)}",
        "stac_version": STAC_VERSION,
        "stac_extensions": [EXTENSIONS["file"]],
        "title": f"Shard {shard:06d}",
        "description": f"The {len(titles)} patches of one Zarr group. Its checksum is the SHA-256 over path, size and "
        "bytes of its files in sorted order.",
        "links": [
            link("root", "../../catalog.json", "DeepSentinel"),
            link("parent", "../collection.json", record.title),
            link("store", f"../shards/{shard:06d}.zarr", "Zarr store", ZARR_TYPE) | checksum(ref.nbytes, ref.sha256),
            *(link("item", f"./{name}.json", title, "application/geo+json") for name, title in titles.items()),
        ],
    }


def _draw_patch(
    patches: ShardPatches, folder: Path, shard: int, fresh: bool, row: int
) -> tuple[BandStatistics, dict[str, Mapping[str, Any]]]:
    """Write the pictures of a patch; its statistics, and what is known of each picture."""
    patch = patches[row]
    pictures = preview.draw(patch)
    for name, content in pictures.items():
        replace_file(folder / picture_href(patch.patch_id, shard, name), content, unread=fresh)
    return BandStatistics.of(patch), {name: describe_file(content) for name, content in pictures.items()}
