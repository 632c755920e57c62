"""A PostgreSQL server with PostGIS of one's own, for a test or a benchmark.

    with temporary_postgres() as database:              # postgresql://...
        load(Published.open(catalog), database)         # catalog.serving.pgstac_load: schema, items, queryables

Debian's programs (`tools/debian_packages` installs them) run in a temporary folder on a Unix socket, as the user
postgres where root starts them: PostgreSQL refuses to run as root. stac-fastapi-pgstac, as it comes, serves
such a database too:

    stac_fastapi_pgstac(database, port)                 # in an environment that has it and uvicorn
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from catalog.errors import DeepSentinelError

PORT = 5432  # names the socket; no network is listened on
_WAIT_S = 30
# Nothing here outlives the folder, so nothing waits for the disk.
_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=256MB", "jit=off")


class PostgresMissingError(DeepSentinelError):
    """PostgreSQL or PostGIS is not installed."""


def programs() -> Path:
    """Folder of the newest PostgreSQL's programs that has PostGIS.

    Raises:
        PostgresMissingError: there is none.
    """
    cure = "tools/debian_packages installs both"
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise PostgresMissingError(f"needs PostgreSQL, and there is no /usr/lib/postgresql/*/bin/initdb; {cure}")
    with_postgis = [
        path.parent
        for path in found
        if Path(f"/usr/share/postgresql/{path.parts[-3]}/extension/postgis.control").is_file()
    ]
    if not with_postgis:
        raise PostgresMissingError(f"needs PostGIS beside {found[-1].parent}; {cure}")
    return with_postgis[-1]


@contextlib.contextmanager
def temporary_postgres() -> Iterator[str]:
    """Run a server until the block ends; gives the URL of an empty database, all of it in a temporary folder.

    Raises:
        PostgresMissingError: PostgreSQL or PostGIS is not installed.
    """
    binaries = programs()
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        data, log = Path(folder, "data"), Path(folder, "log")
        _run([binaries / "initdb", "--pgdata", data, "--username", "postgres", "--auth", "trust", "--no-sync"])
        places = ("listen_addresses=''", f"unix_socket_directories={folder}")
        options = " ".join([f"-p {PORT}", *(f"-c {one}" for one in (*_SETTINGS, *places))])
        control = [binaries / "pg_ctl", "--pgdata", data, "--wait", "--silent"]
        _run([*control, "--log", log, "--options", options, "start"])
        try:
            yield f"postgresql://postgres@/postgres?host={folder}&port={PORT}"
        finally:
            _run([*control, "--mode", "immediate", "stop"])


@contextlib.contextmanager
def stac_fastapi_pgstac(database: str, port: int, python: str = sys.executable) -> Iterator[str]:
    """Serve a database of `temporary_postgres` with stac-fastapi-pgstac as it comes; gives the API's address.

    Args:
        database: with a folder of its socket in `host`; stac-fastapi-pgstac takes it from PGHOST.
        python: of an environment with stac-fastapi-pgstac and uvicorn.
    """
    place = {name: values[0] for name, values in parse_qs(urlsplit(database).query).items()}
    environment = {
        **os.environ,
        "PGUSER": "postgres", "PGPASSWORD": "none", "PGHOST": place["host"].replace("/", "%2F"),
        "PGPORT": place["port"], "PGDATABASE": "postgres", "ENABLE_RESPONSE_MODELS": "false",
    }  # fmt: skip
    app = ["--factory", "stac_fastapi.pgstac.app:create_app"]
    command = [python, "-m", "uvicorn", *app, "--port", str(port), "--log-level", "error"]
    process = subprocess.Popen(command, env=environment)
    try:
        wait_for(port, process, "stac-fastapi-pgstac")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes], name: str) -> None:
    """Wait until a server on this machine answers.

    Raises:
        DeepSentinelError: it has ended, or answers nothing in half a minute.
    """
    import requests

    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{port}/", timeout=_WAIT_S)
            return
        time.sleep(0.1)
    raise DeepSentinelError(f"{name} answers nothing on port {port} after {_WAIT_S} s; its output says why")


def _run(command: Sequence[object]) -> None:
    words = [str(word) for word in command]
    user = "postgres" if os.geteuid() == 0 else None
    done = subprocess.run(
        words, user=user, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise DeepSentinelError(f"{re.sub(r' .*', '', words[0])} ended with status {done.returncode}: {done.stderr}")
