"""What a corpus is: its bands, grids, shards and STAC catalog. No GDAL, no JAX, no provider's network.

`open_patch` and `open_shard` stand here for the people who open one item; they are imported when first used, since
xarray takes a second.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catalog.opening import open_patch, open_shard

__all__ = ["open_patch", "open_shard"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from catalog import opening

        return getattr(opening, name)
    raise AttributeError(f"module 'catalog' has no attribute {name!r}")
