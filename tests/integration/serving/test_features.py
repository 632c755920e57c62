"""The fixed places of the API: landing page, collections, items, and that everything they link to is there."""

import numpy as np
import pystac
import pystac_client
import pytest
import requests
import xarray as xr

from catalog.corpus import Corpus

CLASSES = (
    "https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features", "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#sort", "https://api.stacspec.org/v1.0.0/item-search#fields",
    "https://api.stacspec.org/v1.0.0/item-search#query", "https://api.stacspec.org/v1.0.0-rc.2/item-search#filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-text", "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
)  # fmt: skip


def get(href: str) -> requests.Response:
    answer = requests.get(href, timeout=10)
    assert answer.status_code == 200, f"{href}: {answer.text[:200]}"
    return answer


def test_the_landing_page_states_what_the_server_conforms_to(api):
    page = get(f"{api}/api/").json()
    assert set(CLASSES) <= set(page["conformsTo"])
    assert set(page["conformsTo"]) == set(get(f"{api}/api/conformance").json()["conformsTo"])
    assert page["id"] == "deepsentinel"
    children = {link["href"] for link in page["links"] if link["rel"] == "child"}
    assert children == {f"{api}/api/collections/deepsentinel-{kind}" for kind in ("labelled", "unlabelled")}


def test_every_link_and_asset_of_the_api_is_absolute_and_there(api):
    item = get(f"{api}/api/search?limit=1&collections=deepsentinel-labelled").json()["features"][0]
    documents = [get(f"{api}/api/").json(), *get(f"{api}/api/collections").json()["collections"], item]
    for document in documents:
        hrefs = {link["href"] for link in document["links"]} | {a["href"] for a in document.get("assets", {}).values()}
        for href in hrefs:
            assert href.startswith(("http://", "https://")), href
            if href.startswith(api) and not href.endswith(".zarr"):
                assert requests.get(href, timeout=10).status_code == 200, href
            elif href.startswith(api):
                get(f"{href}/zarr.json")


def test_a_collection_is_valid_and_says_what_the_static_one_says(api):
    for one in get(f"{api}/api/collections").json()["collections"]:
        collection = pystac.Collection.from_dict(get(f"{api}/api/collections/{one['id']}").json())
        assert collection.to_dict(transform_hrefs=False)["links"] == one["links"]
        static = get(f"{api}/stac/{one['id'].removeprefix('deepsentinel-')}/collection.json").json()
        assert {k: v for k, v in one.items() if k not in ("links", "assets")} == {
            k: v for k, v in static.items() if k not in ("links", "assets")
        }
        assert set(one["assets"]) == set(static["assets"])


def test_an_item_of_the_api_is_the_static_item_with_other_links(api, items):
    for static in items[::37]:
        served = get(f"{api}/api/collections/{static['collection']}/items/{static['id']}").json()
        pystac.Item.from_dict(served)
        pystac.validation.validate_dict(served, extensions=[])
        for member in ("type", "stac_version", "id", "collection", "bbox", "geometry", "properties"):
            assert served[member] == static[member], member
        assert set(served["stac_extensions"]) == set(static["stac_extensions"])
        assert list(served["assets"]) == list(static["assets"])
        for name, asset in served["assets"].items():
            assert {k: v for k, v in asset.items() if k != "href"} == {
                k: v for k, v in static["assets"][name].items() if k != "href"
            }
        derived = [
            [link["href"] for link in item["links"] if link["rel"] == "derived_from"] for item in (served, static)
        ]
        assert derived[0] == derived[1] != []


def test_items_of_a_collection_page_to_the_end(api, items):
    href, found = f"{api}/api/collections/deepsentinel-unlabelled/items?limit=40&sortby=-eo:cloud_cover", []
    while href:
        page = get(href).json()
        found += page["features"]
        href = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    expected = {item["id"] for item in items if item["collection"] == "deepsentinel-unlabelled"}
    assert len(found) == len(expected)
    assert {item["id"] for item in found} == expected
    clouds = [item["properties"]["eo:cloud_cover"] for item in found]
    assert clouds == sorted(clouds, reverse=True)


