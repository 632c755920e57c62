"""Serve a published catalog on one origin: search API, static catalog, pixels, previews and STAC Browser.

    python -m catalog.serve CATALOG --browser

`/api` is a STAC API (core, collections, features, item search, filter, sort, fields, query), `/stac` the static
catalog, `/data` and `/previews` its files with byte ranges, `/browser` STAC Browser. The search index is built at
the first start, from the geoparquet of the collections; after the catalog was published anew, the next start adds to
it what is new.
"""

import contextlib
import importlib.util
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from catalog.errors import CorpusError
from catalog.program import main

if TYPE_CHECKING:
    from catalog.serving.backend import Backend
    from catalog.serving.published import Published

LOOPBACK = "127.0.0.1"
_NEEDED = ("cql2", "orjson", "stac_fastapi", "uvicorn")


@dataclass(frozen=True)
class Serve:
    """Serve a published catalog: search API, static catalog, pixels, previews and STAC Browser on one origin.

    For example:
        serve runs/demo/catalog --browser
        serve runs/demo/catalog --host 0.0.0.0 --port 80      # for everyone who reaches this machine
    """

    href: tyro.conf.Positional[Path]
    """The folder that catalog.publish wrote, or its catalog.json."""
    host: str = LOOPBACK
    """Address to listen on; the default is reached from this machine alone."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    index: Path | None = None
    """Where the search index is kept; by default in the user's cache, by the folder's name."""
    backend: Literal["sqlite", "pgstac"] = "sqlite"
    """What searches: an index of this server's own in one file, or pgstac in a PostgreSQL database with PostGIS."""
    database: str | None = None
    """For pgstac: postgresql://USER@HOST/NAME of a user who may create extensions. It is filled when that is due."""
    browser: bool = False
    """Show STAC Browser at /browser. Its first use builds it, with Node and npm, in a minute or two."""


def run(options: Serve) -> None:
    """Build the index if that is due, then serve until interrupted."""
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise CorpusError(f"serving needs {', '.join(missing)}; install it with pip install 'deepsentinel[serve]'")
    # stac-fastapi warns at import of names that this program states later
    logging.getLogger("stac_fastapi.types.config").setLevel(logging.ERROR)
    import uvicorn

    from catalog.serving.app import create_app
    from catalog.serving.browser_build import built_browser
    from catalog.serving.published import Published

    folder = options.href.parent if options.href.name == "catalog.json" else options.href
    published = Published.open(folder)
    browser = built_browser() if options.browser else None
    with _listen(options.host, options.port) as listener:
        make_backend = _pgstac_backend if options.backend == "pgstac" else _sqlite_backend
        app = create_app(published, make_backend(options, published), browser=browser)
        origin = f"http://{options.host}:{listener.getsockname()[1]}"
        listener.listen()  # from here on clients wait instead of being refused
        Console(stderr=True).print(f"{published.title}: {origin}/  (API {origin}/api/, Ctrl-C ends)", soft_wrap=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        with contextlib.suppress(KeyboardInterrupt):  # the way to end a server
            server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything slow, so that one that is taken is noticed at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise CorpusError(f"cannot listen on {host} port {port} ({error}); choose another --port or --host") from error
    return listener


def _sqlite_backend(options: Serve, published: "Published") -> "Backend":
    from catalog.serving.sqlite_backend import SqliteBackend, default_index, ensure_index

    index = options.index or default_index(published.folder)
    with _reporting("index items", published.count) as report:
        ensure_index(published, index, report)
    return SqliteBackend(published, index)


def _pgstac_backend(options: Serve, published: "Published") -> "Backend":
    if options.database is None:
        raise CorpusError("--backend pgstac needs the database: --database postgresql://USER@HOST/NAME")
    if importlib.util.find_spec("pypgstac") is None:
        raise CorpusError("--backend pgstac needs pypgstac; install it with pip install 'deepsentinel[pgstac]'")
    from catalog.serving.pgstac_backend import PgstacBackend
    from catalog.serving.pgstac_load import load

    with _reporting("load items", published.count) as report:
        load(published, options.database, report)
    return PgstacBackend(published, options.database)


@contextlib.contextmanager
def _reporting(what: str, count: int) -> Iterator[Callable[[int], None]]:
    """A progress bar that appears when there is something to do."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=count, visible=False)

        def report(done: int) -> None:
            progress.update(task, advance=done, visible=True)

        yield report


if __name__ == "__main__":
    main(Serve, run)
