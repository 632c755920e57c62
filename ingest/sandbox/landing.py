"""The two collections of the sandbox and its landing page, in the Planetary Computer's shape."""

from typing import Any

from ingest.sandbox.items import COG_TYPE, S1_COLLECTION, S2_COLLECTION, S2_GSD_M
from ingest.sandbox.snapshot import ASSET, snapshot_asset

# The classes that the real landing page declares.
CONFORMANCE = [
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-text",
    "https://api.stacspec.org/v1.0.0/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "https://api.stacspec.org/v1.0.0-rc.2/item-search#filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
    "https://api.stacspec.org/v1.0.0/item-search#fields",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/oas30",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2",
]
_EXTENSION = "https://stac-extensions.github.io/{}/schema.json"


def landing_page(api: str) -> dict[str, Any]:
    """The root catalog of the API at `api`, a URL without a slash at its end."""
    search = {"rel": "search", "type": "application/geo+json", "title": "STAC search", "href": f"{api}/search"}
    return {
        "type": "Catalog",
        "id": "microsoft-pc",
        "title": "DeepSentinel sandbox",
        "description": "A local copy of the Planetary Computer's STAC API over a folder of scenes.",
        "stac_version": "1.0.0",
        "conformsTo": CONFORMANCE,
        "links": [
            {"rel": "self", "type": "application/json", "href": f"{api}/"},
            {"rel": "root", "type": "application/json", "href": f"{api}/"},
            {"rel": "data", "type": "application/json", "href": f"{api}/collections"},
            {"rel": "conformance", "type": "application/json", "href": f"{api}/conformance"},
            search | {"method": "GET"},
            search | {"method": "POST"},
            *(
                {"rel": "child", "type": "application/json", "href": f"{api}/collections/{name}"}
                for name in (S1_COLLECTION, S2_COLLECTION)
            ),
        ],
        "stac_extensions": [],
    }


def collections(api: str) -> dict[str, dict[str, Any]]:
    """Both collections by id, with links into the API at `api`."""
    return {S1_COLLECTION: _sentinel_1(api), S2_COLLECTION: _sentinel_2(api)}


def _sentinel_1(api: str) -> dict[str, Any]:
    assets = {name: {"type": COG_TYPE, "roles": ["data"], "title": name.upper()} for name in ("vh", "vv")}
    return _collection(api, S1_COLLECTION, "2014-10-10T00:28:21Z", assets) | {
        "title": "Sentinel 1 Radiometrically Terrain Corrected (RTC)",
        "description": "Gamma nought, linear power, 10 m: the scenes of this sandbox.",
        "license": "CC-BY-4.0",
        "keywords": ["Sentinel", "Copernicus", "C-Band", "SAR", "RTC"],
        "msft:container": "sentinel1-grd-rtc",
        "msft:storage_account": "sentinel1euwestrtc",
        "msft:requires_account": True,
    }


def _sentinel_2(api: str) -> dict[str, Any]:
    assets = {name: {"type": COG_TYPE, "roles": ["data"], "gsd": float(gsd)} for name, gsd in S2_GSD_M.items()}
    return _collection(api, S2_COLLECTION, "2015-06-27T10:25:31Z", dict(sorted(assets.items()))) | {
        "title": "Sentinel-2 Level-2A",
        "description": "Surface reflectance of 12 bands and the scene classification: the scenes of this sandbox.",
        "license": "proprietary",
        "keywords": ["Sentinel", "Copernicus", "ESA", "Reflectance"],
        "msft:container": "sentinel2-l2",
        "msft:storage_account": "sentinel2l2a01",
    }


def _collection(api: str, name: str, start: str, assets: dict[str, Any]) -> dict[str, Any]:
    home = f"{api}/collections/{name}"
    return {
        "id": name,
        "type": "Collection",
        "links": [
            {"rel": "items", "type": "application/geo+json", "href": f"{home}/items"},
            {"rel": "parent", "type": "application/json", "href": f"{api}/"},
            {"rel": "root", "type": "application/json", "href": f"{api}/"},
            {"rel": "self", "type": "application/json", "href": home},
        ],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[start, None]]}},
        "assets": {ASSET: snapshot_asset(name)},
        "item_assets": assets,
        "stac_version": "1.0.0",
        "stac_extensions": [_EXTENSION.format("item-assets/v1.0.0")],
        "msft:region": "westeurope",
    }
