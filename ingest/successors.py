"""Scenes that were made again: what took the place of one whose images are gone.

A provider that processes a scene anew gives it another id and deletes the old images, also while a build is under
way. What stays is the key of the pixels, `strip_key`, and by it the scene is looked up again.
"""

import datetime as dt
import logging
from collections.abc import Callable

import numpy as np

from catalog.patch import Scene
from ingest.chunks import CELL_DEG, Chunk
from ingest.errors import ReadError, SourceError
from ingest.search import Item, Search, search_of
from ingest.sources.profile import Source, processing_age, scene_of, strip_key

_log = logging.getLogger(__name__)
_NEAR = dt.timedelta(minutes=1)  # all processings of a data strip state the same time


class Successors:
    """Looks scenes up again, each once."""

    def __init__(self, source: Source, search_of: Callable[[Source], Search] = search_of) -> None:
        self._source = source
        self._search_of = search_of
        self._search: Search | None = None
        self._found: dict[str, Scene | None] = {}

    def of(self, scene: Scene) -> Scene | None:
        """The newest scene of the same pixels; None where there is none but the scene itself.

        Raises:
            ReadError: the provider does not answer, so that nobody knows.
        """
        if scene.item_id not in self._found:
            self._found[scene.item_id] = self._look_up(scene)
        return self._found[scene.item_id]

    def _look_up(self, scene: Scene) -> Scene | None:
        try:
            self._search = self._search or self._search_of(self._source)
            items = self._search(_chunk_of(scene))
        except SourceError as error:
            raise ReadError(
                f"the images of {scene.item_id} are gone, and what replaced it is not known yet: {error}"
            ) from error
        newest = newest_of(items, scene.strip or scene.item_id)
        found = scene_of(newest, self._source) if newest else None
        if found is None or _files(found) == _files(scene):
            return None
        _log.info("%s is gone; %s takes its place", scene.item_id, found.item_id)
        return found


def newest_of(items: list[Item], strip: str) -> Item | None:
    """The newest processing of a data strip."""
    return max((item for item in items if strip_key(item) == strip), key=processing_age, default=None)


def _chunk_of(scene: Scene) -> Chunk:
    """A small part of the index that must hold every processing of a scene."""
    inside = scene.footprint.representative_point()
    west, south = (
        int(np.floor(edge / CELL_DEG)) * CELL_DEG for edge in ((inside.x + 180) % 360 - 180, inside.y)
    )  # fmt: skip
    return Chunk(scene.collection, west, south, scene.acquired - _NEAR, scene.acquired + _NEAR)


def _files(scene: Scene) -> set[str]:
    return {href.split("?", 1)[0] for href in scene.hrefs.values()}