def test_queryables_refer_to_nothing_outside_and_list_few_values_whole(api, items):
    found = get(f"{api}/api/queryables")
    assert found.headers["content-type"].startswith("application/schema+json")
    assert "$ref" not in found.text
    properties = found.json()["properties"]
    classes = {code for item in items for code in item["properties"].get("deepsentinel:corine_classes", ())}
    assert set(properties["deepsentinel:corine_classes"]["items"]["enum"]) == classes
    assert set(properties["platform"]["enum"]) == {"sentinel-2a", "sentinel-2b"}
    unlabelled = get(f"{api}/api/collections/deepsentinel-unlabelled/queryables").json()["properties"]
    assert set(properties) - set(unlabelled) >= {"deepsentinel:corine_classes", "deepsentinel:osm_classes"}


def test_the_static_catalog_is_walked_over_http(api, items):
    root = pystac.Catalog.from_file(f"{api}/stac/catalog.json")
    assert {item.id for item in root.get_items(recursive=True)} == {item["id"] for item in items}


def test_files_come_by_ranges_with_cors(api, published):
    path = next(path for path in published.glob("labelled/shards/*.zarr/s1/c/**/0") if path.is_file())
    href = f"{api}/data/{path.relative_to(published).as_posix()}"
    whole = path.read_bytes()
    headers = {"Origin": "https://elsewhere.example"}
    answer = requests.get(href, headers=headers | {"Range": "bytes=100-199"}, timeout=10)
    assert (answer.status_code, answer.content) == (206, whole[100:200])
    assert answer.headers["content-range"] == f"bytes 100-199/{len(whole)}"
    assert requests.get(href, headers={"Range": "bytes=-64"}, timeout=10).content == whole[-64:]
    assert requests.get(href, headers={"Range": f"bytes={len(whole)}-"}, timeout=10).status_code == 416
    for place in (href, f"{api}/stac/catalog.json", f"{api}/api/", f"{api}/api/search?bbox=1"):
        answer = requests.get(place, headers=headers, timeout=10)
        assert answer.headers["access-control-allow-origin"] == "*", place
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = requests.options(f"{api}/api/search", headers=headers | asked, timeout=10)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"


def test_pictures_are_served_as_pictures(api, items):
    (item,) = pystac_client.Client.open(f"{api}/api/").search(ids=[items[0]["id"]]).items()
    for name, kind in {"thumbnail": "image/webp", "overview": "image/webp"}.items():
        answer = get(item.assets[name].href)
        assert answer.headers["content-type"] == kind == item.assets[name].media_type
        assert answer.content[8:12] == b"WEBP"


@pytest.mark.parametrize("kind", ["labelled", "unlabelled"])
def test_from_a_search_to_pixels_over_http(api, published, kind):
    obstore = pytest.importorskip("obstore")
    from zarr.storage import ObjectStore

    client = pystac_client.Client.open(f"{api}/api/")
    search = client.search(
        collections=[f"deepsentinel-{kind}"], filter={"op": "<", "args": [{"property": "eo:cloud_cover"}, 20]}
    )
    corpus = Corpus.open(published / kind)
    rows = {patch_id: row for row, patch_id in enumerate(corpus.table["id"].to_pylist())}
    for item in list(search.items())[::23]:
        store = obstore.store.HTTPStore.from_url(item.assets["data"].href, client_options={"allow_http": True})
        with xr.open_zarr(ObjectStore(store, read_only=True), mask_and_scale=False) as cube:
            patch = cube.sel(patch=item.id)
            stored = corpus[rows[item.id]]
            for name in ("s2_10m", "s2_20m", "s1", "scl"):
                np.testing.assert_array_equal(patch[name], getattr(stored, name))
