"""`python -m catalog.serve` as its users start it: once, again, after new items, wrongly."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from catalog.fake import write_fake_build
from catalog.publish import publish


@pytest.fixture
def catalog(tmp_path):
    publish([write_fake_build(tmp_path / "build", 12, side_px=16, shard_rows=6)], tmp_path / "catalog", workers=1)
    return tmp_path / "catalog"


class Serving:
    """The program in a process of its own, from its first line to its end."""

    def __init__(self, *words: object, cache: Path) -> None:
        command = [sys.executable, "-m", "catalog.serve", *map(str, words), "--port", "0"]
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "COLUMNS": "200"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines: list[str] = []
        self.origin = ""
        watchdog = threading.Timer(120, self.process.kill)
        watchdog.start()
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"http://[^/]+", line):
                self.origin = found.group()
                break
        watchdog.cancel()

    def __enter__(self) -> "Serving":
        assert self.origin, "".join(self.lines)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        _, rest = self.process.communicate(timeout=60)
        self.lines.append(rest or "")

    @property
    def text(self) -> str:
        return "".join(self.lines)


def matched(origin: str) -> int:
    return int(requests.get(f"{origin}/api/search?limit=1", timeout=30).json()["numberMatched"])


def test_the_index_is_built_once_and_again_when_the_catalog_grew(catalog, tmp_path):
    cache = tmp_path / "cache"
    with Serving(catalog, cache=cache) as first:
        assert first.origin.startswith("http://127.0.0.1:")
        assert matched(first.origin) == 12
        assert requests.get(f"{first.origin}/", timeout=30, allow_redirects=False).headers["location"] == "/api/"
    assert "index items" in first.text
    assert "Traceback" not in first.text
    assert first.process.returncode == 0
    (index,) = (cache / "deepsentinel").iterdir()
    before = index.stat()
    with Serving(catalog / "catalog.json", cache=cache) as second:
        assert matched(second.origin) == 12
    assert "index items" not in second.text
    assert index.stat().st_mtime_ns == before.st_mtime_ns
    publish([write_fake_build(tmp_path / "more", 20, side_px=16, labels=False)], catalog, workers=1)
    with Serving(catalog, cache=cache) as third:
        assert matched(third.origin) == 32
    assert [path.name for path in (cache / "deepsentinel").iterdir()] == [index.name]
    assert not list(catalog.rglob("*sqlite*"))


def run(*words: object) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "catalog.serve", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stderr


def test_what_is_no_catalog_is_said_in_a_line(tmp_path, catalog):
    for place in (tmp_path, tmp_path / "nowhere", catalog / "labelled"):
        status, text = run(place)
        assert status == 2
        assert text.startswith("error: ")
        assert str(place) in text
        assert "catalog.publish" in text
        assert text.count("\n") == 1


def test_a_damaged_geoparquet_is_said_in_a_line(catalog, tmp_path):
    index = catalog / "labelled" / "items.parquet"
    index.write_bytes(index.read_bytes()[:-400])
    status, text = run(catalog, "--port", "0", "--index", tmp_path / "index.sqlite")
    assert (status, text.count("\n")) == (2, 1)
    assert "items.parquet" in text


def test_a_port_that_is_taken_is_said_before_anything_is_built(catalog, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, text = run(catalog, "--port", taken.getsockname()[1], "--index", tmp_path / "index.sqlite")
    assert status == 2
    assert "port" in text
    assert text.count("\n") == 1
    assert not (tmp_path / "index.sqlite").exists()
