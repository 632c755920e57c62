"""Shared access signatures: what the token endpoint hands out and what blob storage accepts.

A token has the form of Azure's, reads one container, and is signed with a secret of the running sandbox, so that a
forged, borrowed or expired one is refused for the right reason.
"""

import base64
import datetime as dt
import hashlib
import hmac
import itertools
import secrets
import uuid
from typing import Literal
from urllib.parse import parse_qs, urlencode

TTL_S = 2700.0  # anonymous tokens of the Planetary Computer live 45 minutes
_BACKDATED = dt.timedelta(hours=24)  # and start a day ago (PlanetaryComputer issue 463)
_VERSION = "2021-06-08"

Verdict = Literal["valid", "missing", "forged", "expired"]


class TokenOffice:
    """Issues and judges tokens of one sandbox; safe to share between threads."""

    def __init__(self, ttl_s: float = TTL_S) -> None:
        self._ttl = dt.timedelta(seconds=ttl_s)
        self._secret = secrets.token_bytes(32)
        self._serial = itertools.count(1)

    def issue(self, account: str, container: str) -> dict[str, str]:
        """The JSON of the token endpoint: `msft:expiry` and `token`, a query string."""
        now = dt.datetime.now(dt.UTC)
        start, expiry = _stamp(now - _BACKDATED), _stamp(now + self._ttl)
        serial = str(uuid.UUID(int=next(self._serial)))
        fields = {"st": start, "se": expiry, "sp": "rl", "sv": _VERSION, "sr": "c", "skoid": serial}
        fields["sig"] = self._sign(account, container, start, expiry, serial)
        return {"msft:expiry": expiry, "token": urlencode(fields)}

    def judge(self, query: str, account: str, container: str) -> Verdict:
        """Whether the query string of a blob request grants reading this container now."""
        fields = {name: values[0] for name, values in parse_qs(query).items()}
        if "sig" not in fields:
            return "missing"
        start, expiry, serial = (fields.get(name, "") for name in ("st", "se", "skoid"))
        if not hmac.compare_digest(fields["sig"], self._sign(account, container, start, expiry, serial)):
            return "forged"
        return "valid" if _stamp(dt.datetime.now(dt.UTC)) < expiry else "expired"

    def _sign(self, account: str, container: str, *fields: str) -> str:
        text = "\n".join((*fields, f"/blob/{account}/{container}"))
        return base64.b64encode(hmac.digest(self._secret, text.encode(), hashlib.sha256)).decode()


def serial_of(query: str) -> str:
    """The serial number of the token in a query string, empty without one."""
    return parse_qs(query).get("skoid", [""])[0]


def _stamp(time: dt.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
