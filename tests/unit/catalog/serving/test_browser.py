"""Building and placing STAC Browser, as far as it needs no Node."""

import json
import subprocess
from pathlib import Path

import pytest

from catalog.errors import CorpusError
from catalog.serving import browser_build
from catalog.serving.browser import config_script, put_browser
from catalog.serving.browser_build import BrowserBuildError, built_browser, require_node

MANIFEST = Path(browser_build.__file__).parent / "stac_browser"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A PATH with nothing but the programs that a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}")

    def put(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return put


@pytest.fixture
def dist(tmp_path):
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "index.html").write_text("<html>")
    (folder / "config.js").write_text("window.STAC_BROWSER_CONFIG = {}")
    return folder


def test_without_node_the_message_names_what_is_missing_and_the_cure(programs):
    with pytest.raises(BrowserBuildError, match=r"there is no node on the PATH; install them \(Debian: apt-get"):
        require_node()
    programs("node", "echo v20.1.0")
    with pytest.raises(BrowserBuildError, match="there is no npm"):
        require_node()
    programs("npm", "exit 1")
    require_node()


@pytest.mark.parametrize("version", ["v16.20.2", "v9.0.0", ""])
def test_an_old_node_is_refused_with_its_version(programs, version):
    programs("node", f"echo {version}")
    programs("npm", "exit 1")
    with pytest.raises(BrowserBuildError, match=f"Node 18 or newer, and this is {version or 'none'}"):
        require_node()


def test_a_failed_build_shows_npms_last_words_and_leaves_no_build(programs, tmp_path):
    programs("node", "echo v20.1.0")
    programs("npm", "echo network unreachable >&2; exit 7")
    with pytest.raises(BrowserBuildError, match=r"(?s)ended with status 7; .*network unreachable"):
        built_browser(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_a_build_that_is_there_needs_no_node(programs, tmp_path):
    final = tmp_path / f"stac-browser-{browser_build.version()}-{browser_build._fingerprint()}"
    final.mkdir()
    assert built_browser(tmp_path) == final


def test_the_lock_pins_what_makes_it_build_and_names_no_registry():
    packages = json.loads((MANIFEST / "package-lock.json").read_text())["packages"]
    assert packages["node_modules/@radiantearth/stac-browser"]["version"] == browser_build.version() == "4.0.1"
    assert packages["node_modules/ol-stac"]["version"] == "1.1.0"
    assert not any("resolved" in package for package in packages.values())
    assert all("integrity" in package for name, package in packages.items() if name.startswith("node_modules/"))


def test_the_browser_opens_the_catalog_relative_to_its_own_address(dist, tmp_path):
    published = tmp_path / "published"
    with pytest.raises(CorpusError, match=r"holds no catalog\.json"):
        put_browser(dist, published)
    published.mkdir()
    (published / "catalog.json").write_text("{}")
    for _ in range(2):  # a second time replaces it
        assert put_browser(dist, published) == published / "browser" / "index.html"
    assert (published / "browser" / "config.js").read_text().startswith('const CATALOG = "../catalog.json";')
    assert sorted(path.name for path in published.iterdir()) == ["browser", "catalog.json"]
    assert (dist / "config.js").read_text() == "window.STAC_BROWSER_CONFIG = {}"


def test_node_accepts_the_configuration():
    if subprocess.run(["sh", "-c", "command -v node"], capture_output=True, check=False).returncode:
        pytest.skip("needs node on the PATH; tools/debian_packages installs it")
    page = (
        "globalThis.window = {}; globalThis.document = {currentScript: {src: 'https://host/a/b/browser/config.js?1'}};"
    )
    script = f"{page}\n{config_script('../api/')}\nconsole.log(window.STAC_BROWSER_CONFIG.catalogUrl)"
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "https://host/a/b/api/"
