"""What stands in a published folder: its root catalog and, of every collection, the document and the index."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from stac_fastapi.types.errors import NotFoundError

from catalog.documents import read_document
from catalog.errors import CorpusError

_CURE = "publish with catalog.publish"


@dataclass(frozen=True, slots=True)
class PublishedCollection:
    """One collection of a published folder."""

    folder: Path
    document: dict[str, Any]

    @property
    def collection_id(self) -> str:
        """Id of the collection."""
        return str(self.document["id"])

    @property
    def items(self) -> Path:
        """Its index, a stac-geoparquet file."""
        return self.folder / "items.parquet"

    @property
    def has_items(self) -> bool:
        """Whether there is an index: a collection of models has none before the first model."""
        return self.items.is_file()

    def state(self) -> str:
        """Changes when the collection's document or its index is replaced; reads neither of them."""
        stat = self.items.stat() if self.has_items else None
        stated = [] if stat is None else [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        return json.dumps([self.folder.name, self.document, stated], sort_keys=True)


@dataclass(frozen=True, slots=True)
class Published:
    """A published folder."""

    folder: Path
    root: dict[str, Any]
    collections: tuple[PublishedCollection, ...]
    """By id."""

    @classmethod
    def open(cls, folder: Path) -> "Published":
        """Read the root catalog and the collections.

        Raises:
            CorpusError: nothing is published there, or a collection has no readable index.
        """
        if not (folder / "catalog.json").is_file():
            raise CorpusError(f"{folder} holds no catalog.json; {_CURE} and serve the folder that it wrote")
        root = read_document(folder / "catalog.json", _CURE, ("id", "links"))
        found = [_collection(path) for path in sorted(folder.glob("*/collection.json"))]
        if not found:
            raise CorpusError(f"{folder} holds a catalog.json but no collection; {_CURE}")
        return cls(folder, root, tuple(sorted(found, key=lambda one: one.collection_id)))

    def collection(self, collection_id: str) -> PublishedCollection:
        """One collection.

        Raises:
            NotFoundError: there is none of this id.
        """
        for one in self.collections:
            if one.collection_id == collection_id:
                return one
        known = ", ".join(one.collection_id for one in self.collections)
        raise NotFoundError(f"there is no collection {collection_id[:200]}; there are {known}")

    @property
    def count(self) -> int:
        """Items of all collections."""
        return sum(pq.read_metadata(one.items).num_rows for one in self.collections if one.has_items)

    @property
    def title(self) -> str:
        """Title of the catalog."""
        return str(self.root.get("title") or self.root["id"])


def _collection(path: Path) -> PublishedCollection:
    found = PublishedCollection(path.parent, read_document(path, _CURE, ("id", "links", "extent")))
    if found.has_items:
        try:
            pq.read_schema(found.items)
        except pa.ArrowInvalid as error:
            raise CorpusError(f"{found.items} is no index ({str(error)[:200]}); {_CURE} again") from error
    return found
