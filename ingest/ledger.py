"""What became of every place of a plan: planned, written, skipped for a reason, failed with an error."""

import json
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Status = Literal["written", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Row:
    """The outcome of one place."""

    draw: int
    cell: str
    status: Status
    reason: str = ""
    detail: str = ""
    patch_id: str | None = None


@dataclass(frozen=True, slots=True)
class BuildSummary:
    """Counts of a build or a part of it; parts merge."""

    planned: int = 0
    written: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    nbytes: int = 0
    """Of the shards on disk."""
    fetched_bytes: int = 0
    """Of headers and compressed blocks; what was sent again after a failure is not counted."""

    def merge(self, other: "BuildSummary") -> "BuildSummary":
        """The sum of two parts; times add up too."""
        return BuildSummary(
            self.planned + other.planned, self.written + other.written, self.skipped + other.skipped,
            self.failed + other.failed, self.seconds + other.seconds, self.nbytes + other.nbytes,
            self.fetched_bytes + other.fetched_bytes,
        )  # fmt: skip


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write rows as JSON lines, all or nothing, also when the power fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        with aside.open("w") as file:
            file.writelines(json.dumps(asdict(row), sort_keys=True) + "\n" for row in rows)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_rows(folder: Path) -> list[Row]:
    """All rows of a ledger folder, by draw."""
    return sorted(iterate_rows(folder), key=lambda row: row.draw)


def iterate_rows(folder: Path) -> Iterator[Row]:
    """The rows of a ledger folder, file by file: a million of them need no memory."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open() as file:
            for line in file:
                yield Row(**json.loads(line))


def summarise(rows: Iterable[Row]) -> BuildSummary:
    """Count rows by status and reason."""
    counts = Counter((row.status, row.reason) for row in rows)

    def by_reason(status: Status) -> Counter[str]:
        return Counter({reason: count for (of, reason), count in counts.items() if of == status})

    return BuildSummary(
        counts.total(), by_reason("written").total(), skipped=by_reason("skipped"), failed=by_reason("failed")
    )
