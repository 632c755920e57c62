"""Pairs of scenes read one after the other, with the images of the next ones on their way meanwhile."""

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from catalog.patch import Patch, Scene, ScenePair
from ingest.errors import Refused
from ingest.images import MISSING_IMAGE, Access
from ingest.read import BANDS_AT_ONCE, SceneReader, ask_for_patch
from ingest.successors import Successors

PATCHES_AHEAD = 2  # on their way while one is computed: enough to keep every thread waiting for the network

_Key = tuple[str, ...]  # of a scene: its id and images, for a radar scene that is made again keeps its id


@dataclass(frozen=True, slots=True)
class _Reading:
    """A pair whose images are on their way."""

    pair: ScenePair
    patch: Callable[[], Patch]

    @property
    def keys(self) -> tuple[_Key, _Key]:
        return _key(self.pair.s2), _key(self.pair.s1)


class PairReader:
    """Reads pair after pair, keeping the images of the present scenes open, in a few threads of its own."""

    def __init__(self, access: Access, stack: ExitStack) -> None:
        self._access = access
        self._open: dict[_Key, SceneReader] = {}
        self._successors = Successors(access.source)
        self._replaced: dict[_Key, Scene] = {}
        stack.callback(self._close)
        self._threads = ThreadPoolExecutor(BANDS_AT_ONCE, thread_name_prefix="band")
        stack.callback(self._threads.shutdown, cancel_futures=True)  # of patches nobody waits for after an error

    def read_all(self, pairs: Iterable[ScenePair]) -> Iterator[Patch | Refused]:
        """Each pair's patch, or why it cannot be had, in order.

        Raises:
            ReadError: an image cannot be had now.
        """
        waiting = iter(pairs)
        asked = deque(self._ask(pair) for pair in itertools.islice(waiting, PATCHES_AHEAD))
        while asked:
            asked.extend(self._ask(pair) for pair in itertools.islice(waiting, 1))
            reading = asked.popleft()
            try:
                yield self._read(reading)
            except Refused as refused:
                yield refused
            self._close(but={key for one in (reading, *asked) for key in one.keys})

    def _ask(self, pair: ScenePair) -> _Reading:
        pair = dataclasses.replace(pair, s2=self._present(pair.s2), s1=self._present(pair.s1))
        return _Reading(pair, ask_for_patch(pair, self._reader(pair.s2), self._reader(pair.s1), self._threads))

    def _read(self, reading: _Reading) -> Patch:
        """The patch, from whatever took the place of scenes that are gone."""
        while True:
            try:
                return reading.patch()
            except Refused as refused:
                if refused.reason != MISSING_IMAGE or not self._replaces(reading.pair):
                    raise
            reading = self._ask(reading.pair)

    def _replaces(self, pair: ScenePair) -> bool:
        """Whether something took the place of a scene of the pair that is gone; it is read from here on."""
        for scene in (pair.s2, pair.s1):
            successor = self._successors.of(scene) if self._reader(scene).gone else None
            if successor is not None:
                self._replaced[_key(scene)] = successor
        return any(_key(scene) in self._replaced for scene in (pair.s2, pair.s1))

    def _present(self, scene: Scene) -> Scene:
        while _key(scene) in self._replaced:
            scene = self._replaced[_key(scene)]
        return scene

    def _reader(self, scene: Scene) -> SceneReader:
        if _key(scene) not in self._open:
            self._open[_key(scene)] = SceneReader(scene, self._access)
        return self._open[_key(scene)]

    def _close(self, but: Container[_Key] = ()) -> None:
        for key in [one for one in self._open if one not in but]:
            self._open.pop(key).close()


def _key(scene: Scene) -> _Key:
    return scene.item_id, *scene.hrefs.values()
