"""Counts of what a running sandbox was asked, safe to read and write from many threads."""

import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """A snapshot; failed requests count too."""

    searches: int
    tokens: int
    blob_requests: int
    blob_bytes: int
    """Bytes of blobs sent, error bodies not counted."""


class Tally:
    """Counters by kind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counter: Counter[str] = Counter()

    def add(self, kind: str, amount: int = 1) -> int:
        """Count and return the new total of this kind."""
        with self._lock:
            self._counter[kind] += amount
            return self._counter[kind]

    def snapshot(self) -> Counts:
        """The totals at one moment."""
        with self._lock:
            totals = dict(self._counter)
        return Counts(*(totals.get(kind, 0) for kind in ("search", "token", "blob", "blob bytes")))
