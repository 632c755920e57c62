"""The Microsoft Planetary Computer: Sentinel-1 RTC and Sentinel-2 L2A as COGs behind short-lived tokens."""

import os
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from catalog.bands import S1, S2
from ingest.errors import SourceError
from ingest.sources.profile import SCL, Source

STAC_URL = "https://planetarycomputer.microsoft.com/api/stac/v1"
STAC_URL_VARIABLE = "DEEPSENTINEL_STAC_URL"  # another server of the same API, such as the sandbox
_MIN_TOKEN_LIFE_S = 300  # a read may last minutes; tokens live 45
_SIGNING = threading.Lock()  # many threads that sign at once shall ask for one token, and the SDK has no lock


def planetary_computer() -> Source:
    """The profile. `DEEPSENTINEL_STAC_URL` and the SDK's `PC_SDK_SAS_URL` lead it to another server of the same API."""
    return Source(
        name="planetary-computer",
        stac_href=os.environ.get(STAC_URL_VARIABLE, STAC_URL),
        s2_collection="sentinel-2-l2a",
        s1_collection="sentinel-1-rtc",
        assets={band.name: band.name for band in S2} | {SCL: SCL} | {band.name: band.name.lower() for band in S1},
        cite_href=STAC_URL,
        sign=sign,
        forget_token=forget_token,
    )


def sign(href: str) -> str:
    """Add a token with at least five minutes to live to an href, whatever token it carried before.

    Raises:
        SourceError: the token service does not answer.
    """
    import planetary_computer
    import requests

    bare = href.split("?", 1)[0]  # the SDK would leave an expired token as it is
    try:
        with _SIGNING:
            _drop_tokens(bare, lambda token: bool(token.ttl() < _MIN_TOKEN_LIFE_S))
            signed: str = planetary_computer.sign_url(bare)
    except requests.RequestException as error:
        host = urlsplit(bare).hostname
        raise SourceError(
            f"no token for {host}: the token service failed ({type(error).__name__}); try again"
        ) from error
    return signed


def forget_token(href: str) -> None:
    """Drop the cached token that an href was signed with; a newer one, which another thread fetched, stays."""
    bare, _, query = href.partition("?")
    with _SIGNING:
        _drop_tokens(bare, lambda token: bool(token.token == query))


def _drop_tokens(bare: str, unwanted: Callable[[Any], bool]) -> None:
    """Drop the cached tokens of an href's container that are unwanted."""
    from planetary_computer.sas import TOKEN_CACHE

    parts = urlsplit(bare)
    account = (parts.hostname or "").split(".", 1)[0]
    container = parts.path.lstrip("/").split("/", 1)[0]
    for url, token in list(TOKEN_CACHE.items()):
        if url.endswith(f"/{account}/{container}") and unwanted(token):
            TOKEN_CACHE.pop(url, None)
