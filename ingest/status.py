"""What became of the places of a build, while it runs or after."""

import datetime as dt
import fcntl
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from catalog.errors import CorpusError
from catalog.program import main
from ingest.tally import Tally, read_tallies


@dataclass(frozen=True)
class Status:
    """Count the places of a build by what became of them, while it runs or after.

    Example: deepsentinel status corpus/unlabelled
    """

    out: Annotated[Path, tyro.conf.Positional]
    """Folder of the corpus."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a build stands."""

    wanted: int
    counts: Counter[tuple[str, str]]
    """Places by status and reason."""
    shards: int
    """Committed."""
    running: bool
    fetched_bytes: int = 0
    in_hand: int = 0
    """Patches read for shards that are not committed yet."""
    per_s: float = 0.0
    """Patches a second of the workers that are at it; 0 when nobody is."""

    @property
    def seconds_left(self) -> float | None:
        """At this rate; None where nobody is at work."""
        return (self.wanted - self.written - self.in_hand) / self.per_s if self.per_s else None

    @property
    def written(self) -> int:
        """Patches in committed shards."""
        return self.counts["written", ""]


def progress_of(out: Path) -> Progress:
    """Read the ledger of a build. Patches of a shard that is not committed yet do not count as written.

    Raises:
        CorpusError: no build is there.
    """
    record = out / "corpus.json"
    if not record.is_file():
        raise CorpusError(f"there is no build in {out}; make one with: deepsentinel build")
    wanted = json.loads(record.read_text())["plan"]["count"]
    shards = {path.stem for path in (out / "shards").glob("[0-9]*.zarr")}
    counts: Counter[tuple[str, str]] = Counter()
    for path in sorted((out / "ledger").glob("*.jsonl")):
        rows = count_rows(path)
        if path.stem not in shards:
            del rows["written", ""]
        counts += rows
    running = _locked(out / ".lock")
    tallies = read_tallies(out)
    in_hand = [tally for index, tally in tallies.items() if f"{index:06d}" not in shards] if running else []
    return Progress(
        wanted, counts, len(shards), running, sum(tallies.values(), Tally()).fetched_bytes,
        sum(tally.read for tally in in_hand), sum(tally.read / max(tally.seconds, 1e-3) for tally in in_hand),
    )  # fmt: skip


def count_rows(ledger: Path) -> Counter[tuple[str, str]]:
    """Rows of a ledger file by status and reason."""
    counts: Counter[tuple[str, str]] = Counter()
    with ledger.open() as file:
        for line in file:
            row = json.loads(line)
            counts[row["status"], row["reason"]] += 1
    return counts


def run(options: Status) -> Progress:
    """Show where a build stands.

    Raises:
        CorpusError: no build is there.
    """
    progress = progress_of(options.out)
    table = Table(title=f"{options.out}", title_justify="left", show_header=False)
    table.add_row("patches written", f"{progress.written:,} of {progress.wanted:,} in {progress.shards:,} shards")
    for (status, reason), count in sorted(progress.counts.items(), key=lambda entry: (-entry[1], entry[0])):
        if status != "written":
            table.add_row(f"{status}: {reason}", f"{count:,}")
    table.add_row("fetched", f"{progress.fetched_bytes / 1e6:,.1f} MB in headers and blocks")
    if progress.seconds_left is not None:
        left = dt.timedelta(seconds=round(progress.seconds_left))
        table.add_row("at work", f"{progress.in_hand:,} more read, {progress.per_s:.1f} patches/s, {left} left")
    unfinished = "unfinished; run the same build again to go on"
    table.add_row("build", "running" if progress.running else "done" if _done(progress) else unfinished)
    Console().print(table)
    return progress


def _done(progress: Progress) -> bool:
    return progress.written >= progress.wanted


def _locked(path: Path) -> bool:
    """Whether a build holds the lock of the folder."""
    if not path.exists():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


if __name__ == "__main__":
    main(Status, run)
