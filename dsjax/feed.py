"""Batches put on the devices by a thread, ahead of the step that takes them."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from jax.sharding import NamedSharding
from jaxtyping import Array
from numpy.typing import NDArray

from dsjax.data import Batch, to_devices

_AHEAD = 2  # one batch ready while the next is copied


class Loader(Protocol):
    """Endless host batches whose position can be saved."""

    def __next__(self) -> Batch[NDArray[Any]]:
        """The next batch of this process."""

    def get_state(self) -> Any:
        """Where the loader stands, as JSON types."""


class _Ready(NamedTuple):
    batch: Batch[Array]
    state: Any
    """Of the loader after this batch."""


class DeviceFeed(Iterator[Batch[Array]]):
    """The batches of a loader on the devices, `ahead` of them early, which bounds the memory they take.

    `get_state` is the loader's after the last batch that was taken, however many were read ahead.
    """

    def __init__(self, loader: Loader, sharding: NamedSharding, ahead: int = _AHEAD) -> None:
        self._loader, self._sharding = loader, sharding
        self._state = loader.get_state()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device-feed")
        self._ready: deque[Future[_Ready]] = deque(self._thread.submit(self._fetch) for _ in range(ahead))

    def __enter__(self) -> "DeviceFeed":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def __next__(self) -> Batch[Array]:
        """The next batch.

        Raises:
            DeepSentinelError: it could not be read.
        """
        ready = self._ready.popleft().result()
        self._ready.append(self._thread.submit(self._fetch))
        self._state = ready.state
        return ready.batch

    def get_state(self) -> Any:
        """Where the loader stands after the last batch taken."""
        return self._state

    def _fetch(self) -> _Ready:
        batch = to_devices(next(self._loader), self._sharding)
        return _Ready(batch, self._loader.get_state())
