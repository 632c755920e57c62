"""Images that lie behind a network: opened with a fresh token, kept open, and opened anew when something fails.

What fails is told apart by asking the address once directly, because GDAL shows the same text for a missing file,
an error page and a broken image. What may pass is waited for; what will not is refused for a reason.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import rasterio
import requests
from rasterio.errors import RasterioError
from rasterio.windows import Window

from ingest.errors import ReadError, Refused
from ingest.meter import HEADER_BYTES, Meter, block_bytes, blocks_under
from ingest.ratelimit import RateLimit
from ingest.redaction import redact
from ingest.sources.profile import Source

_log = logging.getLogger(__name__)

MISSING_IMAGE = "missing_image"
DAMAGED_IMAGE = "damaged_image"

GDAL_OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no listing of the folder beside the file
    "GDAL_INGESTED_BYTES_AT_OPEN": HEADER_BYTES,
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    # CPL_VSIL_CURL_USE_HEAD stays YES: without HEAD, GDAL asks for the whole file and hangs up after its size.
    "GDAL_HTTP_MAX_RETRY": 2,  # of single requests; longer troubles are waited for below
    "GDAL_HTTP_RETRY_DELAY": 0.25,
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_CONNECTTIMEOUT": 20,
}
# GDAL remembers by address what a server answered, errors and cut bodies too; a handle opened so does not.
_FORGETFUL = {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/"}
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_DAMAGED_AFTER = 8  # failures of an image that can be fetched: fewer might be cut bodies, even if every third is cut
_DAMAGED_AGAIN_AFTER = 3  # of one that was found damaged before
_CUT_WAIT_S = 0.1  # a cut body is over at once
_RENEWALS = 1  # of a token that was refused, for each read
_PROBE_TIMEOUT_S = 30
_OPEN_REQUESTS = 2  # size and header
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF 6.0 and BigTIFF, either byte order

Trouble = Literal["expired", "gone", "damaged", "busy"]
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Access:
    """How images are reached: signed by their source, with patience, and not too fast."""

    source: Source
    patience_s: float = 120.0
    """How long to wait, in all, for one image of a provider that is busy or away."""
    limit: RateLimit | None = None
    meter: Meter = field(default_factory=Meter)
    """Of headers and compressed blocks, each once while its image stays open."""


@contextlib.contextmanager
def gdal_settings(**more: Any) -> Iterator[None]:
    """GDAL as remote COGs want it, in this thread; open and read images only inside."""
    with rasterio.Env(**GDAL_OPTIONS, **more):
        yield


class Image:
    """One image, opened when first needed and kept open; safe to share between threads, which then take turns."""

    def __init__(self, what: str, href: str, access: Access) -> None:
        """Name an image; nothing is opened yet.

        Args:
            what: for messages, such as "B02 of S2A_MSIL2A...".
            href: unsigned.
        """
        self._what = f"{what} ({href})"
        self._href = href
        self._access = access
        self._lock = threading.Lock()
        self._dataset: Any = None
        self._signed = href
        self._gone: Refused | None = None
        self._blocks: set[tuple[int, int]] = set()
        self._damaged_after = _DAMAGED_AFTER if href.startswith("http") else 1

    @property
    def gone(self) -> bool:
        """Whether the image was found to be no more."""
        return self._gone is not None

    def use(self, work: Callable[[Any], _Found]) -> _Found:
        """What `work` makes of the open dataset; tried again, with a fresh handle and token, when GDAL fails.

        Raises:
            Refused: the image is gone or damaged; trying again does not help.
            ReadError: the image cannot be had now.
        """
        with self._lock:
            if self._gone is not None:
                raise self._gone
            return self._use(work)

    def count(self, dataset: Any, window: Window) -> None:
        """Add the blocks under a window that was read to the meter."""
        new = set(blocks_under(dataset, window)) - self._blocks
        self._blocks |= new
        self._access.meter.add(sum(block_bytes(dataset, block) for block in new))

    def close(self) -> None:
        """Close the dataset; a later `use` opens it again."""
        if self._dataset is not None:
            self._dataset.close()
            self._dataset = None

    def _use(self, work: Callable[[Any], _Found]) -> _Found:
        waited_s, renewals, damaged, wait_s = 0.0, 0, 0, _FIRST_WAIT_S
        more: dict[str, str] = {}
        while True:
            try:
                with gdal_settings(**more):
                    return self._attempt(work)
            except RasterioError as error:
                trouble = self._diagnose(error)
            more = _FORGETFUL
            if trouble == "gone":
                self._gone = Refused(
                    MISSING_IMAGE, f"{self._what} is gone, and nothing else is known to hold its pixels"
                )
                raise self._gone
            if trouble == "expired" and renewals < _RENEWALS:
                renewals += 1
            elif trouble == "damaged":
                damaged += 1
                if damaged >= self._damaged_after:
                    self._damaged_after = min(self._damaged_after, _DAMAGED_AGAIN_AFTER)
                    raise Refused(DAMAGED_IMAGE, f"{self._what} can be fetched but not decoded")
                time.sleep(_CUT_WAIT_S)
            elif trouble == "expired" or waited_s >= self._access.patience_s:
                raise self._unreachable(trouble, waited_s)
            else:
                self._back_off(wait_s)
                waited_s, wait_s, damaged = waited_s + wait_s, min(2 * wait_s, _LONGEST_WAIT_S), 0

    def _attempt(self, work: Callable[[Any], _Found]) -> _Found:
        if self._dataset is None:
            self._signed = self._access.source.sign(self._href)
            self._take_turn(_OPEN_REQUESTS)
            self._dataset = rasterio.open(self._signed)
            self._blocks.clear()
            self._access.meter.add(HEADER_BYTES)
        self._take_turn(1)
        return work(self._dataset)

    def _diagnose(self, error: Exception) -> Trouble:
        """Close what failed and ask its address what is wrong."""
        _log.info("%s failed: %s", self._what, redact(f"{error} {error.__cause__ or ''}"))
        self.close()
        trouble = diagnose(self._signed)
        if trouble == "expired":
            self._access.source.forget_token(self._signed)
        return trouble

    def _unreachable(self, trouble: Trouble, waited_s: float) -> ReadError:
        why = "a fresh token was refused" if trouble == "expired" else "its server is busy or away"
        return ReadError(
            f"{self._what} cannot be had now: {why} (waited {waited_s:.0f} s); "
            "run the same command again later, or wait longer with --patience-s"
        )

    def _take_turn(self, requests_wanted: int) -> None:
        if self._access.limit is not None:
            self._access.limit.wait(_host(self._href), requests_wanted)

    def _back_off(self, wait_s: float) -> None:
        if self._access.limit is not None:
            self._access.limit.pause(_host(self._href), wait_s)
        time.sleep(wait_s)


def diagnose(signed: str) -> Trouble:
    """What is wrong with an image that GDAL could not read, from its first bytes.

    "damaged" means that it could be fetched just now: then either the image is broken or its bytes were cut on the way.
    """
    if not signed.startswith("http"):
        return "damaged" if Path(signed).exists() else "gone"
    proxy = os.environ.get("GDAL_HTTP_PROXY")
    try:
        reply = requests.get(
            signed,
            headers={"Range": "bytes=0-15"},
            timeout=_PROBE_TIMEOUT_S,
            proxies={"http": proxy} if proxy else None,
        )
    except requests.RequestException:
        return "busy"
    if reply.status_code in (401, 403):
        return "expired"
    if reply.status_code in (404, 410):
        return "gone"
    return "damaged" if reply.status_code in (200, 206) and reply.content.startswith(_TIFF_STARTS) else "busy"


def _host(href: str) -> str:
    return urlsplit(href).hostname or ""
