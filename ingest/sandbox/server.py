"""A loopback server that stands in for the Planetary Computer: STAC API, tokens and blob storage on one port.

It is an HTTP server for the first two and an HTTP proxy for the third, because the real SDK signs only hosts
under blob.core.windows.net: GDAL is told to send those requests here. Anything else asked of the proxy is refused,
so a program under the sandbox cannot reach the internet over http by accident.
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qsl, urlsplit

from catalog.errors import DeepSentinelError
from ingest.sandbox import stac_api
from ingest.sandbox.blobs import HOST, BlobStore
from ingest.sandbox.faults import Faults, due
from ingest.sandbox.landing import collections
from ingest.sandbox.replies import FileReply, Reply
from ingest.sandbox.tally import Counts, Tally
from ingest.sandbox.tokens import TTL_S, TokenOffice
from ingest.sandbox.transport import LoopbackServer

log = logging.getLogger(__name__)

TOKEN_PATH = "/api/sas/v1/token"


class Sandbox:
    """A running copy of the provider over an archive; use it in a `with` statement."""

    def __init__(
        self,
        archive: Path,
        *,
        faults: Faults = Faults(),  # noqa: B008 - frozen
        token_ttl_s: float = TTL_S,
        latency_s: float = 0.0,
        port: int = 0,
    ) -> None:
        """Say what to serve; nothing runs yet.

        Args:
            archive: a folder with items/ and blobs/.
            faults: what goes wrong, and how often.
            token_ttl_s: life of a token.
            latency_s: wait before every answer.
            port: of 127.0.0.1; 0 for a free one.
        """
        self._archive = archive
        self._faults = faults
        self._latency_s = latency_s
        self._port = port
        self._tally = Tally()
        self._office = TokenOffice(token_ttl_s)
        self._blobs = BlobStore(archive, self._office, self._tally, faults)
        self._server: LoopbackServer | None = None

    def __enter__(self) -> "Sandbox":
        self._server = LoopbackServer(self._port, self.answer, lambda sent: self._tally.add("blob bytes", sent))
        try:
            self._api = stac_api.StacApi(self._archive, self.url)
        except BaseException:
            self._server.server_close()
            raise
        self._server.start()
        log.info("sandbox of %s at %s", self._archive, self.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def url(self) -> str:
        """Root of the server, such as "http://127.0.0.1:41234"."""
        if self._server is None:
            raise DeepSentinelError("the sandbox is not running; use it in a with statement")
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def stac_url(self) -> str:
        """Address of the STAC API."""
        return self.url + stac_api.PATH

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables that send the SDK, GDAL and this project's ingest here.

        `http_proxy` does for other clients what GDAL_HTTP_PROXY does for GDAL; https is left alone.
        """
        direct = "127.0.0.1,localhost"
        return {
            "DEEPSENTINEL_STAC_URL": self.stac_url,
            "PC_SDK_SAS_URL": self.url + TOKEN_PATH,
            "GDAL_HTTP_PROXY": self.url,
            "http_proxy": self.url,
            "NO_PROXY": direct,
            "no_proxy": direct,
        }

    @property
    def counters(self) -> Counts:
        """What was asked so far."""
        return self._tally.snapshot()

    @contextlib.contextmanager
    def applied(self) -> Iterator["Sandbox"]:
        """Set `environ` in this process and empty the SDK's caches; undo both at the end.

        GDAL is also told not to look for files beside the one it opens: rasterio holds Python's lock while it does,
        and this server, a thread of the same process, could never answer.
        """
        changes = self.environ | {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        _forget_sdk_state()
        try:
            yield self
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            _forget_sdk_state()

    def answer(self, method: str, target: str, byte_range: str | None, body: bytes) -> Reply | FileReply:
        """Answer one request; `target` is a path, or a full URL when asked as a proxy."""
        time.sleep(self._latency_s)
        url = urlsplit(target)
        if (url.hostname or "").endswith(HOST):
            return self._blobs.get(target, byte_range)
        if url.netloc and f"http://{url.netloc}" != self.url:
            return Reply(502, f"the sandbox is offline and does not know {url.netloc}".encode(), "text/plain")
        parameters = dict(parse_qsl(url.query))
        if url.path.startswith(TOKEN_PATH + "/"):
            return self._token([part for part in url.path.removeprefix(TOKEN_PATH).split("/") if part])
        path = url.path.removeprefix(stac_api.PATH).strip("/")
        if not url.path.startswith(stac_api.PATH):
            return Reply(404, f"nothing at {url.path}; the API is at {stac_api.PATH}".encode(), "text/plain")
        if path == "search":
            return self._search(method, parameters, body)
        return self._api.get(path, parameters)

    def _search(self, method: str, parameters: dict[str, str], body: bytes) -> Reply:
        count = self._tally.add("search")
        faults = self._faults
        if due(faults.search_429_every, count):
            return Reply(429, b"Too Many Requests", "text/plain", {"Retry-After": "1"})
        if due(faults.search_504_every, count):
            text = b"The request exceeded the maximum allowed time, please try again."
            return Reply(504, text, "text/plain")
        page = stac_api.PageFaults(
            short=due(faults.short_page_every, count),
            no_next=faults.drop_next_links,
            cut=due(faults.search_cut_every, count),
        )
        return self._api.search(method, parameters, body, page)

    def _token(self, parts: list[str]) -> Reply:
        if due(self._faults.token_429_every, self._tally.add("token")):
            message = {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 1 seconds."}
            return Reply(429, json.dumps(message).encode(), headers={"Retry-After": "1"})
        known = collections(self.url)
        if len(parts) == 1 and parts[0] in known:
            parts = [known[parts[0]]["msft:storage_account"], known[parts[0]]["msft:container"]]
        if len(parts) != 2:
            return Reply(404, json.dumps({"detail": f"no container {'/'.join(parts)}"}).encode())
        return Reply(200, json.dumps(self._office.issue(*parts)).encode())


def _forget_sdk_state() -> None:
    import planetary_computer.sas
    import planetary_computer.settings

    planetary_computer.sas.TOKEN_CACHE.clear()
    planetary_computer.settings.Settings.get.cache_clear()
