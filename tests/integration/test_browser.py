"""STAC Browser in a real browser, over the served API and over plain files, on a corpus of the simulated Earth."""

import collections
import contextlib
import functools
import http.server
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from catalog.publish import publish
from catalog.serving.browser import put_browser
from catalog.serving.browser_build import BrowserBuildError, built_browser, require_node
from ingest.build import Build
from ingest.build import run as build
from ingest.fill import Limits
from ingest.sandbox.server import Sandbox

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
BASEMAP = "https://tile.openstreetmap.org/"
SIZE = {"width": 1280, "height": 900}
WAIT_MS = 30_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist() -> Path:
    """A built STAC Browser; skips where it can be neither found nor built."""
    try:
        require_node()
    except BrowserBuildError as error:
        pytest.skip(f"{error} (tools/debian_packages installs them)")
    return built_browser()


@pytest.fixture(scope="module")
def published(tiny_archive, tiny_plan, tmp_path_factory) -> Path:
    """Labelled patches of the simulated Earth, as they are published."""
    folder = tmp_path_factory.mktemp("browser")
    labels = tiny_archive / "labels"
    with Sandbox(tiny_archive) as sandbox, sandbox.applied():
        build(
            Build(
                tiny_plan, folder / "build", scene_cloud_max=100.0, limits=Limits(patch_cloud_max=1.0),
                corine=str(labels / "corine.tif"), osm=labels / "osm.osm.pbf",
            )
        )  # fmt: skip
    publish([folder / "build"], folder / "catalog", workers=1)
    return folder / "catalog"


@pytest.fixture(scope="module")
def items(published) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(published.glob("*/shard-*/*-*-*.json"))]


@pytest.fixture(scope="module")
def served(published, dist, tmp_path_factory) -> Iterator[str]:
    """`python -m catalog.serve ... --browser` as a user starts it; its origin."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    index = tmp_path_factory.mktemp("index") / "index.sqlite"
    command = [sys.executable, "-m", "catalog.serve", published, "--browser", "--port", port, "--index", index]
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    origin = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None, process.stderr and process.stderr.read()
            with contextlib.suppress(requests.ConnectionError):
                requests.get(f"{origin}/api/", timeout=10)
                break
            time.sleep(0.1)
        yield origin
    finally:
        process.terminate()
        process.communicate(timeout=30)


class _Files(http.server.SimpleHTTPRequestHandler):
    """What a plain host for files does, with the one header that other origins need."""

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def static(published, dist, tmp_path_factory) -> Iterator[str]:
    """The published folder with a browser/ in it, below a folder of a plain file server; its address."""
    folder = tmp_path_factory.mktemp("static")
    shutil.copytree(published, folder / "some" / "place")
    put_browser(dist, folder / "some" / "place")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/some/place"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, headless; skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium on the PATH; tools/debian_packages installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium) -> Iterator[Any]:
    """A page on which nothing goes wrong: no error in its console, no failed request but for tiles of the base map."""
    page = chromium.new_page(viewport=SIZE, locale="en-GB")
    page.set_default_timeout(WAIT_MS)
    faults: list[str] = []
    page.route(f"{BASEMAP}**", lambda route: route.abort())
    page.on("console", lambda message: _note(faults, message) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("crash", lambda: faults.append("the page crashed"))
    page.on("requestfailed", lambda request: _fail(faults, request))
    page.on("response", lambda response: _refused(faults, response))
    yield page
    page.close()
    assert faults == []


def _note(faults: list[str], message: Any) -> None:
    if not message.location["url"].startswith(BASEMAP):
        faults.append(f"console: {message.text} {message.location['url']}")


def _fail(faults: list[str], request: Any) -> None:
    left = request.failure == "net::ERR_ABORTED"  # the page was left while it loaded
    if not request.url.startswith(BASEMAP) and not left:
        faults.append(f"failed: {request.url} {request.failure}")


def _refused(faults: list[str], response: Any) -> None:
    if response.status >= 400:
        faults.append(f"{response.status} {response.url}")


def shown(page: Any, name: str, tmp_path: Path) -> np.ndarray:
    """A screenshot in the test's folder, as pixels."""
    page.wait_for_load_state("networkidle")
    path = tmp_path / f"{name}.png"
    page.screenshot(path=path)
    return np.asarray(Image.open(path).convert("RGB"))


