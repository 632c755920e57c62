"""Memory of batches, used again when nobody holds the batch any more.

A fresh batch of 64 patches costs the kernel as much time in zeroed pages as a fifth of its decoding.
"""

import collections
import threading
import weakref
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_ALIGNMENT = 64  # bytes: what XLA asks of memory that it takes without a copy
_MIN_BYTES = 1 << 20  # below, malloc reuses memory itself
_MAX_IDLE_BYTES = 256 << 20  # kept for the next batches: four of 64 whole patches


class BufferPool:
    """Arrays whose memory comes back when the last view of them is gone. Safe to use from many threads."""

    def __init__(self, max_idle_bytes: int = _MAX_IDLE_BYTES) -> None:
        self._max_idle_bytes = max_idle_bytes
        self._idle: list[NDArray[np.uint8]] = []
        self._returned: collections.deque[NDArray[np.uint8]] = collections.deque()  # not among the idle yet
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of any contents."""
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if nbytes < _MIN_BYTES:
            return np.empty(shape, dtype)
        memory = self._take(nbytes)
        lease = _Lease(memory)
        weakref.finalize(lease, self._give_back, memory).atexit = False
        return np.asarray(lease).view(dtype).reshape(shape)

    @property
    def idle_bytes(self) -> int:
        """Memory that waits to be used again."""
        with self._lock:
            self._collect()
            return sum(memory.nbytes for memory in self._idle)

    def _take(self, nbytes: int) -> NDArray[np.uint8]:
        """Idle memory of just this size, or new one: batches of one run are all alike."""
        with self._lock:
            self._collect()
            for i, memory in enumerate(self._idle):
                if memory.nbytes == nbytes:
                    return self._idle.pop(i)
        whole = np.empty(nbytes + _ALIGNMENT, np.uint8)
        start = -whole.ctypes.data % _ALIGNMENT
        return whole[start : start + nbytes]

    def _give_back(self, memory: NDArray[np.uint8]) -> None:
        """Never waits: the garbage collector may end a lease in the very thread that holds the lock."""
        self._returned.append(memory)
        if self._lock.acquire(blocking=False):
            try:
                self._collect()
            finally:
                self._lock.release()

    def _collect(self) -> None:
        """Take in what came back; call with the lock held."""
        while self._returned:
            self._idle.append(self._returned.popleft())
        while sum(idle.nbytes for idle in self._idle) > self._max_idle_bytes:
            self._idle.pop(0)  # the one that was not used for longest


class _Lease:
    """What an array and all its views hold on to: numpy keeps the object whose interface it took memory from."""

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        self.__array_interface__ = memory.__array_interface__


POOL = BufferPool()
"""Of all corpora of this process."""
