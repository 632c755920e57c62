"""Builds STAC Browser from its npm package, once, and keeps the result in the user's cache.

The package is a program to be built and brings no build tools, so `stac_browser/package.json` names both and
`package-lock.json` pins every one of them. npm fetches them into a folder aside (0.4 GB, about a minute), webpack
builds (half a minute), and one rename puts the result (6 MB) in its place.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from catalog.errors import DeepSentinelError

NODE_MIN = 18  # Debian 12's; the oldest that STAC Browser 4 builds with
_MANIFEST = Path(__file__).parent / "stac_browser"
_PACKAGE = "@radiantearth/stac-browser"
_SERVICE = "node_modules/@vue/cli-service/bin/vue-cli-service.js"
# In the head of the page: config.js, read whenever it opens; an icon, which spares each visit a request that fails;
# markers of lists as the style sheets that load later have them, for Chromium 156 crashes where a marker changes.
_HEAD = """<script src="./config.js"></script>
    <link rel="icon" href="data:,">
    <style>.metadata ul li { list-style-type: "• "; } .links ul { list-style-type: "-"; }</style>"""
_HEAD_PLACE = '<!-- <script defer="defer" src="/config.js"></script> -->'
# Addresses after # and files beside index.html: any host and folder will do, without rewriting of addresses.
_SETTINGS: Mapping[str, str] = {
    "NODE_ENV": "production",
    "SB_historyMode": "hash",
    "SB_pathPrefix": "./",
    "SB_noSourceMaps": "true",
}
_SHOWN_LINES = 15

_log = logging.getLogger(__name__)


class BrowserBuildError(DeepSentinelError):
    """STAC Browser cannot be built here."""


def built_browser(cache: Path | None = None) -> Path:
    """The folder of the built browser, with index.html; builds it where it is not built yet.

    Args:
        cache: where builds are kept; None is the user's cache folder.

    Raises:
        BrowserBuildError: Node or npm is missing or too old, or the build failed.
    """
    cache = cache or cache_folder()
    final = cache / f"stac-browser-{version()}-{_fingerprint()}"
    if final.is_dir():
        return final
    require_node()
    with _locked(cache):
        if not final.is_dir():  # another process may have built it meanwhile
            _build(cache, final)
    return final


def cache_folder() -> Path:
    """The user's cache folder for this project: `deepsentinel` under XDG_CACHE_HOME, or under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deepsentinel"


def version() -> str:
    """Version of STAC Browser that is built."""
    return str(_read_manifest()["dependencies"][_PACKAGE])


def require_node() -> None:
    """Check that Node and npm are there.

    Raises:
        BrowserBuildError: one of them is missing or too old.
    """
    cure = "install them (Debian: apt-get install nodejs npm), or serve without --browser"
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise BrowserBuildError(
                f"STAC Browser {version()} is built with Node {NODE_MIN} or newer and npm, and there is no {program} "
                f"on the PATH; {cure}"
            )
    found = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if not (major := found.lstrip("v").partition(".")[0]).isdecimal() or int(major) < NODE_MIN:
        raise BrowserBuildError(
            f"STAC Browser {version()} is built with Node {NODE_MIN} or newer, and this is {found or 'none'}; {cure}"
        )


def _fingerprint() -> str:
    """Changes with all that decides a build."""
    files = [(_MANIFEST / name).read_bytes() for name in ("package.json", "package-lock.json")]
    return hashlib.sha256(b"".join([*files, repr((_SETTINGS, _HEAD)).encode()])).hexdigest()[:12]


def _read_manifest() -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((_MANIFEST / "package.json").read_text())
    return manifest


@contextlib.contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """One build at a time: others wait and then find it done."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".stac-browser.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(cache: Path, final: Path) -> None:
    work = cache / ".stac-browser.building"
    shutil.rmtree(work, ignore_errors=True)  # what a killed build left; the lock says that none is running
    work.mkdir()
    _log.warning("building STAC Browser %s in %s, once; this takes a minute or two", version(), cache)
    log = cache / "stac-browser.log"
    log.unlink(missing_ok=True)
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_MANIFEST / name, work)
        # Scripts of packages stay off: none is needed, and none should run on the word of a registry.
        _call(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], work, log)
        app = _unpack(work)
        _call(["node", _SERVICE, "build"], app, log)
        (app / "dist").rename(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _unpack(work: Path) -> Path:
    """Turn the installed package into a project that builds: its own copy, with the tools as its own."""
    app = work / "app"
    shutil.copytree(work / "node_modules" / _PACKAGE, app)
    (app / "node_modules").symlink_to(work / "node_modules")
    manifest = json.loads((app / "package.json").read_text())
    manifest["devDependencies"] = _read_manifest()["dependencies"]  # vue-cli loads the plug-ins named here, no others
    (app / "package.json").write_text(json.dumps(manifest))
    page = app / "public" / "index.html"
    if page.read_text().count(_HEAD_PLACE) != 1:
        raise BrowserBuildError(
            f"{_PACKAGE} {version()} has no place for config.js in {page}; build the pinned version"
        )
    page.write_text(page.read_text().replace(_HEAD_PLACE, _HEAD))
    return app


def _call(command: Sequence[str], folder: Path, log: Path) -> None:
    with log.open("ab") as output:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **_SETTINGS}, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        last = "\n".join(log.read_text(errors="replace").strip().splitlines()[-_SHOWN_LINES:])
        raise BrowserBuildError(
            f"`{' '.join(command)}` ended with status {done.returncode}; its output is in {log} and ends with\n{last}\n"
            "npm needs its registry, or a full cache of it, for the first build"
        )