def colour_on_map(page: Any, tmp_path: Path) -> np.ndarray:
    """Colour `(3,)` in the middle of the map, where the patch lies."""
    page.wait_for_function("() => document.querySelector('canvas')?.width > 100")
    page.wait_for_timeout(1500)  # the map fades pictures in
    page.locator(".ol-viewport").first.screenshot(path=tmp_path / "map.png")
    pixels = np.asarray(Image.open(tmp_path / "map.png").convert("RGB"), float)
    rows, columns = pixels.shape[:2]
    return pixels[rows // 2 - 20 : rows // 2 + 20, columns // 2 - 20 : columns // 2 + 20].mean((0, 1))


def count_shown(page: Any) -> int:
    """The number beside the heading of a list of items."""
    badge = page.locator("section.items header .badge")
    badge.wait_for()
    return int(badge.inner_text())


def title_of(item: dict[str, Any]) -> str:
    return str(item["properties"]["title"])


def test_the_catalog_page_leads_to_the_collection_and_its_items(page, served, items, tmp_path):
    page.goto(f"{served}/")
    assert page.url.startswith(f"{served}/browser/")
    page.get_by_text("DeepSentinel labelled patches").first.click()
    page.get_by_text(title_of(items[0])).first.wait_for()
    page.wait_for_function("() => [...document.images].some(one => one.src.includes('-rgb.webp') && one.naturalWidth)")
    assert count_shown(page) == len(items)
    shown(page, "collection", tmp_path)


def test_a_collection_opened_by_its_address_survives_late_style_sheets(page, served, tmp_path):
    """Chromium 156 crashes where the marker of a list changes; `page` notices the crash."""
    page.goto(f"{served}/browser/#/collections/deepsentinel-labelled")
    page.get_by_text("Osm Classes").first.wait_for()
    shown(page, "collection-direct", tmp_path)


def test_an_item_shows_its_picture_in_its_place_and_its_zarr_group(page, served, items, tmp_path):
    item = items[0]
    page.goto(f"{served}/browser/#/collections/{item['collection']}/items/{item['id']}")
    page.get_by_text("Zarr group of the shard").first.wait_for()
    page.get_by_text(item["properties"]["proj:code"]).first.wait_for()
    assert "ZARR" in page.locator("body").inner_text().upper().split()
    seen = colour_on_map(page, tmp_path)
    thumbnail = requests.get(f"{served}/previews/labelled/{_picture(item)}", timeout=30)
    (tmp_path / "thumbnail.webp").write_bytes(thumbnail.content)
    pixels = np.asarray(Image.open(tmp_path / "thumbnail.webp").convert("RGB"), float)
    middle = pixels[pixels.shape[0] // 2 - 6 : pixels.shape[0] // 2 + 6, pixels.shape[1] // 2 - 6 :][:, :12]
    assert np.abs(seen - middle.mean((0, 1))).max() < 25  # true colour, not radar and not an empty map
    page.get_by_text("Thumbnails", exact=True).click()
    page.wait_for_function("() => [...document.images].filter(one => one.naturalWidth > 60).length >= 2")
    shown(page, "item", tmp_path)


def _picture(item: dict[str, Any]) -> str:
    return str(item["assets"]["thumbnail"]["href"]).partition("previews/")[2]


def add_filter(page: Any, title: str, operator: str, value: float) -> None:
    """Add a filter on the search page, as a person does."""
    page.get_by_role("button", name="Add filter").click()
    page.locator(".additional-filters, form").get_by_role("menuitem", name=re.compile(f"^{title}")).first.click()
    rule = page.locator(".queryable-row").last
    rule.locator("input.value").fill(str(value))
    rule.locator(".op .dropdown-toggle").click()
    rule.get_by_text(operator, exact=True).click()


def test_a_filtered_search_shows_the_items_that_it_should(page, served, items, tmp_path):
    majorities = [item["properties"].get("deepsentinel:corine_majority", 0) for item in items]
    code = collections.Counter(majorities).most_common(2)[-1][0]
    clear = [item["properties"]["eo:cloud_cover"] < 20 for item in items]
    expected = sum(majority == code and seen for majority, seen in zip(majorities, clear, strict=True))
    assert 0 < expected < len(items)
    bodies: list[dict[str, Any]] = []
    page.on("request", lambda one: bodies.append(one.post_data_json) if one.method == "POST" else None)
    page.goto(f"{served}/browser/#/search")
    add_filter(page, "cloud cover", "less than", 20)
    add_filter(page, "corine majority", "equal to", code)
    page.get_by_role("button", name="Submit").click()
    assert count_shown(page) == expected
    assert "eo:cloud_cover" in json.dumps(bodies[-1]["filter"])
    page.wait_for_function("() => [...document.images].some(one => one.src.includes('-rgb.webp') && one.naturalWidth)")
    shown(page, "search", tmp_path)


def test_plain_files_show_the_same_without_a_server_of_ours(page, static, items, tmp_path):
    page.goto(f"{static}/browser/")
    page.get_by_text("DeepSentinel labelled patches").first.click()
    page.get_by_text("Shard 000000").first.click()
    page.get_by_text(title_of(items[0])).first.click()
    page.get_by_text("Zarr group of the shard").first.wait_for()
    assert colour_on_map(page, tmp_path).max() < 200  # land, where an empty map is white
    shown(page, "static", tmp_path)
