"""Where scenes come from: one small profile a provider."""

from ingest.errors import PlanError
from ingest.sources.earth_search import EARTH_SEARCH_URL, earth_search
from ingest.sources.local import local
from ingest.sources.planetary_computer import planetary_computer
from ingest.sources.profile import Source

PLANETARY_COMPUTER = "planetary-computer"
EARTH_SEARCH = "earth-search"


def source_of(spec: str) -> Source:
    """The profile that a user names.

    Args:
        spec: "planetary-computer", "earth-search", or the address of any other STAC API (http or https) or static
            catalog (path).

    Raises:
        PlanError: neither a known provider nor an address.
    """
    if spec == PLANETARY_COMPUTER:
        return planetary_computer()
    if spec == EARTH_SEARCH or spec.rstrip("/") == EARTH_SEARCH_URL:
        return earth_search()
    if spec.startswith(("http://", "https://")) or spec.endswith(".json"):
        return local(spec)
    raise PlanError(
        f"unknown source {spec!r}: give {PLANETARY_COMPUTER}, {EARTH_SEARCH}, the http address of a STAC API, "
        "or the path of a catalog.json"
    )


__all__ = ["EARTH_SEARCH", "PLANETARY_COMPUTER", "Source", "earth_search", "local", "planetary_computer", "source_of"]
