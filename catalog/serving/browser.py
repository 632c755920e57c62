"""STAC Browser, built before, as one part of a served origin or of a published folder.

A build is the same everywhere; `config.js` beside it says which catalog it opens, relative to its own address, so that
it works behind any host name, port and prefix.
"""

import json
import os
import shutil
from pathlib import Path

from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from catalog.errors import CorpusError

PREFIX = "/browser"
CONFIG = "config.js"
_SCRIPT = Path(__file__).parent / "stac_browser" / CONFIG


def browser_routes(dist: Path, catalog: str = "../api/") -> list[BaseRoute]:
    """Routes that serve a built browser at `/browser/`.

    Args:
        dist: folder of the build, with index.html.
        catalog: address of what it opens, relative to `/browser/`.
    """

    async def config(_: object) -> Response:
        return Response(config_script(catalog), media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    return [
        Route(f"{PREFIX}/{CONFIG}", config, name="browser-config"),
        Mount(PREFIX, StaticFiles(directory=dist, html=True), name="browser"),
    ]


def config_script(catalog: str) -> str:
    """The script that tells STAC Browser what to open and how.

    Args:
        catalog: address of a catalog document or a STAC API, relative to the script.
    """
    return f"const CATALOG = {json.dumps(catalog)};\n{_SCRIPT.read_text()}"


def put_browser(dist: Path, published: Path) -> Path:
    """Copy a built browser into a published folder, for hosts that only serve files; its `browser/index.html`.

    Raises:
        CorpusError: nothing is published there.
    """
    if not (published / "catalog.json").is_file():
        raise CorpusError(f"{published} holds no catalog.json; name the folder that catalog.publish wrote")
    final = published / PREFIX.strip("/")
    aside = published / f".{final.name}.{os.getpid()}"  # publishing again removes it, should this be killed
    try:
        shutil.copytree(dist, aside)
        (aside / CONFIG).write_text(config_script("../catalog.json"))
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return final / "index.html"
