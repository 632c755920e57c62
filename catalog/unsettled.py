"""Items of a new shard, one a line, until their splits are known; only then does each get a file of its own.

Nothing leads to a new shard yet, so nobody misses the files. Writing each once, and none to replace another, matters
where there are many: ext4 looks through all files that were removed in the last minutes before it makes a new one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalog.documents import read_document, replace_file
from catalog.items import shard_folder

NAME = "unsettled.jsonl"  # beside the items, and no item's name


@dataclass(frozen=True, slots=True)
class Stored:
    """Where an item can be read."""

    path: Path
    start: int = 0
    nbytes: int = -1
    """All to the end of the file where -1."""

    def read(self) -> dict[str, Any]:
        """The item.

        Raises:
            CorpusError: it is missing or damaged.
        """
        cure = f"remove {self.path.parent / 'shard.json'} and publish again"
        return read_document(self.path, cure, ("properties", "links", "assets"), self.start, self.nbytes)


def unsettled_path(folder: Path, shard: int) -> Path:
    """Where the unsettled items of a shard stand.

    Args:
        folder: the collection's.
    """
    return folder / shard_folder(shard) / NAME


def write_unsettled(folder: Path, shard: int, items: Iterable[bytes]) -> None:
    """Keep the items of a shard.

    Args:
        items: JSON of each, of one line, in the order of rows.
    """
    replace_file(unsettled_path(folder, shard), b"".join(item + b"\n" for item in items))


def find_unsettled(folder: Path, shard: int) -> list[Stored] | None:
    """Where the items of a shard are kept, in the order of rows; None where each has its file."""
    path = unsettled_path(folder, shard)
    if not path.is_file():
        return None
    ends = np.flatnonzero(np.fromfile(path, np.uint8) == ord("\n")).tolist()
    return [Stored(path, before + 1, end - before) for before, end in zip([-1, *ends], ends, strict=False)]
