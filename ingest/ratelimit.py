"""A limit of requests to each host, shared by all workers of a build through small files in its folder.

Files and not a server, because workers share the corpus folder anyway, whatever runs them. The file of a host
holds one number: the time before which no further request may start (the generic cell rate algorithm, ITU-T I.371).
"""

import fcntl
import time
from dataclasses import dataclass
from pathlib import Path

_BURST_S = 1.0  # of unused requests that may be caught up at once


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most so many requests a second to one host, over all processes that share a folder."""

    folder: Path
    per_s: float
    """0 for no limit; pauses still hold."""

    def wait(self, host: str, requests: int = 1) -> None:
        """Wait until so many requests to a host may start."""
        step_s = requests / self.per_s if self.per_s else 0.0
        time.sleep(max(self._advance(host, step_s=step_s, least_s=-_BURST_S), 0.0))

    def pause(self, host: str, seconds: float) -> None:
        """Let no worker ask a host for some seconds: it said that it is busy."""
        self._advance(host, step_s=0.0, least_s=seconds)

    def _advance(self, host: str, *, step_s: float, least_s: float) -> float:
        """Move a host's time on; returns how many seconds from now it stood before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{host or 'local'}.txt").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            now = time.time()  # not the monotonic clock: workers may run on several machines
            free = max(float(file.read() or 0.0), now + least_s)
            file.truncate(0)
            file.write(repr(free + step_s))
        return free - now
