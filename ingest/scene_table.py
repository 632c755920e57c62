"""Scenes as columns: what matching needs of a few hundred thousand scenes, and a way to the whole of a few."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.patch import Scene
from ingest.footprints import Geometries, continuous
from ingest.places import to_us

Load = Callable[[NDArray[np.int64]], list[Scene]]


@dataclass(frozen=True, eq=False)
class SceneTable:
    """Scenes of one sensor, as columns of equal length."""

    item_id: NDArray[np.object_]
    acquired_us: NDArray[np.int64]
    """Microseconds since 1970, UTC."""
    epsg: NDArray[np.int64]
    cloud: NDArray[np.float64]
    """Percent; NaN where not stated."""
    orbit: NDArray[np.str_]
    """"ascending", "descending", or empty."""
    tile: NDArray[np.str_]
    """Sentinel-2 tile; empty for radar."""
    footprint: Geometries
    """Made continuous by `continuous`."""
    load: Load
    """From rows to whole scenes, in the same order."""

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> "SceneTable":
        """The columns of scenes held in memory."""
        footprints = np.empty(len(scenes), dtype=object)
        footprints[:] = [scene.footprint for scene in scenes]
        return cls(
            item_id=np.array([scene.item_id for scene in scenes], dtype=object),
            acquired_us=np.array([to_us(scene.acquired) for scene in scenes], dtype=np.int64),
            epsg=np.array([scene.epsg for scene in scenes], dtype=np.int64),
            cloud=np.array([np.nan if scene.cloud_cover is None else scene.cloud_cover for scene in scenes], float),
            orbit=np.array([scene.orbit_state or "" for scene in scenes], dtype="U10"),
            tile=np.array([scene.tile or "" for scene in scenes], dtype="U5"),
            footprint=continuous(footprints),
            load=lambda rows: [scenes[row] for row in rows.tolist()],
        )

    def __len__(self) -> int:
        return len(self.item_id)

    def ranks(self) -> NDArray[np.int64]:
        """Positions of the scenes in the order of their ids."""
        ranks = np.empty(len(self), dtype=np.int64)
        ranks[np.argsort(self.item_id, kind="stable")] = np.arange(len(self))
        return ranks

    def months(self) -> NDArray[np.int64]:
        """Month of acquisition, 1 to 12."""
        months: NDArray[np.int64] = self.acquired_us.astype("datetime64[us]").astype("datetime64[M]").astype(int)
        return months % 12 + 1
