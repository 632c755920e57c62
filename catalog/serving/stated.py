"""What the items of a published folder state, read from its geoparquet: which queryables, and which few values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog.serving.published import Published, PublishedCollection
from catalog.serving.queryables import MAX_VALUES, Kind, Queryable, queryables_of


@dataclass(frozen=True, slots=True)
class Stated:
    """Queryables that at least one item states."""

    of_collection: Mapping[str, tuple[Queryable, ...]]
    values: Mapping[str, list[Any]]
    """Of properties with few values, all of them."""

    @classmethod
    def of(cls, published: Published) -> "Stated":
        """Read one column after the other."""
        of_collection: dict[str, tuple[Queryable, ...]] = {}
        values: dict[str, set[Any]] = {}
        for collection in (one for one in published.collections if one.has_items):
            asked = queryables_of(pq.read_schema(collection.items))
            found = {one: _distinct(collection, one) for one in asked}
            of_collection[collection.collection_id] = tuple(one for one in asked if found[one])
            for one in asked:
                values.setdefault(one.name, set()).update(found[one])
        few = {name: sorted(found) for name, found in values.items() if 0 < len(found) <= MAX_VALUES}
        return cls(of_collection, few)

    def all(self) -> tuple[Queryable, ...]:
        """Queryables of all collections, each once."""
        return tuple({one.name: one for of_one in self.of_collection.values() for one in of_one}.values())


def _distinct(collection: PublishedCollection, asked: Queryable) -> set[Any]:
    """Values of a property; beyond the limit some of them, which is enough to know that they are many."""
    column = pq.read_table(collection.items, columns=[asked.name])[asked.name]
    if asked.kind in (Kind.NUMBERS, Kind.TEXTS):
        column = pc.list_flatten(column)
    return set(pc.unique(column.drop_null())[: MAX_VALUES + 1].to_pylist())
