"""Hrefs on the served origin: stored with a mark where the origin goes, which each response replaces by its own."""

from posixpath import join, normpath
from typing import Any

import orjson

from catalog.collections import link
from catalog.serving.api import PREFIX
from catalog.serving.files import DATA, PREVIEWS, STATIC

MARK = "\ue000"  # of Unicode's private use area: it stands in no text
QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
_BUILT = ("self", "root", "parent", "collection", "child", "item", "items")  # relations that the API states itself
_GEOJSON = "application/geo+json"


def splice(document: bytes, origin: str) -> bytes:
    """A stored JSON document with the origin in its hrefs.

    Args:
        origin: scheme, host and port, without a slash at the end; escaped here, since a client can state any host.
    """
    return document.replace(MARK.encode(), orjson.dumps(origin)[1:-1])


def served_item(item: dict[str, Any], folder: str) -> dict[str, Any]:
    """An item as the API gives it.

    Args:
        item: hrefs relative to its collection's folder.
        folder: name of that folder.
    """
    collection = f"{MARK}{PREFIX}/collections/{item['collection']}"
    links = [
        link("self", f"{collection}/items/{item['id']}", None, _GEOJSON),
        link("parent", collection),
        link("collection", collection),
        link("root", f"{MARK}{PREFIX}/"),
        *_kept(item["links"], folder),
    ]
    assets = {name: {**asset, "href": served_href(asset["href"], folder)} for name, asset in item["assets"].items()}
    return {**item, "links": links, "assets": assets}


def served_collection(document: dict[str, Any], folder: str) -> dict[str, Any]:
    """A collection as the API gives it.

    Args:
        document: hrefs relative to its folder.
        folder: name of that folder.
    """
    own = f"{MARK}{PREFIX}/collections/{document['id']}"
    links = [
        link("self", own),
        link("parent", f"{MARK}{PREFIX}/"),
        link("root", f"{MARK}{PREFIX}/"),
        link("items", f"{own}/items", "Items", _GEOJSON),
        link(
            "http://www.opengis.net/def/rel/ogc/1.0/queryables",
            f"{own}/queryables",
            "Queryables",
            "application/schema+json",
        ),
        link("alternate", f"{MARK}{STATIC}/{folder}/collection.json", "The same collection as static files"),
        *_kept(document["links"], folder),
    ]
    assets = document.get("assets", {})
    return {
        **document,
        "links": links,
        **({"assets": {k: {**a, "href": served_href(a["href"], folder)} for k, a in assets.items()}} if assets else {}),
    }


def served_href(href: str, folder: str) -> str:
    """Where a file of a collection is served; what is absolute stays."""
    if "://" in href:
        return href
    path = normpath(join("/", folder, href))
    previews = f"/{folder}/previews/"
    if path.startswith(previews):
        return f"{MARK}{PREVIEWS}/{folder}/{path.removeprefix(previews)}"
    return f"{MARK}{DATA}{path}"


def _kept(links: list[dict[str, Any]], folder: str) -> list[dict[str, Any]]:
    return [{**one, "href": served_href(one["href"], folder)} for one in links if one["rel"] not in _BUILT]
