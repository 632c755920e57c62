"""What no request gets past: bodies that are too large or too deep, and errors without a clear answer."""

import logging
import re
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from stac_fastapi.types.errors import NotFoundError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catalog.errors import DeepSentinelError

MAX_BODY_BYTES = 1 << 20  # a polygon of 5,000 corners is 0.2 MB
MAX_DEPTH = 64  # brackets inside brackets; the deepest GeoJSON geometry needs 6, people's filters a dozen

_log = logging.getLogger(__name__)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(rb"[\[\]{}]")


class RequestError(DeepSentinelError):
    """A request that cannot be answered as it stands."""


class BodyLimit:
    """ASGI middleware that refuses bodies that are large, deep or no JSON object, before anything parses them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body first, then pass it on whole."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            size = f"the body is over the limit of {MAX_BODY_BYTES:,} bytes; simplify its geometry or send fewer ids"
            await _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, size)(scope, receive, send)
        elif why := _fault(body, Headers(scope=scope).get("content-type", "")):
            await _refusal(HTTPStatus.BAD_REQUEST, why)(scope, receive, send)
        else:
            await self.app(scope, _replay(body, receive), send)


def _fault(body: bytes, content_type: str) -> str | None:
    """What is wrong with a body, or None."""
    # stac-pydantic 3.7 fails with an AttributeError on anything but an object
    if "json" not in content_type.lower() or not body.lstrip().startswith(b"{"):
        return "the body is no JSON object; send one, with Content-Type: application/json"
    if (deep := depth(body)) > MAX_DEPTH:
        return f"the body nests {deep} brackets deep (limit {MAX_DEPTH}); flatten its filter"
    return None


def depth(text: bytes) -> int:
    """How deep brackets of a JSON text nest; strings do not count."""
    level = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", text)):
        level += 1 if bracket in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error with `code` and `description`, as the STAC API asks; no traceback leaves the server."""

    def refused(_: Request, error: Exception) -> JSONResponse:
        return _refusal(HTTPStatus.BAD_REQUEST, str(error))

    def missing(_: Request, error: Exception) -> JSONResponse:
        return _refusal(HTTPStatus.NOT_FOUND, str(error))

    def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _refusal(HTTPStatus.BAD_REQUEST, _described(error))

    def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return _refusal(HTTPStatus(error.status_code), str(error.detail))

    def failed(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed on this request; its log says why")

    app.add_exception_handler(RequestError, refused)
    app.add_exception_handler(NotFoundError, missing)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, failed)


def _refusal(status: HTTPStatus, description: str) -> JSONResponse:
    return JSONResponse({"code": status.phrase.replace(" ", ""), "description": description}, status)


def _described(error: RequestValidationError) -> str:
    """The first few faults, each with where it is; never the body, which may be large."""
    faults = [f"{'.'.join(map(str, fault['loc'][:6]))}: {fault['msg']}" for fault in error.errors()[:3]]
    return "; ".join(faults)


async def _read(receive: Receive) -> bytes | None:
    """The body, or None where it is over the limit."""
    parts, size = [], 0
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
