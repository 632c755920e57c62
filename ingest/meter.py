"""How many bytes images take: their headers, and each compressed block once.

GDAL does not say what it fetched. But files say how large their blocks are, and which ones a window touches is known.
"""

import threading
from collections.abc import Iterator
from typing import Any

from rasterio.windows import Window

HEADER_BYTES = 131072  # fetched at opening; holds the whole header of a full Sentinel-1 scene

Block = tuple[int, int]
"""Row and column."""


class Meter:
    """Counts bytes, from any thread."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._lock = threading.Lock()

    def add(self, nbytes: int) -> None:
        """Count some more."""
        with self._lock:
            self.nbytes += nbytes


def blocks_under(image: Any, window: Window) -> Iterator[Block]:
    """The blocks of an open image that a window touches."""
    height_px, width_px = image.block_shapes[0]
    rows, cols = window.toslices()
    for row in range(rows.start // height_px, (rows.stop - 1) // height_px + 1):
        for col in range(cols.start // width_px, (cols.stop - 1) // width_px + 1):
            yield row, col


def block_bytes(image: Any, block: Block) -> int:
    """Compressed size of a block, without what came with the header; 0 for one that is absent."""
    row, col = block
    offset, size = (
        int(image.get_tag_item(f"BLOCK_{name}_{col}_{row}", "TIFF", bidx=1) or 0) for name in ("OFFSET", "SIZE")
    )
    return max(0, min(size, offset + size - HEADER_BYTES))
