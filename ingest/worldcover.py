"""ESA WorldCover on the patch grid: the planetary label, from the same provider as the scenes.

The map lies in tiles of 3 x 3 degrees with pixels of 1/12,000 degree. A tile's name follows from its place, so no
search is needed. Tiles of open sea do not exist: their pixels are unknown, and so is all beyond 60 S and 82.75 N.
"""

import contextlib
from collections import OrderedDict
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from catalog.grid import PatchGrid
from catalog.labels import WORLDCOVER_BY_VALUE
from catalog.schema import UNKNOWN_LABEL
from ingest.errors import PlanError, Refused
from ingest.images import MISSING_IMAGE, Access, Image
from ingest.projected import LON_LAT, centres_there
from ingest.sources.profile import Source

Year = Literal[2020, 2021]
VERSIONS: dict[int, str] = {2020: "v100", 2021: "v200"}
"""Of the algorithm that made each year's map; the two are no time series."""
TILE_DEG = 3
# Of the collection esa-worldcover on the Planetary Computer (msft:storage_account, msft:container).
_HOST, _CONTAINER = "ai4edataeuwest.blob.core.windows.net", "esa-worldcover"
_TILES_OPEN = 4  # as many as can meet in a patch

Tile = tuple[int, int]
"""Longitude and latitude of the south-west corner, whole degrees."""


class WorldCover:
    """The map of one year, tile by tile; keeps the latest tiles open.

    Raises:
        PlanError: the source of the scenes does not give out tokens for the Planetary Computer's storage.
    """

    def __init__(self, year: Year, access: Access) -> None:
        check_source(access.source)
        self._year, self._access = year, access
        self._images: OrderedDict[Tile, Image] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for image in self._images.values():
            image.close()

    def labels(self, grid: PatchGrid) -> NDArray[np.uint8]:
        """Classes 10..100 of the map pixel that holds each 10 m pixel's centre, axes `y x`; 0 is unknown.

        Raises:
            Refused: a tile is damaged.
            ReadError: a tile cannot be had now.
        """
        lon, lat = centres_there(grid, LON_LAT)
        lon = (lon + 180) % 360 - 180
        columns, rows = (np.floor(edge / TILE_DEG).astype(np.int64) * TILE_DEG for edge in (lon, lat))
        found = np.full(lon.shape, UNKNOWN_LABEL, np.uint8)
        for tile in sorted(set(zip(columns.ravel().tolist(), rows.ravel().tolist(), strict=True))):
            inside = (columns == tile[0]) & (rows == tile[1])
            with contextlib.suppress(_NoSuchTileError):
                found[inside] = self._values(tile, lon[inside], lat[inside])
        return found

    def _values(self, tile: Tile, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.uint8]:
        try:
            values = self._image(tile).use(lambda image: _read(image, lon, lat))
        except Refused as refused:
            if refused.reason == MISSING_IMAGE:
                raise _NoSuchTileError(tile_name(tile, self._year)) from refused
            raise
        return np.where(np.isin(values, list(WORLDCOVER_BY_VALUE)), values, UNKNOWN_LABEL)

    def _image(self, tile: Tile) -> Image:
        image = self._images.pop(tile, None)
        if image is None:
            name = tile_name(tile, self._year)
            image = Image(f"tile {name}", tile_href(tile, self._year, self._access), self._access)
        self._images[tile] = image
        if len(self._images) > _TILES_OPEN:
            self._images.popitem(last=False)[1].close()
        return image


class _NoSuchTileError(LookupError):
    """The map has no such tile: sea, or beyond its reach."""


def check_source(source: Source) -> None:
    """Raise unless the source can sign the tiles' addresses.

    Raises:
        PlanError: it cannot.
    """
    if source.name not in ("planetary-computer", "earth-search"):
        raise PlanError(
            f"--worldcover reads the Planetary Computer's storage, and the source {source.name} has no tokens for it; "
            "use --source planetary-computer or earth-search"
        )


def product_name(year: int) -> str:
    """Name of a year's map, as provenance states it."""
    return f"ESA_WorldCover_10m_{year}_{VERSIONS[year]}"


def tile_name(tile: Tile, year: int) -> str:
    """Name of a tile, such as "ESA_WorldCover_10m_2021_v200_N51E012"."""
    lon, lat = tile
    return f"{product_name(year)}_{'N' if lat >= 0 else 'S'}{abs(lat):02d}{'E' if lon >= 0 else 'W'}{abs(lon):03d}"


def tile_href(tile: Tile, year: int, access: Access) -> str:
    """Unsigned address of a tile."""
    scheme = urlsplit(access.source.api_of(access.source.s1_collection)).scheme  # the sandbox has no TLS
    return f"{scheme}://{_HOST}/{_CONTAINER}/{VERSIONS[year]}/{year}/map/{tile_name(tile, year)}_Map.tif"


def _read(image: Any, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[Any]:
    """What an open tile stores under each point."""
    to_pixel = ~image.transform
    cols = np.clip(np.floor(to_pixel.a * lon + to_pixel.c).astype(np.int64), 0, image.width - 1)
    rows = np.clip(np.floor(to_pixel.e * lat + to_pixel.f).astype(np.int64), 0, image.height - 1)
    top, left = int(rows.min()), int(cols.min())
    window = Window(left, top, int(cols.max()) - left + 1, int(rows.max()) - top + 1)
    values: NDArray[Any] = image.read(1, window=window)[rows - top, cols - left]
    return values
