"""What a person sees while a build runs: patches, their rate, the time to come, bytes fetched, refusals by reason."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from ingest.tally import Tally, read_tallies

_EVERY_S = 1.0


@contextmanager
def shown(root: Path, wanted: int, present: frozenset[int]) -> Iterator[None]:
    """Show what the workers of a build tell until the end of the `with` statement.

    Args:
        wanted: patches to come.
        present: shards that earlier runs committed.
    """
    columns = (
        TextColumn("Reading patches"), BarColumn(20), MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[more]}", table_column=Column()),  # where room is short this one wraps
    )  # fmt: skip
    ended = threading.Event()
    with Progress(*columns) as progress:
        task = progress.add_task("", total=wanted, rate="", more="")
        started = time.monotonic()

        def look() -> None:
            total = sum(read_tallies(root, present).values(), Tally())
            rate = f"{total.read / max(time.monotonic() - started, 1e-3):.1f} patches/s"
            progress.update(task, completed=total.read, rate=rate, more=describe(total))

        def watch() -> None:
            while not ended.wait(_EVERY_S):
                look()

        watcher = threading.Thread(target=watch, name="progress", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            look()


def describe(tally: Tally) -> str:
    """Bytes and refusals in a line."""
    parts = [f"{tally.fetched_bytes / 1e6:,.1f} MB fetched"]
    parts += [f"{count:,} {reason}" for reason, count in tally.skipped.most_common()]
    return ", ".join(parts)
