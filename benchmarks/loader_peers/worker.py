"""A pipeline in a process of its own, which measures itself each time it is told to go on."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Epoch = Callable[[], Iterable[int]]
"""Loads every patch once, batch by batch, and yields the patches of each batch."""


def serve(epoch: Epoch) -> None:
    """Run one epoch for every line on stdin; answer each with a line of JSON.

    `cpu_s` is user and system time of this process and of all its children since the last answer, so that what is
    prefetched between turns counts; wall time is flattered by it. `rss_mb` is their resident memory together at
    its highest after a batch.
    """
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    cpu = cpu_s()
    for _ in sys.stdin:
        started, before, patches, rss = time.perf_counter(), cpu, 0, 0.0
        for count in epoch():
            patches += count
            rss = max(rss, rss_mb())
        seconds, cpu = time.perf_counter() - started, cpu_s()
        found = {"patches": patches, "cpu_s": cpu - before, "wall_s": seconds, "rss_mb": rss}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def cpu_s() -> float:
    """User and system time of this process, exactly, and of its children, to a hundredth of a second."""
    ended = os.times()
    total = time.process_time() + ended.children_user + ended.children_system
    for pid in _children(os.getpid()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(fields[i]) for i in (11, 12, 13, 14)) / _TICKS_PER_S
    return total


def rss_mb() -> float:
    """Resident memory of this process and its children; pages that they share count for each."""
    pids = [os.getpid(), *_children(os.getpid())]
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * _PAGE_BYTES / 1e6


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found
