"""The last step of publishing a collection's items: their splits, known only when all are, and the index of them."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from rich.progress import Progress

from catalog.documents import replace_file
from catalog.index import BATCH_ROWS, write_batches, z_order
from catalog.item_table import to_batch
from catalog.items import rebase, shard_folder, with_split
from catalog.shard_items import PublishedShard, item_path
from catalog.unsettled import Stored, find_unsettled

_AHEAD = 4  # batches that are made while the index takes the one before


@dataclass(frozen=True, slots=True)
class _Task:
    path: Path
    stored: Stored
    """Where the item can be read now; elsewhere than at its path where it has no file yet."""
    stated: Mapping[str, Any]
    """What the item says about its split."""
    fresh: bool
    """Nothing leads to the item yet."""


def settle_items(
    folder: Path,
    parts: Mapping[int, PublishedShard],
    stated: Sequence[Mapping[str, Any]] | None,
    before: Mapping[str, Any] | None,
    collection: Mapping[str, Any],
    progress: Progress,
) -> None:
    """Write the items of a collection that are not written yet or state another split, and the index of all items.

    Args:
        parts: every shard of the collection, its items written or kept.
        stated: of every item, in the order of shards and rows, what it says about its split; None for nothing.
        before: the collection that readers see now, if there is one.
        collection: the one that they will see.
    """
    linked = {link["href"] for link in (before or {"links": []})["links"]}
    fresh = {shard: f"./{shard_folder(shard)}/catalog.json" not in linked for shard in parts}
    kept = {shard: find_unsettled(folder, shard) for shard in parts}
    rows = [(shard, i, row) for shard, part in parts.items() for i, row in enumerate(part.rows)]
    order = z_order([row.lon_deg for *_, row in rows], [row.lat_deg for *_, row in rows])

    def task(number: int) -> _Task:
        shard, i, row = rows[number]
        path, found = item_path(folder, shard, row.patch_id), kept[shard]
        stored = Stored(path) if found is None else found[i]
        return _Task(path, stored, {} if stated is None else stated[number], fresh[shard])

    shown = progress.add_task(f"publish {folder.name}, items", total=len(rows))
    with ThreadPoolExecutor(1) as beside:  # beside the index; more threads would wait for the interpreter's lock
        settled = _settled(map(task, order.tolist()), beside)
        write_batches(folder / "items.parquet", _counted(settled, progress, shown), collection)


def _settled(tasks: Iterator[_Task], beside: Executor) -> Iterator[pa.RecordBatch]:
    """Rows of the index in this order."""
    pieces = iter(lambda: list(itertools.islice(tasks, BATCH_ROWS)), [])
    running = deque(beside.submit(_settle, piece) for piece in itertools.islice(pieces, _AHEAD))
    while running:
        yield running.popleft().result()
        running.extend(beside.submit(_settle, piece) for piece in itertools.islice(pieces, 1))


def _settle(tasks: Sequence[_Task]) -> pa.RecordBatch:
    """Write some items with their splits; their rows of the index, hrefs relative to the collection."""
    found = []
    for task in tasks:
        item = task.stored.read()
        made = with_split(item, task.stated)
        if made != item or task.stored.path != task.path:
            replace_file(task.path, orjson.dumps(made), unread=task.fresh)
        found.append(rebase(made, task.path.parent.name))
    return to_batch(found)


def _counted(batches: Iterable[pa.RecordBatch], progress: Progress, shown: Any) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        progress.advance(shown, batch.num_rows)
