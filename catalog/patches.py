"""The patches of one committed shard, read one at a time with their labels and provenance."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np

from catalog import schema
from catalog.patch import Patch
from catalog.reader import ShardReader
from catalog.shard import provenance_of, shard_path


class ShardPatches(Sequence[Patch]):
    """Shard `index` of the corpus under `root` as a sequence; safe to read from many threads."""

    def __init__(self, root: Path, index: int) -> None:
        self.path = shard_path(root, index)
        self.arrays = arrays_of_shard(root, index)
        self.provenance = provenance_of(root, index)
        self._reader = ShardReader(self.path)

    def __len__(self) -> int:
        return len(self.provenance)

    @overload
    def __getitem__(self, row: int) -> Patch: ...
    @overload
    def __getitem__(self, row: slice) -> list[Patch]: ...
    def __getitem__(self, row: int | slice) -> Patch | list[Patch]:
        """Read one patch, or for a slice a list of them.

        Raises:
            ChecksumError: stored bytes are damaged.
        """
        if isinstance(row, slice):
            return [self[i] for i in range(len(self))[row]]
        row = range(len(self))[row]
        provenance, pixels = self.provenance[row], {}
        for name in self.arrays:
            spec = schema.BY_NAME[name]
            pixels[name] = np.empty(spec.shape(provenance.grid.side_px), spec.dtype)
            self._reader.read_into(name, row, pixels[name])
        labels = {name: pixels.pop(name) for name in self.arrays if schema.BY_NAME[name].is_label}
        return Patch(provenance, labels=labels, **pixels)


def arrays_of_shard(root: Path, index: int) -> tuple[str, ...]:
    """Names of the pixel arrays that a shard holds, in schema order."""
    path = shard_path(root, index)
    return tuple(spec.name for spec in schema.ARRAYS if (path / spec.name / "zarr.json").is_file())
