"""Troubles of the real provider, injected by count: the n-th request of a kind fails, whoever sends it.

Each field copies something users have reported of the Planetary Computer. Zero or empty means never; 1 means always.
"""

from dataclasses import dataclass, fields
from fnmatch import fnmatchcase

from catalog.errors import DeepSentinelError


@dataclass(frozen=True, slots=True)
class Faults:
    """Which requests fail, and how; `every=3` means the third, sixth, ninth request of that kind."""

    search_429_every: int = 0
    """Answer a search with 429 Too Many Requests and Retry-After: 1."""
    search_504_every: int = 0
    """Answer a search with 504 and the text of a timeout."""
    search_cut_every: int = 0
    """Break off a search answer in the middle of its body."""
    short_page_every: int = 0
    """Return half a page and a next link to the rest: a short page need not be the last."""
    drop_next_links: bool = False
    """Leave out rel=next (January 2026: clients silently returned a part)."""
    token_429_every: int = 0
    """Answer a token request with 429 and the text of the rate limit."""
    token_reads: int = 0
    """Let each token expire after so many blob requests."""
    tokens_expire_at: int = 0
    """Refuse, from this blob request on, every token that was used before it."""
    missing_blobs: tuple[str, ...] = ()
    """Shell patterns of blob paths `<account>/<container>/<path>` that items list but that answer 404 BlobNotFound."""
    blob_503_every: int = 0
    """Answer a blob request with 503 ServerBusy: egress over the account limit."""
    blob_xml_every: int = 0
    """Answer a blob request with status 200 and an XML error for a body."""
    blob_cut_every: int = 0
    """Break off a blob's bytes halfway through those promised."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and value < 0:
                raise DeepSentinelError(f"{field.name} is {value}; give 0 for never or a count of requests")

    def hides(self, blob: str) -> bool:
        """Whether a blob path is one of the missing."""
        return any(fnmatchcase(blob, pattern) for pattern in self.missing_blobs)


def due(every: int, count: int) -> bool:
    """Whether the count-th request, from 1, is one of every n-th."""
    return every > 0 and count % every == 0
