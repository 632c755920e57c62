"""The index as a file: opened to read, what it says about itself, and how it keeps documents."""

import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import shapely

from catalog.serving.queryables import Kind, Queryable


@dataclass(frozen=True, slots=True)
class Meta:
    """What an index says about itself."""

    format: int
    state: str
    count: int
    counts: Mapping[str, int]
    asked: tuple[Queryable, ...]
    of_collection: Mapping[str, Sequence[str]]
    values: Mapping[str, list[Any]]
    complete: frozenset[str]
    reach_us: tuple[int, int]
    dictionary: bytes = field(repr=False)

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> "Meta":
        """Read what building wrote."""
        raw = dict(connection.execute("SELECT key, value FROM meta"))
        dictionary = raw.pop("dictionary")
        found = {key: json.loads(value) for key, value in raw.items()}
        asked = tuple(Queryable(name, Kind[kind]) for name, kind in found["queryables"])
        before, after = found["reach"]
        return cls(
            found["format"], found["state"], found["count"], found["counts"], asked,
            found["of_collection"], found["values"], frozenset(found["complete"]), (before, after), dictionary,
        )  # fmt: skip


def connect(path: str) -> sqlite3.Connection:
    """Open an index to read; one thread at a time may use the connection."""
    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    connection.execute("PRAGMA mmap_size=4294967296")
    connection.create_function("intersects", 2, _intersects, deterministic=True)
    return connection


def _intersects(footprint: bytes, shape: bytes) -> bool:
    return bool(shapely.intersects(_prepared(shape), shapely.from_wkb(footprint)))


@lru_cache(maxsize=64)
def _prepared(shape: bytes) -> shapely.Geometry:
    found = shapely.from_wkb(shape)
    shapely.prepare(found)
    return found


def compress(document: bytes, dictionary: bytes) -> bytes:
    """A document as `document.body` holds it."""
    packer = zlib.compressobj(4, zdict=dictionary)
    return packer.compress(document) + packer.flush()


def decompress(body: bytes, dictionary: bytes) -> bytes:
    """The inverse of `compress`."""
    return zlib.decompressobj(zdict=dictionary).decompress(body)
