"""The whole origin as one ASGI application.

`/api` the search API · `/stac` the static catalog · `/data` pixels · `/previews` pictures · `/browser` STAC Browser.
"""

from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import RedirectResponse

from catalog.serving import browser as browser_files
from catalog.serving.api import PREFIX, add_api
from catalog.serving.backend import Backend
from catalog.serving.files import file_routes
from catalog.serving.guards import BodyLimit, add_error_handlers
from catalog.serving.published import Published


def create_app(published: Published, backend: Backend, *, browser: Path | None = None) -> FastAPI:
    """The application that serves a published folder.

    Args:
        backend: answers the searches.
        browser: folder of a built STAC Browser, if there is one.
    """
    description = str(published.root.get("description", published.title))
    app = FastAPI(
        title=published.title,
        description=description,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=f"{PREFIX}/docs",
        redoc_url=None,
        lifespan=backend.lifespan,
    )
    add_api(app, backend, title=published.title, description=description)
    add_error_handlers(app)  # after the API, which brings some of its own
    app.router.routes.extend(file_routes(published.folder))
    if browser is not None:
        app.router.routes.extend(browser_files.browser_routes(browser))
    start = f"{PREFIX}/" if browser is None else f"{browser_files.PREFIX}/"
    app.add_route("/", lambda _: RedirectResponse(start), include_in_schema=False)
    app.add_middleware(BodyLimit)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD", "OPTIONS", "POST"],
        allow_headers=["*"],
        expose_headers=["Accept-Ranges", "Content-Length", "Content-Range", "ETag"],
    )
    return app
