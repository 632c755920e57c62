"""Publishing that is killed again and again, while a reader walks what is published."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import pyarrow.parquet as pq
import pytest

from catalog.fake import fake_patches, write_fake_build
from catalog.publish import publish
from catalog.shard import write_shard
from catalog.validate import validate

KILLS = 10
SHARDS, SHARD_ROWS, SIDE_PX = 6, 5, 64
# The program itself, telling when it is past its imports, so that kills fall into its work.
PROGRAM = """
import sys
from pathlib import Path
from catalog.publish import publish
print("begun", flush=True)
publish([Path(sys.argv[1])], Path(sys.argv[2]), workers=2)
"""


@dataclasses.dataclass
class Reader:
    """Walks a published tree from its root, again and again, and keeps what was wrong."""

    root: Path
    walks: int = 0
    items: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set() and not self.wrong:
            try:
                self.walk()
            except (OSError, ValueError, KeyError):  # a thread's own would be seen by nobody
                self.wrong.append(traceback.format_exc())
            self.walks += 1

    def walk(self) -> None:
        for collection in self.linked(self.root / "catalog.json", "child"):
            self.linked(collection, "child")
            for shard in self.linked(collection, "child"):
                for item in self.linked(shard, "item"):
                    self.linked(item, "none")
                    self.items += 1
            self.check_index(collection.parent)

    def linked(self, path: Path, rel: str) -> list[Path]:
        """Documents that one leads to by this relation, after a check of all its links and assets."""
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            self.wrong.append(f"{path}: {error}")
            return []
        for entry in (*document["links"], *document.get("assets", {}).values()):
            if not urlparse(entry["href"]).scheme and not (path.parent / entry["href"]).exists():
                self.wrong.append(f"{path} leads to {entry['href']}")
        return [path.parent / link["href"] for link in document["links"] if link["rel"] == rel]

    def check_index(self, folder: Path) -> None:
        """Every indexed item has its document and its shard."""
        with (folder / "items.parquet").open("rb") as file:  # opened once: it may be replaced while it is read
            table = pq.read_table(file, columns=["id", "deepsentinel:shard"])
        for row in table.to_pylist():
            shard = row["deepsentinel:shard"]
            for path in (f"shards/{shard:06d}.zarr/zarr.json", f"shard-{shard:06d}/{row['id']}.json"):
                if not (folder / path).is_file():
                    self.wrong.append(f"{folder}: {row['id']} is indexed, {path} is missing")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader that runs beside the test once the first catalog is there."""
    found, stop = Reader(tmp_path / "catalog"), threading.Event()
    grow(tmp_path / "build", range(2))
    publish([tmp_path / "build"], found.root, workers=1)
    thread = threading.Thread(target=found.run, args=(stop,))
    thread.start()
    yield found
    stop.set()
    thread.join()


def grow(build: Path, shards: range, version: str = "0.1.0") -> None:
    """Add shards to a build, and set its version."""
    if not build.exists():
        write_fake_build(build, 0, side_px=SIDE_PX)
    patches = list(fake_patches(SHARDS * SHARD_ROWS, side_px=SIDE_PX))
    for shard in shards:
        write_shard(build, shard, patches[shard * SHARD_ROWS : (shard + 1) * SHARD_ROWS])
    record = json.loads((build / "corpus.json").read_text())
    (build / "corpus.json").write_text(json.dumps(record | {"version": version}))


def start(build: Path, dest: Path) -> subprocess.Popen[str]:
    """Publish in a process of its own, which is at work when this returns."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, build, dest], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def finish(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=120)
    return process.returncode


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_ten_kills_break_no_link_and_change_no_byte_of_the_result(tmp_path: Path, reader: Reader):
    grow(tmp_path / "other", range(2))
    publish([tmp_path / "other"], tmp_path / "undisturbed", workers=1)
    for build in ("build", "other"):
        grow(tmp_path / build, range(2, SHARDS), version="0.2.0")  # published items are made again, beside new ones
    began = time.monotonic()
    assert finish(start(tmp_path / "other", tmp_path / "undisturbed")) == 0
    whole_s = time.monotonic() - began
    draw, killed = random.Random(5), 0
    for attempt in range(4 * KILLS):
        process = start(tmp_path / "build", reader.root)
        # Each run does less than the one before, what is left falls to the next: moments move towards the start.
        time.sleep(draw.uniform(0, whole_s / (1 + attempt / 4)))
        process.send_signal(signal.SIGKILL)
        killed += finish(process) == -signal.SIGKILL
        if killed == KILLS:
            break
    assert killed == KILLS
    assert finish(start(tmp_path / "build", reader.root)) == 0
    walks = reader.walks
    while reader.walks < walks + 2 and not reader.wrong:
        time.sleep(0.05)
    assert reader.wrong == []
    assert reader.walks > 5
    assert reader.items > 5 * 2 * SHARD_ROWS
    assert contents(reader.root) == contents(tmp_path / "undisturbed")
    assert validate(reader.root).findings == ()
