"""The last step of publishing a collection's items: their splits, known only when all are, and the index of them."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.documents import read_document
from catalog.index import write_index, z_order
from catalog.items import rebase, shard_folder, with_split
from catalog.shard_items import PublishedShard, item_path, write_item

_AT_ONCE = 512  # items in memory
_A_TASK = 32  # enough that handing them to a thread costs nothing beside reading and writing them


@dataclass(frozen=True, slots=True)
class _Task:
    path: Path
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
    pool: Executor,
) -> None:
    """State splits in the items of a collection where they are not stated yet, and write the index of all items.

    Args:
        parts: every shard of the collection, its items written.
        stated: of every item, in the order of shards and rows, what it says about its split; None for nothing.
        before: the collection that readers see now, if there is one.
        collection: the one that they will see.
    """
    linked = {link["href"] for link in (before or {"links": []})["links"]}
    fresh = {shard: f"./{shard_folder(shard)}/catalog.json" not in linked for shard in parts}
    rows = [(shard, row) for shard, part in parts.items() for row in part.rows]
    order = z_order([row.lon_deg for _, row in rows], [row.lat_deg for _, row in rows])
    tasks = (
        _Task(item_path(folder, shard, row.patch_id), {} if stated is None else stated[i], fresh[shard])
        for i, (shard, row) in ((i, rows[i]) for i in order.tolist())
    )
    write_index(folder / "items.parquet", _settled(tasks, pool), collection)


def _settled(tasks: Iterable[_Task], pool: Executor) -> Iterator[dict[str, Any]]:
    """Items in this order, hrefs relative to the collection."""
    rest = iter(tasks)
    while group := list(itertools.islice(rest, _AT_ONCE)):
        pieces = [group[i : i + _A_TASK] for i in range(0, len(group), _A_TASK)]
        yield from itertools.chain.from_iterable(pool.map(_settle, pieces))


def _settle(tasks: Sequence[_Task]) -> list[dict[str, Any]]:
    found = []
    for task in tasks:
        cure = f"remove {task.path.parent / 'shard.json'} and publish again"
        item = read_document(task.path, cure, ("properties", "links", "assets"))
        made = with_split(item, task.stated)
        if made != item:
            write_item(task.path, made, fresh=task.fresh)
        found.append(rebase(made, task.path.parent.name))
    return found
