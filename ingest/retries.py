"""How often and how long a provider is asked again, in one place for searches and everything else over HTTP."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib3.util.retry import Retry

TIMEOUT_S = (10.0, 60.0)  # connect, read; the server itself gives up after 30 s
ANSWER_ATTEMPTS = 5  # for answers that break off or end in a gateway's page: no retry of urllib3 sees those
_RETRIES = 8
_CONNECT_RETRIES = 3  # an address that refuses is mostly a network that is not there: say so within seconds
_RETRY_STATUS = (429, 500, 502, 503, 504)


def retries() -> "Retry":
    """What to do about a busy server: wait, honour Retry-After, and ask again with POST as well as GET."""
    from urllib3.util.retry import Retry

    return Retry(
        total=_RETRIES, connect=_CONNECT_RETRIES, backoff_factor=1, backoff_max=120, status_forcelist=_RETRY_STATUS,
        allowed_methods=None,  # by default POST is never retried
        respect_retry_after_header=True,
    )  # fmt: skip


def session() -> Any:
    """A requests session with these retries, for addresses that are no searches."""
    import requests
    from requests.adapters import HTTPAdapter

    made = requests.Session()
    for scheme in ("http://", "https://"):
        made.mount(scheme, HTTPAdapter(max_retries=retries()))
    return made
