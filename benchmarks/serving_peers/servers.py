"""The servers, each as a context that gives its address, and what starting took, while it runs."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.postgres import stac_fastapi_pgstac, temporary_postgres, wait_for
from catalog.errors import DeepSentinelError

_FIND_EXTENSIONS = (
    "import glob, sysconfig; print(*glob.glob(sysconfig.get_path('purelib') + "
    "'/duckdb_extension_*/extensions/*/*.duckdb_extension'), sep='\\n')"
)
_PLATFORM = "linux_amd64"  # as DuckDB names it in the paths of extensions


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    api: str
    load_s: float
    """From the published folder to the first answer."""


@contextlib.contextmanager
def rustac(catalog: Path, python: Path) -> Iterator[Running]:
    """`rustac serve` over the geoparquet itself, through DuckDB."""
    started = time.perf_counter()
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        _lay_out_extensions(Path(home), python)
        index = catalog / "labelled" / "items.parquet"
        command = [python.with_name("rustac"), "serve", "--addr", f"127.0.0.1:{port}", index]
        process = subprocess.Popen(command, env={**os.environ, "HOME": home}, stdout=subprocess.DEVNULL)
        try:
            wait_for(port, process, "rustac serve")
            yield Running(f"http://127.0.0.1:{port}", time.perf_counter() - started)
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def own_pgstac(catalog: Path, python: Path) -> Iterator[Running]:
    """`catalog.serve --backend pgstac` on a database of its own."""
    started = time.perf_counter()
    with temporary_postgres() as database:
        options = ["--backend", "pgstac", "--database", database]
        with served(catalog, *options) as (api, _):
            yield Running(api, time.perf_counter() - started)


@contextlib.contextmanager
def pgstac(catalog: Path, python: Path) -> Iterator[Running]:
    """stac-fastapi-pgstac, on a database that this project has loaded."""
    from catalog.serving.pgstac_load import load
    from catalog.serving.published import Published

    started, port = time.perf_counter(), free_port()
    with temporary_postgres() as database:
        load(Published.open(catalog), database)
        with stac_fastapi_pgstac(database, port, str(python)) as api:
            yield Running(api, time.perf_counter() - started)


SERVERS: Mapping[str, Callable[[Path, Path], contextlib.AbstractContextManager[Running]]] = {
    "serve --backend pgstac": own_pgstac,
    "stac-fastapi-pgstac": pgstac,
    "rustac serve": rustac,
}


@contextlib.contextmanager
def served(catalog: Path, *options: str) -> Iterator[tuple[str, int]]:
    """The API of `catalog.serve` in a process of its own, and that process."""
    command = [sys.executable, "-m", "catalog.serve", str(catalog), "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})
    assert process.stderr is not None
    try:
        found = next(filter(None, (re.search(r"http://[^/]+", line) for line in process.stderr)), None)
        if found is None:
            raise DeepSentinelError(f"{' '.join(command)} ended with status {process.wait()} before it served")
        yield f"{found.group()}/api", process.pid
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port that nothing listens on; another program may take it before the caller does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _lay_out_extensions(home: Path, python: Path) -> None:
    """Put DuckDB's extensions where it looks for them, so that it fetches none."""
    listed = subprocess.run([python, "-c", _FIND_EXTENSIONS], check=True, capture_output=True, text=True).stdout
    for path in map(Path, listed.split()):
        folder = home / ".duckdb" / "extensions" / path.parent.name / _PLATFORM
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
