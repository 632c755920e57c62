"""A published folder as files over HTTP: whole or by byte ranges, never outside the folder, nothing half-written."""

from http import HTTPStatus
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC, DATA, PREVIEWS = "/stac", "/data", "/previews"
_TYPES = {".json": "application/json", ".parquet": "application/vnd.apache.parquet", ".webp": "image/webp"}


class PublishedFiles(StaticFiles):
    """The files of a folder; names with a leading dot are what publishing writes aside, and stay hidden."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with a file, or raise the HTTP error that says why not."""
        if any(part.startswith(".") for part in Path(path).parts) or "\0" in path:
            raise HTTPException(HTTPStatus.NOT_FOUND, "there is no such file")
        response = await super().get_response(path, scope)
        if known := _TYPES.get(Path(path).suffix):
            response.headers["content-type"] = known
        return response


class PreviewFiles(PublishedFiles):
    """Pictures of all collections: `COLLECTION/SHARD/NAME` stands for `COLLECTION/previews/SHARD/NAME`."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with a picture."""
        collection, _, rest = Path(path).as_posix().partition("/")
        return await super().get_response(f"{collection}/previews/{rest}", scope)


def file_routes(folder: Path) -> list[BaseRoute]:
    """Routes of the static catalog, the pixels and the previews."""
    files = PublishedFiles(directory=folder)
    return [
        Mount(STATIC, files, name="stac"),
        Mount(DATA, files, name="data"),
        Mount(PREVIEWS, PreviewFiles(directory=folder), name="previews"),
    ]
